package server

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// appendShape writes an output shape behind dst.
func appendShape(dst []byte, p protocol, out any) ([]byte, error) {
	v := reflect.ValueOf(out)
	if p != json11 {
		return dst, fmt.Errorf("CBOR is not spoken yet")
	}
	return appendValue(dst, v)
}

var textType = reflect.TypeFor[encoding.TextMarshaler]()

func appendValue(dst []byte, v reflect.Value) ([]byte, error) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case v.Type() == timeType:
		ms := v.Interface().(time.Time).UnixMilli()
		return strconv.AppendFloat(dst, float64(ms)/1000, 'f', -1, 64), nil
	case v.Type().Implements(textType):
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return dst, err
		}
		return appendString(dst, string(text)), nil
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		return appendString(dst, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			dst = append(dst, '"')
			dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
			return append(dst, '"'), nil
		}
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendValue(dst, v.Index(i)); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case reflect.Map:
		dst = append(dst, '{')
		for i, k := range slices.Sorted(maps.Keys(v.Interface().(map[string]string))) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, k)
			dst = append(dst, ':')
			dst = appendString(dst, v.MapIndex(reflect.ValueOf(k)).String())
		}
		return append(dst, '}'), nil
	case reflect.Struct:
		dst = append(dst, '{')
		first := true
		s := shapeOf(v.Type())
		for i := range s.members {
			m := &s.members[i]
			field := v.FieldByIndex(m.index)
			if m.omitzero && field.IsZero() || field.Kind() == reflect.Pointer && field.IsNil() {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendString(dst, m.name)
			dst = append(dst, ':')
			if dst, err = appendValue(dst, field); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	default:
		return dst, fmt.Errorf("a shape has a %v", v.Type())
	}
}

func appendString(dst []byte, s string) []byte {
	text, _ := json.Marshal(s)
	return append(dst, text...)
}
