package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"reflect"
	"strconv"
	"time"
)

// decode reads a body into an input shape and checks its constraints.
func decode(p protocol, body []byte, in any) error {
	doc, err := parse(p, body)
	if err != nil {
		return err
	}
	var b binder
	if err := b.structure(reflect.ValueOf(in).Elem(), doc, ""); err != nil {
		return err
	}
	return b.violations.err()
}

// parse reads a body as a tree of map[string]any, []any, string, []byte, bool,
// json.Number, time.Time and nil. An empty body is an empty structure.
func parse(p protocol, body []byte) (map[string]any, error) {
	if len(body) == 0 {
		return nil, nil
	}
	if p != json11 {
		return nil, serialization("CBOR is not spoken yet")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		return nil, serialization("%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, serialization("the body goes on behind its document")
	}
	return doc, nil
}

// binder puts a parsed body into a shape. The words of its errors are those of
// AWS.
type binder struct {
	violations violations
}

func (b *binder) structure(to reflect.Value, doc map[string]any, prefix string) error {
	s := shapeOf(to.Type())
	for i := range s.members {
		m := &s.members[i]
		path := prefix + m.path
		from := doc[m.name]
		if from == nil {
			if m.required && len(b.violations) < mostViolations {
				b.violations.add("null", path, "Member must not be null")
			}
			continue
		}
		field := to.FieldByIndex(m.index)
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		if err := b.value(field, from, path); err != nil {
			return err
		}
		b.violations.check(m, field, path)
	}
	return nil
}

var timeType = reflect.TypeFor[time.Time]()

func (b *binder) value(to reflect.Value, from any, path string) error {
	switch {
	case to.Type() == timeType:
		return bindTime(to, from)
	case to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Uint8:
		return bindBlob(to, from)
	}
	switch to.Kind() {
	case reflect.String:
		return bindString(to, from)
	case reflect.Bool:
		on, ok := from.(bool)
		if !ok {
			return mismatch(from, "an Boolean", to)
		}
		to.SetBool(on)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return bindInt(to, from)
	case reflect.Struct:
		doc, ok := from.(map[string]any)
		if !ok {
			return mismatch(from, "", to)
		}
		return b.structure(to, doc, path+".")
	case reflect.Slice:
		list, ok := from.([]any)
		if !ok {
			return mismatch(from, "", to)
		}
		to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
		for i, item := range list {
			if item == nil {
				continue
			}
			if err := b.value(to.Index(i), item, path+"."+strconv.Itoa(i+1)+".member"); err != nil {
				return err
			}
		}
	case reflect.Map:
		doc, ok := from.(map[string]any)
		if !ok {
			return mismatch(from, "", to)
		}
		to.Set(reflect.MakeMapWithSize(to.Type(), len(doc)))
		for k, item := range doc {
			if item == nil {
				continue
			}
			x := reflect.New(to.Type().Elem()).Elem()
			if err := b.value(x, item, path+"."+k+".value"); err != nil {
				return err
			}
			to.SetMapIndex(reflect.ValueOf(k), x)
		}
	default:
		panic("a shape has a " + to.Type().String())
	}
	return nil
}

func bindString(to reflect.Value, from any) error {
	text, ok := from.(string)
	if !ok {
		return mismatch(from, "a String", to)
	}
	to.SetString(text)
	return nil
}

func bindInt(to reflect.Value, from any) error {
	number, ok := from.(json.Number)
	if !ok {
		return mismatch(from, "an "+javaName(to.Type()), to)
	}
	n, err := number.Int64()
	if err != nil {
		f, err := number.Float64()
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return serialization("NUMBER_VALUE %s can not be converted to an %s", number, javaName(to.Type()))
		}
		n = int64(f)
	}
	if to.OverflowInt(n) {
		return serialization("NUMBER_VALUE %s can not be converted to an %s", number, javaName(to.Type()))
	}
	to.SetInt(n)
	return nil
}

func bindBlob(to reflect.Value, from any) error {
	switch x := from.(type) {
	case []byte:
		to.SetBytes(x)
		return nil
	case string:
		data, err := base64.StdEncoding.DecodeString(x)
		if err != nil {
			return serialization("The value can not be converted to a Blob: %v", err)
		}
		to.SetBytes(data)
		return nil
	default:
		return mismatch(from, "a Blob", to)
	}
}

// bindTime takes seconds since the epoch, or the time that CBOR tagged.
func bindTime(to reflect.Value, from any) error {
	switch x := from.(type) {
	case time.Time:
		to.Set(reflect.ValueOf(x))
		return nil
	case json.Number:
		seconds, err := x.Float64()
		if err != nil || math.Abs(seconds) > 253402300799 {
			return serialization("NUMBER_VALUE %s can not be converted to a Timestamp", x)
		}
		to.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(seconds * 1000)))))
		return nil
	default:
		return mismatch(from, "a Timestamp", to)
	}
}

// mismatch says that a value is not of the kind that its place wants.
func mismatch(from any, wanted string, to reflect.Value) error {
	switch from.(type) {
	case map[string]any:
		return serialization("Start of structure or map found where not expected.")
	case []any:
		return serialization("Unrecognized collection type class java.lang.%s", javaName(to.Type()))
	}
	switch to.Kind() {
	case reflect.Slice:
		if wanted == "" {
			return serialization("Expected list or null")
		}
	case reflect.Map:
		return serialization("Expected map or null")
	case reflect.Struct:
		if wanted == "" {
			return serialization("Expected null")
		}
	}
	return serialization("%s can not be converted to %s", token(from), wanted)
}

func token(from any) string {
	switch x := from.(type) {
	case bool:
		if x {
			return "TRUE_VALUE"
		}
		return "FALSE_VALUE"
	case string:
		return "STRING_VALUE"
	case []byte:
		return "BINARY_VALUE"
	default:
		return "NUMBER_VALUE"
	}
}

func javaName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int64:
		return "Long"
	case reflect.Int, reflect.Int32:
		return "Integer"
	case reflect.Bool:
		return "Boolean"
	case reflect.String:
		return "String"
	case reflect.Slice:
		return "Blob"
	default:
		return t.Name()
	}
}
