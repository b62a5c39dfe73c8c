package server

import (
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/wire"
)

// decode reads a body into an input shape and checks its constraints. Blobs
// of the shape are views of the body.
func decode(p protocol, body []byte, in any) error {
	switch {
	case len(body) > 0:
	case p == rpcCBOR:
		return nil // what Smithy sends for an operation without input
	default:
		return serialization("the body is empty")
	}
	d := decoder{Reader: cursor(p, body)}
	if err := d.value(reflect.ValueOf(in).Elem(), nil, ""); err != nil {
		return err
	}
	if err := d.End(); err != nil {
		return serialization("%v", err)
	}
	return d.violations.err()
}

// cursor returns who reads a body.
func cursor(p protocol, body []byte) wire.Reader {
	switch p {
	case cbor11:
		r := wire.NewCBOR(body, time.Millisecond)
		return &r
	case rpcCBOR:
		r := wire.NewCBOR(body, time.Second)
		return &r
	default:
		r := wire.NewJSON(body)
		return &r
	}
}

// decoder puts a message into a shape, as the shape wants it. What is wrong with
// the message itself is an error at once; what the shape's constraints do not
// allow is gathered. Both are told in the words of AWS.
type decoder struct {
	wire.Reader
	violations violations
}

var timeType = reflect.TypeFor[time.Time]()

