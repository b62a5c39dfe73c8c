package server

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AccessKey lets in who signs with it.
type AccessKey struct {
	// ID is public, Secret is not.
	ID, Secret string
	// SessionToken has to come along, if it is set.
	SessionToken string
	// Expires is when the key is not valid any more; zero is never.
	Expires time.Time
}

// clockSkew is by how much the clock of a client may differ from ours.
const clockSkew = 5 * time.Minute

const (
	algorithm  = "AWS4-HMAC-SHA256"
	dateFormat = "20060102T150405Z"
	// authority is what HTTP/2 has for the header Host: JavaScript signs it there.
	authority = ":authority"
)

// signature is what a request says of its signature (SigV4), in its
// Authorization header or in its query.
type signature struct {
	credential string // ID/date/region/service/aws4_request
	scope      []string
	headers    []string
	value      string
	date       string
	token      string
	inQuery    bool
	key        *AccessKey // nil: whatever is signed is believed
}

// authenticate checks what can be checked without the body: who it is, and when.
func (s *Server) authenticate(r *http.Request) (*signature, error) {
	sig, err := readSignature(r)
	if err != nil {
		return nil, err
	}
	if len(s.config.AccessKeys) == 0 {
		if !fromLoopback(r.RemoteAddr) {
			return nil, accessDenied("This server has no access keys, so that it believes only clients on its own machine, and %s is none: set -access-key ID:SECRET, or Config.AccessKeys", r.RemoteAddr)
		}
		if by := forwarded(r); by != "" {
			return nil, accessDenied("This server has no access keys, so that it believes only clients on its own machine, and a proxy has forwarded this request for somebody (header %s): set -access-key ID:SECRET, or Config.AccessKeys", by)
		}
		return sig, nil
	}
	if err := sig.inScope(s.config.Region); err != nil {
		return nil, err
	}
	if err := sig.current(r, time.Now()); err != nil {
		return nil, err
	}
	// An ID may have several tokens, the former and the next one.
	i := slices.IndexFunc(s.config.AccessKeys, func(k AccessKey) bool {
		return k.ID == sig.scope[0] && hmac.Equal([]byte(k.SessionToken), []byte(sig.token))
	})
	if i < 0 {
		return nil, failure("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	sig.key = &s.config.AccessKeys[i]
	if !sig.key.Expires.IsZero() && time.Now().After(sig.key.Expires) {
		return nil, failure("ExpiredTokenException", "The security token included in the request is expired")
	}
	return sig, nil
}

// forwarded returns the header by which a proxy says that it has forwarded a
// request, or "".
func forwarded(r *http.Request) string {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(name) != "" {
			return name
		}
	}
	return ""
}

// fromLoopback reports whether a peer is on this machine.
func fromLoopback(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// trustsOrigin reports whether pages from there may use the server.
func (s *Server) trustsOrigin(origin string) bool {
	if len(s.config.AccessKeys) > 0 {
		return true // they have to sign as everybody else
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback()
}

func readSignature(r *http.Request) (*signature, error) {
	auth := header(r, "Authorization")
	query := url.Values{}
	if strings.Contains(r.URL.RawQuery, "X-Amz-") {
		query = r.URL.Query()
	}
	switch inQuery := query.Has("X-Amz-Algorithm"); {
	case auth != "" && inQuery:
		return nil, failure("InvalidSignatureException", "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
	case inQuery:
		return signatureOfQuery(query)
	case auth == "":
		return nil, failure("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	return signatureOfHeader(r, auth)
}

func signatureOfHeader(r *http.Request, auth string) (*signature, error) {
	sig := &signature{date: header(r, "X-Amz-Date"), token: header(r, "X-Amz-Security-Token")}
	rest, known := strings.CutPrefix(auth, algorithm)
	for part := range strings.FieldsFuncSeq(rest, func(c rune) bool { return c == ',' || c == ' ' }) {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "Credential":
			sig.credential = value
		case "SignedHeaders":
			sig.headers = strings.Split(value, ";")
		case "Signature":
			sig.value = value
		}
	}
	if sig.date == "" {
		if t, err := http.ParseTime(header(r, "Date")); err == nil {
			sig.date = t.UTC().Format(dateFormat)
		}
	}
	problem := ""
	for _, p := range []struct {
		name    string
		missing bool
	}{{"Credential", sig.credential == ""}, {"Signature", sig.value == ""}, {"SignedHeaders", sig.headers == nil}} {
		if p.missing {
			problem += "Authorization header requires '" + p.name + "' parameter. "
		}
	}
	if sig.date == "" {
		problem += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
	}
	if !known {
		problem = "Unsupported AWS 'algorithm'. " + problem
	}
	if problem != "" {
		return nil, failure("IncompleteSignatureException", "%sAuthorization=%s", problem, clip(auth))
	}
	return sig, sig.splitScope()
}

func signatureOfQuery(q url.Values) (*signature, error) {
	problem := ""
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if q.Get(name) == "" {
			problem += "AWS query-string parameters must include '" + name + "'. "
		}
	}
	if problem == "" && q.Get("X-Amz-Algorithm") != algorithm {
		problem = "Unsupported AWS 'algorithm'. "
	}
	if problem != "" {
		return nil, failure("IncompleteSignatureException", "%sRe-examine the query-string parameters.", problem)
	}
	sig := &signature{
		credential: q.Get("X-Amz-Credential"), headers: strings.Split(q.Get("X-Amz-SignedHeaders"), ";"), value: q.Get("X-Amz-Signature"),
		date: q.Get("X-Amz-Date"), token: q.Get("X-Amz-Security-Token"), inQuery: true,
	}
	return sig, sig.splitScope()
}

func (sig *signature) splitScope() error {
	if sig.scope = strings.Split(sig.credential, "/"); len(sig.scope) != 5 {
		return failure("IncompleteSignatureException", "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", clip(sig.credential))
	}
	return nil
}

// clip keeps what messages repeat readable.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// inScope checks what the signature is for.
func (sig *signature) inScope(region string) error {
	invalid := func(format string, args ...any) error { return failure("InvalidSignatureException", format, args...) }
	switch {
	case sig.scope[2] != region:
		return invalid("Credential should be scoped to a valid region, not '%s'.", clip(sig.scope[2]))
	case sig.scope[3] != "kinesis":
		return invalid("Credential should be scoped to correct service: 'kinesis'.")
	case sig.scope[4] != "aws4_request":
		return invalid("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", clip(sig.scope[4]))
	case !strings.HasPrefix(sig.date, sig.scope[1]):
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", clip(sig.scope[1]), clip(sig.date[:min(8, len(sig.date))]), clip(sig.date))
	case !increasing(sig.headers): // nor may one long header be signed a thousand times
		return invalid("SignedHeaders must be in order, and each there once.")
	case !slices.Contains(sig.headers, "host") && !slices.Contains(sig.headers, authority):
		return invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

func increasing(names []string) bool {
	for i := 1; i < len(names); i++ {
		if names[i] <= names[i-1] {
			return false
		}
	}
	return true
}

// current checks when the request was signed.
func (sig *signature) current(r *http.Request, now time.Time) error {
	signed, err := time.Parse(dateFormat, sig.date)
	if err != nil {
		return failure("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", clip(sig.date))
	}
	lives := clockSkew
	if sig.inQuery {
		if seconds, err := strconv.Atoi(r.URL.Query().Get("X-Amz-Expires")); err == nil && seconds > 0 && seconds <= 7*24*3600 {
			lives = max(lives, time.Duration(seconds)*time.Second)
		}
	}
	now = now.UTC()
	if oldest := now.Add(-lives); signed.Before(oldest.Truncate(time.Second)) {
		return failure("InvalidSignatureException", "Signature expired: %s is now earlier than %s (%s - %d min.)", sig.date, oldest.Format(dateFormat), now.Format(dateFormat), int(lives/time.Minute))
	}
	if newest := now.Add(clockSkew); signed.After(newest) {
		return failure("InvalidSignatureException", "Signature not yet current: %s is still later than %s (%s + 5 min.)", sig.date, newest.Format(dateFormat), now.Format(dateFormat))
	}
	return nil
}

// verify checks the signature itself.
func (sig *signature) verify(r *http.Request, body []byte) error {
	if sig.key == nil {
		return nil
	}
	// What chooses the operation has to be signed wherever it stands.
	if r.Header["X-Amz-Target"] != nil && !slices.Contains(sig.headers, "x-amz-target") {
		return failure("InvalidSignatureException", "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.")
	}
	if !hmac.Equal([]byte(sig.of(r, body)), []byte(sig.value)) {
		return failure("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

// of returns what the signature of a request has to be.
func (sig *signature) of(r *http.Request, body []byte) string {
	hash := sha256.Sum256(sig.canonical(r, body))
	text := algorithm + "\n" + sig.date + "\n" + strings.Join(sig.scope[1:], "/") + "\n" + hex.EncodeToString(hash[:])
	key := []byte("AWS4" + sig.key.Secret)
	for _, part := range sig.scope[1:] {
		key = sum(key, part)
	}
	return hex.EncodeToString(sum(key, text))
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonical is the request in the form that is signed.
func (sig *signature) canonical(r *http.Request, body []byte) []byte {
	b := append([]byte(nil), r.Method...)
	b = append(b, '\n')
	b = appendEscaped(b, cmp.Or(r.URL.EscapedPath(), "/"), true)
	b = append(b, '\n')
	b = appendQuery(b, r.URL.Query())
	b = append(b, '\n')
	for _, name := range sig.headers {
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, headerText(r, name)...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, strings.Join(sig.headers, ";")...)
	b = append(b, '\n')
	hash := sha256.Sum256(body)
	return hex.AppendEncode(b, hash[:])
}

// headerText is a header's value as it is signed: without needless spaces. What
// net/http keeps elsewhere than among the headers is put back.
func headerText(r *http.Request, name string) string {
	values := r.Header.Values(name)
	switch {
	case name == "host", name == authority:
		values = []string{r.Host}
	case name == "content-length" && values == nil:
		values = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(trimmed, ",")
}

func appendQuery(b []byte, q url.Values) []byte {
	var pairs []string
	for name, values := range q {
		if name == "X-Amz-Signature" {
			continue
		}
		for _, v := range values {
			pairs = append(pairs, string(appendEscaped(append(appendEscaped(nil, name, false), '='), v, false)))
		}
	}
	slices.Sort(pairs)
	return append(b, strings.Join(pairs, "&")...)
}

// appendEscaped escapes all but the unreserved characters of RFC 3986.
func appendEscaped(b []byte, s string, isPath bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 || c == '/' && isPath {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}
