package wire

import "fmt"

// Kind is what the next value of a message is.
type Kind uint8

const (
	// Invalid is no value: the message is broken here, or has ended.
	Invalid Kind = iota
	Null
	Bool
	// Number is one that Int may be able to read.
	Number
	Text
	// Bytes is a byte string of CBOR. In JSON these are Text.
	Bytes
	// Time is a number that CBOR has tagged as a time. In JSON these are Number.
	Time
	Array
	Object
)

// Reader is what the cursors of all forms have in common. A cursor stands before
// a value; each method reads one. After the first error all return nothing, so
// that it is enough to look at Err at the end.
//
//	for r.Object(); r.Member(); {
//		switch string(r.Key()) {
//		case "Limit":
//			limit = r.Int()
//		default:
//			r.Skip()
//		}
//	}
//
// Text, Bytes and Key return views of the message, which the cursor rewrites in
// place to undo escapes and base64: they are valid for as long as the message
// is, and the message is of no use for anything else.
type Reader interface {
	// Kind looks at the next value without reading it.
	Kind() Kind
	// Null reads a null, if the next value is one.
	Null() bool
	Bool() bool
	// Int reads a whole number; one that needs more than 64 bits is an error.
	Int() int64
	// Float reads any number, rounded.
	Float() float64
	// Text reads a string, which is valid UTF-8.
	Text() []byte
	// Bytes reads a byte string.
	Bytes() []byte
	// Millis reads a time, in milliseconds since the epoch, rounded.
	Millis() int64
	// Array begins to read a list, and Item says whether there is one more item.
	Array()
	Item() bool
	// Object begins to read an object, and Member says whether there is one more
	// member, whose name is then Key, and whose value is next.
	Object()
	Member() bool
	Key() []byte
	// Skip reads the next value, whatever it is.
	Skip()
	// Err returns what was wrong, or nil.
	Err() error
	// End returns Err, or an error when the message goes on.
	End() error
}

// MaxDepth is how deep the objects and lists of a message may be nested. Kinesis
// needs six.
const MaxDepth = 64

// SyntaxError says that a message is broken.
type SyntaxError struct {
	// Offset is where, in bytes.
	Offset int
	// Problem is what was found there.
	Problem string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Problem, e.Offset) }