// value reads the next value into to, which is m, or belongs to it, or is the
// whole input.
func (d *decoder) value(to reflect.Value, m *member, path string) error {
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	kind := d.Kind()
	switch {
	case to.Type() == timeType:
		if kind != wire.Number && kind != wire.Time {
			return d.mismatch(kind, "an Timestamp")
		}
		to.Set(reflect.ValueOf(time.UnixMilli(d.Millis())))
		return d.broken()
	case to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Uint8:
		return d.blob(to, kind)
	}
	switch to.Kind() {
	case reflect.String:
		if kind != wire.Text {
			return d.mismatch(kind, "an String")
		}
		to.SetString(string(d.Text()))
	case reflect.Bool:
		if kind != wire.Bool {
			return d.mismatch(kind, "an Boolean")
		}
		to.SetBool(d.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return d.number(to, kind)
	case reflect.Struct:
		if kind != wire.Object {
			return d.mismatch(kind, "")
		}
		return d.structure(to, path)
	case reflect.Slice:
		if kind != wire.Array {
			return d.mismatch(kind, "list")
		}
		return d.list(to, m, path)
	case reflect.Map:
		if kind != wire.Object {
			return d.mismatch(kind, "map")
		}
		return d.dictionary(to, m, path)
	default:
		panic("a shape has a " + to.Type().String())
	}
	return d.broken()
}

// broken tells what the reader has met.
func (d *decoder) broken() error {
	if err := d.Err(); err != nil {
		return serialization("%v", err)
	}
	return nil
}

// structure reads the members that the shape has, and leaves others aside.
func (d *decoder) structure(to reflect.Value, path string) error {
	s := shapeOf(to.Type())
	if path != "" {
		path += "."
	}
	var seen [maxMembers]bool
	for d.Object(); d.Member(); {
		i, known := s.byName[string(d.Key())]
		switch {
		case d.Kind() == wire.Null:
			d.Skip()
			continue
		case !known:
			d.Skip()
			continue
		}
		m := &s.members[i]
		if err := d.value(to.FieldByIndex(m.index), m, path+m.path); err != nil {
			return err
		}
		seen[i] = true
	}
	for i := range s.members {
		switch m := &s.members[i]; {
		case seen[i]:
			field := to.FieldByIndex(m.index)
			if field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			d.violations.check(m, field, path+m.path)
		case m.required && len(d.violations) < mostViolations:
			d.violations.add("null", path+m.path, "Member must not be null")
		}
	}
	return d.broken()
}

// mostItems are kept of a list or a map for which the model has no bound.
const mostItems = 10_000

// list keeps no more items than show that the list is too long.
func (d *decoder) list(to reflect.Value, m *member, path string) error {
	most := m.mostItems()
	list := reflect.MakeSlice(to.Type(), 0, 0)
	item := reflect.New(to.Type().Elem()).Elem()
	for d.Array(); d.Item(); {
		switch {
		case list.Len() > most:
			d.Skip()
			continue
		case d.Kind() == wire.Null:
			d.Skip()
			item.SetZero()
		default:
			item.SetZero()
			if err := d.value(item, m, path+"."+strconv.Itoa(list.Len()+1)+".member"); err != nil {
				return err
			}
		}
		list = reflect.Append(list, item)
	}
	to.Set(list)
	return d.broken()
}

func (d *decoder) dictionary(to reflect.Value, m *member, path string) error {
	most := m.mostItems()
	to.Set(reflect.MakeMap(to.Type()))
	item := reflect.New(to.Type().Elem()).Elem()
	for d.Object(); d.Member(); {
		key := string(d.Key())
		if d.Kind() == wire.Null || to.Len() > most {
			d.Skip()
			continue
		}
		item.SetZero()
		if err := d.value(item, m, path+"."+key+".member"); err != nil {
			return err
		}
		to.SetMapIndex(reflect.ValueOf(key), item)
	}
	return d.broken()
}

// blob reads a byte string; in JSON it is base64.
func (d *decoder) blob(to reflect.Value, kind wire.Kind) error {
	if _, isJSON := d.Reader.(*wire.JSON); kind != wire.Bytes && !(isJSON && kind == wire.Text) {
		return d.mismatch(kind, "a Blob")
	}
	to.SetBytes(d.Bytes())
	if err := d.Err(); err != nil {
		return serialization("The value can not be converted to a Blob: %v", err)
	}
	return nil
}

// number reads a whole number; AWS takes others, too, and rounds them down.
func (d *decoder) number(to reflect.Value, kind wire.Kind) error {
	if kind != wire.Number && kind != wire.Time {
		return d.mismatch(kind, "an "+javaName(to.Type()))
	}
	n, err := d.integer()
	if err != nil {
		return err
	}
	if to.OverflowInt(n) || to.Kind() == reflect.Int && int64(int32(n)) != n {
		return serialization("%d can not be converted to an %s", n, javaName(to.Type()))
	}
	to.SetInt(n)
	return nil
}

func (d *decoder) integer() (int64, error) {
	if r, ok := d.Reader.(*wire.JSON); ok {
		text := string(r.Number())
		if err := d.broken(); err != nil {
			return 0, err
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(text, 64)
		if f = math.Floor(f); err != nil || math.Abs(f) > 1<<53 {
			return 0, serialization("%s can not be converted to a number of 64 bits", text)
		}
		return int64(f), nil
	}
	n := d.Int()
	return n, d.broken()
}

// mismatch says that a value is not of the kind that its place wants.
func (d *decoder) mismatch(kind wire.Kind, wanted string) error {
	class := ""
	switch kind {
	case wire.Array:
		return serialization("Start of list found where not expected")
	case wire.Object:
		return serialization("Start of structure or map found where not expected.")
	case wire.Bool:
		class = "java.lang.Boolean"
	case wire.Number, wire.Time:
		class = "java.math.BigDecimal"
	case wire.Text:
		class = "java.lang.String"
	case wire.Bytes:
		class = "java.nio.ByteBuffer"
	default:
		d.Skip()
		return serialization("%v", d.End())
	}
	switch wanted {
	case "":
		return serialization("Expected null")
	case "list", "map":
		return serialization("Expected %s or null", wanted)
	}
	return serialization("class %s can not be converted to %s", class, wanted)
}

func javaName(t reflect.Type) string {
	if t.Kind() == reflect.Int64 {
		return "Long"
	}
	return "Integer"
}
