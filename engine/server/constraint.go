package server

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// constraint is what the service model demands of a value. Its text is what
// AWS says when it is not met.
type constraint interface {
	ok(reflect.Value) bool
	String() string
}

// bound is one end of a length or of a range.
type bound struct {
	what  string // "len" or "range"
	limit int64
	upper bool
}

func (b bound) ok(v reflect.Value) bool {
	n := int64(0)
	switch {
	case v.CanInt():
		n = v.Int()
	case v.Kind() == reflect.String:
		n = int64(utf8.RuneCountInString(v.String()))
	default:
		n = int64(v.Len())
	}
	if b.upper {
		return n <= b.limit
	}
	return n >= b.limit
}

func (b bound) String() string {
	what, side := "length", "greater"
	if b.what == "range" {
		what = "value"
	}
	if b.upper {
		side = "less"
	}
	return fmt.Sprintf("Member must have %s %s than or equal to %d", what, side, b.limit)
}

type pattern struct {
	text string
	re   *regexp.Regexp
}

func (p pattern) ok(v reflect.Value) bool { return p.re.MatchString(v.String()) }
func (p pattern) String() string {
	return "Member must satisfy regular expression pattern: " + p.text
}

type enum []string

func (e enum) ok(v reflect.Value) bool { return slices.Contains(e, v.String()) }
func (e enum) String() string {
	return "Member must satisfy enum value set: [" + strings.Join(e, ", ") + "]"
}

// violations are what is wrong with an input, in the words of AWS.
type violations []string

func (v *violations) add(value, path, demand string) {
	*v = append(*v, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, path, demand))
}

func (v violations) err() error {
	switch len(v) {
	case 0:
		return nil
	case 1:
		return validationError("1 validation error detected: %s", v[0])
	default:
		return validationError("%d validation errors detected: %s", len(v), strings.Join(v, "; "))
	}
}

// check notes what a member's value does not meet.
func (v *violations) check(m *member, value reflect.Value, path string) {
	if len(*v) >= mostViolations {
		return
	}
	for _, c := range m.self {
		if !c.ok(value) {
			v.add(quote(value), path, c.String())
		}
	}
	switch value.Kind() {
	case reflect.Slice:
		for i := range value.Len() {
			v.all(m.items, value.Index(i), value, path, "Member")
		}
	case reflect.Map:
		for k, x := range value.Seq2() {
			v.all(m.keys, k, value, path, "Map keys")
			v.all(m.values, x, value, path, "Map value")
		}
	}
}

// mostViolations are listed of an input: one may be wrong in a thousand places.
const mostViolations = 10

// all checks one part of a collection; all its constraints are told when one
// is not met.
func (v *violations) all(cs []constraint, part, whole reflect.Value, path, what string) {
	if slices.ContainsFunc(cs, func(c constraint) bool { return !c.ok(part) }) && len(*v) < mostViolations {
		texts := make([]string, len(cs))
		for i, c := range cs {
			texts[i] = c.String()
		}
		v.add(quote(whole), path, what+" must satisfy constraint: ["+strings.Join(texts, ", ")+"]")
	}
}

// quote writes a value as messages have it, and not at any length.
func quote(v reflect.Value) string {
	const most = 256
	var text string
	switch v.Kind() {
	case reflect.Map:
		parts := []string{}
		for k, x := range v.Seq2() {
			parts = append(parts, fmt.Sprintf("%v=%v", k, x))
		}
		slices.Sort(parts)
		text = "{" + strings.Join(parts, ", ") + "}"
	case reflect.Slice:
		parts := []string{}
		for i := range min(v.Len(), most) {
			if e := v.Index(i); e.Kind() == reflect.String {
				parts = append(parts, e.String())
			} else {
				parts = append(parts, e.Type().Name())
			}
		}
		text = "[" + strings.Join(parts, ", ") + "]"
		if v.Type().Elem().Kind() == reflect.Uint8 {
			text = fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%[1]d cap=%[1]d]", v.Len())
		}
	default:
		text = fmt.Sprint(v)
	}
	if len(text) > most {
		text = text[:most] + "…"
	}
	return "'" + strings.ToValidUTF8(text, "\uFFFD") + "'"
}
