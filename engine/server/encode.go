package server

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/wire"
)

// appendShape writes an output shape behind dst.
func appendShape(dst []byte, p protocol, out any) ([]byte, error) {
	e := encoder{dst: dst, protocol: p}
	err := e.value(reflect.ValueOf(out))
	return e.dst, err
}

// encoder appends a message, value by value. In CBOR, lists and maps have no
// length but an end, as AWS sends them.
type encoder struct {
	dst      []byte
	protocol protocol
	comma    bool // in JSON, the next item or member follows another one
}

func (e *encoder) open(bracket byte) {
	e.separate()
	switch {
	case e.protocol == json11:
		e.dst = append(e.dst, bracket)
		e.comma = false
	case bracket == '{':
		e.dst = wire.BeginCBORMap(e.dst)
	default:
		e.dst = wire.BeginCBORArray(e.dst)
	}
}

func (e *encoder) close(bracket byte) {
	if e.protocol == json11 {
		e.dst = append(e.dst, bracket)
		e.comma = true
		return
	}
	e.dst = wire.EndCBOR(e.dst)
}

func (e *encoder) separate() {
	if e.protocol == json11 {
		if e.comma {
			e.dst = append(e.dst, ',')
		}
		e.comma = true
	}
}

func (e *encoder) key(name string) {
	e.text(name)
	if e.protocol == json11 {
		e.dst = append(e.dst, ':')
		e.comma = false
	}
}

func (e *encoder) text(s string) {
	e.separate()
	if e.protocol == json11 {
		e.dst = wire.AppendJSONString(e.dst, s)
	} else {
		e.dst = wire.AppendCBORText(e.dst, s)
	}
}

func (e *encoder) boolean(b bool) {
	e.separate()
	if e.protocol == json11 {
		e.dst = strconv.AppendBool(e.dst, b)
	} else {
		e.dst = wire.AppendCBORBool(e.dst, b)
	}
}

func (e *encoder) int(n int64) {
	e.separate()
	if e.protocol == json11 {
		e.dst = strconv.AppendInt(e.dst, n, 10)
	} else {
		e.dst = wire.AppendCBORInt(e.dst, n)
	}
}

func (e *encoder) bytes(b []byte) {
	e.separate()
	if e.protocol == json11 {
		e.dst = wire.AppendJSONBytes(e.dst, b)
	} else {
		e.dst = wire.AppendCBORBytes(e.dst, b)
	}
}

func (e *encoder) time(t time.Time) {
	e.separate()
	e.dst = e.protocol.appendTime(e.dst, t)
}

var textType = reflect.TypeFor[encoding.TextMarshaler]()

func (e *encoder) value(v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case v.Type() == timeType:
		e.time(v.Interface().(time.Time))
		return nil
	case v.Type().Implements(textType):
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		e.text(string(text))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		e.text(v.String())
	case reflect.Bool:
		e.boolean(v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		e.int(v.Int())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			e.bytes(v.Bytes())
			return nil
		}
		return e.list(v)
	case reflect.Map:
		return e.dictionary(v)
	case reflect.Struct:
		return e.structure(v)
	default:
		return fmt.Errorf("a shape has a %v", v.Type())
	}
	return nil
}

func (e *encoder) structure(v reflect.Value) error {
	e.open('{')
	s := shapeOf(v.Type())
	for i := range s.members {
		m := &s.members[i]
		field := v.FieldByIndex(m.index)
		if m.omitzero && field.IsZero() || field.Kind() == reflect.Pointer && field.IsNil() {
			continue
		}
		e.key(m.name)
		if err := e.value(field); err != nil {
			return err
		}
	}
	e.close('}')
	return nil
}

func (e *encoder) list(v reflect.Value) error {
	e.open('[')
	for i := range v.Len() {
		if err := e.value(v.Index(i)); err != nil {
			return err
		}
	}
	e.close(']')
	return nil
}

// dictionary writes a map, whose keys are strings, in their order.
func (e *encoder) dictionary(v reflect.Value) error {
	keys := make([]string, 0, v.Len())
	for k := range v.Seq() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	e.open('{')
	for _, k := range keys {
		e.key(k)
		if err := e.value(v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key()))); err != nil {
			return err
		}
	}
	e.close('}')
	return nil
}
