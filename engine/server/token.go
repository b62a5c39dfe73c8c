package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// Tokens are what a client brings back as it got it: base64 of a JSON text and
// the first half of its authentication code, under a secret that is made with
// the directory, so that they survive a restart.

const tokenSum = 16

// seal makes a token of a text. Tokens of one kind do not pass for another.
func (s *Server) seal(kind string, text []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(text[:len(text):len(text)], s.sum(kind, text)...))
}

// unseal returns the text of a token that this server has made.
func (s *Server) unseal(kind, token string) (text []byte, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < tokenSum {
		return nil, false
	}
	text, sum := b[:len(b)-tokenSum], b[len(b)-tokenSum:]
	return text, hmac.Equal(sum, s.sum(kind, text))
}

func (s *Server) sum(kind string, text []byte) []byte {
	h := hmac.New(sha256.New, s.state.Load().Secret)
	h.Write([]byte(kind + "\x00"))
	h.Write(text)
	return h.Sum(nil)[:tokenSum]
}

// page is where a list goes on.
type page struct {
	// Issued is when the token was given, Unix ms.
	Issued int64 `json:"i"`
	// Stream and Created are the incarnation of which something is listed.
	Stream  string `json:"s,omitempty"`
	Created int64  `json:"c,omitempty"`
	// After is the last item that was given.
	After string `json:"a"`
	// Filter is what else the first request asked for.
	Filter json.RawMessage `json:"f,omitempty"`
}

// tokenLife is how long a page's token may be used.
const tokenLife = 300 * time.Second

// nextPage makes the token for the page after this one.
func (s *Server) nextPage(operation string, p page) string {
	p.Issued = time.Now().UnixMilli()
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers, and JSON that was written here
	}
	return s.seal(operation, text)
}

// openPage reads a token of [Server.nextPage].
func (s *Server) openPage(operation, token string) (page, error) {
	var p page
	text, ok := s.unseal(operation, token)
	if !ok || json.Unmarshal(text, &p) != nil {
		return p, invalidArgument("NextToken is invalid.")
	}
	if age := time.Since(time.UnixMilli(p.Issued)); age > tokenLife {
		return p, expiredToken("NextToken expired: it was issued %d ms ago, and may be used for %d ms.", age.Milliseconds(), tokenLife.Milliseconds())
	}
	return p, nil
}

// cut returns the items of one page: at most limit, and no more than most.
func cut[T any](items []T, limit *int, most int) (page []T, more bool) {
	if limit != nil {
		most = min(most, *limit)
	}
	if len(items) <= most {
		return items, false
	}
	return items[:most], true
}
