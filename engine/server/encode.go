package server

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// appendShape writes an output shape behind dst.
func appendShape(dst []byte, p protocol, out any) ([]byte, error) {
	d := document{p: p, buf: dst}
	err := d.value(reflect.ValueOf(out))
	return d.buf, err
}

var textType = reflect.TypeFor[encoding.TextMarshaler]()

// value writes a shape, or a part of one.
func (d *document) value(v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case v.Type() == timeType:
		d.time(v.Interface().(time.Time))
		return nil
	case v.Type().Implements(textType):
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		d.text(string(text))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		d.text(v.String())
	case reflect.Bool:
		d.boolean(v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		d.int(v.Int())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			d.bytes(v.Bytes())
			return nil
		}
		return d.list(v)
	case reflect.Map:
		return d.dictionary(v)
	case reflect.Struct:
		return d.structure(v)
	default:
		return fmt.Errorf("a shape has a %v", v.Type())
	}
	return nil
}

func (d *document) structure(v reflect.Value) error {
	d.begin('{')
	s := shapeOf(v.Type())
	for i := range s.members {
		m := &s.members[i]
		field := v.FieldByIndex(m.index)
		if m.omitzero && field.IsZero() || field.Kind() == reflect.Pointer && field.IsNil() {
			continue
		}
		d.name(m.name)
		if err := d.value(field); err != nil {
			return err
		}
	}
	d.end('}')
	return nil
}

func (d *document) list(v reflect.Value) error {
	d.begin('[')
	for i := range v.Len() {
		if err := d.value(v.Index(i)); err != nil {
			return err
		}
	}
	d.end(']')
	return nil
}

// dictionary writes a map, whose keys are strings, in their order.
func (d *document) dictionary(v reflect.Value) error {
	keys := make([]string, 0, v.Len())
	for k := range v.Seq() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	d.begin('{')
	for _, k := range keys {
		d.key(k)
		if err := d.value(v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key()))); err != nil {
			return err
		}
	}
	d.end('}')
	return nil
}
