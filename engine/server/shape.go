package server

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// shape is a struct as it goes over the wire. Fields are members by their own
// names; embedded structs are taken apart. The words of a `wire` tag, separated
// by commas:
//
//	name=__type      the member's name, where it is not the field's
//	omitzero         written only when it is not zero
//	required         must be there, and not null
//	len=1..128       how many characters, bytes, items or keys
//	range=1..10000   which numbers
//	pattern=hashKey  one of patterns, by its name
//	enum=A|B         one of these
//
// "member.", "key." and "value." before len, pattern and enum speak of the
// items of a list, and of the keys and values of a map. Bounds may be left out:
// len=1.. has no upper one.
type shape struct {
	members []member
	byName  map[string]int
}

// maxMembers is how many members a shape may have.
const maxMembers = 32

type member struct {
	name     string
	path     string // the name as messages of AWS have it: streamName
	index    []int
	required bool
	omitzero bool
	self     []constraint // of the value, or of its members
	items    []constraint // of a list's items
	keys     []constraint // of a map's keys
	values   []constraint // of a map's values
}

// mostItems is how many items of a list have to be kept to know whether it has
// too many.
func (m *member) mostItems() int {
	for _, c := range m.self {
		if b, ok := c.(bound); ok && b.upper {
			return int(b.limit)
		}
	}
	return mostItems
}

// patterns are the regular expressions of the service model. A value has to
// match as a whole.
var patterns = map[string]string{
	"streamName":     `[a-zA-Z0-9_.-]+`,
	"streamARN":      `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`,
	"consumerARN":    `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`,
	"channelARN":     `arn:aws.*:kinesis:.*:\d{12}:channel/\S+`,
	"resourceARN":    `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`,
	"shardId":        `[a-zA-Z0-9_.-]+`,
	"sequenceNumber": `^(0|([1-9]\d{0,128}))$`,
	"hashKey":        `^(0|([1-9]\d{0,38}))$`,
}

var shapes sync.Map // reflect.Type → *shape

// shapeOf returns the shape of a struct. A mistake in a tag is a mistake of the
// program, so it panics; every shape of the table is looked at by a test.
func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{byName: map[string]int{}}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		m := parseMember(t, f)
		s.byName[m.name] = len(s.members)
		s.members = append(s.members, m)
	}
	if len(s.members) > maxMembers {
		panic(fmt.Sprintf("%v has %d members", t, len(s.members)))
	}
	shapes.Store(t, s)
	return s
}

func parseMember(t reflect.Type, f reflect.StructField) member {
	m := member{name: f.Name, index: f.Index}
	for word := range strings.SplitSeq(f.Tag.Get("wire"), ",") {
		if word == "" {
			continue
		}
		key, arg, _ := strings.Cut(word, "=")
		of := &m.self
		for prefix, target := range map[string]*[]constraint{"member.": &m.items, "key.": &m.keys, "value.": &m.values} {
			if rest, ok := strings.CutPrefix(key, prefix); ok {
				key, of = rest, target
			}
		}
		switch key {
		case "name":
			m.name = arg
		case "omitzero":
			m.omitzero = true
		case "required":
			m.required = true
		case "len", "range":
			*of = append(*of, bounds(t, f, key, arg)...)
		case "pattern":
			text, ok := patterns[arg]
			if !ok {
				panic(fmt.Sprintf("%v.%s: no pattern %q", t, f.Name, arg))
			}
			*of = append(*of, pattern{text, regexp.MustCompile(`^(?:` + text + `)$`)})
		case "enum":
			*of = append(*of, enum(strings.Split(arg, "|")))
		default:
			panic(fmt.Sprintf("%v.%s: the wire tag has %q", t, f.Name, word))
		}
	}
	m.path = string(unicode.ToLower(rune(m.name[0]))) + m.name[1:]
	return m
}

// bounds reads "1..128". The upper one comes first, as AWS tells them.
func bounds(t reflect.Type, f reflect.StructField, what, arg string) (cs []constraint) {
	low, high, ok := strings.Cut(arg, "..")
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			ok = false
		}
		return n
	}
	if high != "" {
		cs = append(cs, bound{what, number(high), true})
	}
	if low != "" {
		cs = append(cs, bound{what, number(low), false})
	}
	if !ok || len(cs) == 0 {
		panic(fmt.Sprintf("%v.%s: bounds are %q", t, f.Name, arg))
	}
	return cs
}
