package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/millrace/millrace/stream"
)

// renderer writes records in one form.
type renderer struct {
	w    *bufio.Writer
	show func(shard string, r *stream.Record) error
}

func newRenderer(form string, w io.Writer) *renderer {
	r := &renderer{w: bufio.NewWriterSize(w, 64<<10)}
	switch form {
	case "json":
		e := json.NewEncoder(r.w)
		e.SetEscapeHTML(false)
		r.show = func(shard string, s *stream.Record) error { return e.Encode(toJSON(shard, s)) }
	case "raw":
		r.show = func(_ string, s *stream.Record) error {
			r.w.Write(s.Data)
			return r.w.WriteByte('\n')
		}
	default:
		r.show = r.line
	}
	return r
}

func (r *renderer) flush() error { return r.w.Flush() }

// line is for people: when, where, which key, what.
func (r *renderer) line(shard string, s *stream.Record) error {
	r.w.WriteString(s.Arrival.UTC().Format("2006-01-02T15:04:05.000Z"))
	r.w.WriteString("  ")
	r.w.WriteString(shard)
	r.w.WriteString("  ")
	r.w.WriteString(printable(s.PartitionKey))
	r.w.WriteString("  ")
	r.w.WriteString(printable(string(s.Data)))
	return r.w.WriteByte('\n')
}

// printable quotes what would do more to a terminal than show letters.
func printable(s string) string {
	odd := func(c rune) bool { return !unicode.IsPrint(c) && c != '\t' }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
