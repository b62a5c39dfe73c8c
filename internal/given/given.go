// Package given tells what a user has given, and what not.
package given

import "reflect"

// Is reports whether there is something: not nil, nor a pointer to nothing, as a
// constructor returns beside an error that nobody looked at.
func Is(v any) bool {
	p := reflect.ValueOf(v)
	return v != nil && (p.Kind() != reflect.Pointer || !p.IsNil())
}
