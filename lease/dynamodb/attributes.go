package dynamodb

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// item is a row as DynamoDB has it.
type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue         { return &types.AttributeValueMemberS{Value: s} }
func integer(n int64) types.AttributeValue       { return number(strconv.FormatInt(n, 10)) }
func number(decimal string) types.AttributeValue { return &types.AttributeValueMemberN{Value: decimal} }
func binary(data []byte) types.AttributeValue    { return &types.AttributeValueMemberB{Value: data} }
func boolean(b bool) types.AttributeValue        { return &types.AttributeValueMemberBOOL{Value: b} }

// set returns a set of strings: sorted, each once. DynamoDB has no empty ones.
func set(of []string) types.AttributeValue {
	return &types.AttributeValueMemberSS{Value: slices.Compact(slices.Sorted(slices.Values(of)))}
}

func list(of []string) types.AttributeValue {
	values := make([]types.AttributeValue, len(of))
	for i, s := range of {
		values[i] = text(s)
	}
	return &types.AttributeValueMemberL{Value: values}
}

// setText sets an attribute unless its value is empty: older DynamoDB APIs
// refuse empty strings.
func setText(it item, name, value string) {
	if value != "" {
		it[name] = text(value)
	}
}

// A float is kept as text: DynamoDB's numbers end at 1e-130 and 1e126, and have
// neither infinities nor NaN.
func setFloat(it item, name string, value float64) {
	if value != 0 {
		it[name] = text(strconv.FormatFloat(value, 'g', -1, 64))
	}
}

// Times that are not told are left out.
func setMilliseconds(it item, name string, d time.Duration) {
	if d != 0 {
		it[name] = integer(d.Milliseconds())
	}
}

// sizeOf returns how many bytes an item has, as DynamoDB counts them: those of
// names and values, half a byte for each digit, and some for each container.
func sizeOf(it item) (n int) {
	for name, v := range it {
		n += len(name) + sizeOfValue(v)
	}
	return n
}

func sizeOfValue(v types.AttributeValue) (n int) {
	const container, element = 3, 1
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return len(v.Value)/2 + 2
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberSS:
		for _, s := range v.Value {
			n += len(s)
		}
		return n
	case *types.AttributeValueMemberL:
		for _, e := range v.Value {
			n += element + sizeOfValue(e)
		}
		return container + n
	case *types.AttributeValueMemberM:
		return container + element*len(v.Value) + sizeOf(v.Value)
	default:
		return 1
	}
}

// textsOf yields the strings of a value. JSON has no way to say what is no UTF-8.
func textsOf(v types.AttributeValue) iter.Seq[string] {
	return func(yield func(string) bool) {
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			yield(v.Value)
		case *types.AttributeValueMemberSS:
			for _, s := range v.Value {
				if !yield(s) {
					return
				}
			}
		case *types.AttributeValueMemberL:
			for _, e := range v.Value {
				for s := range textsOf(e) {
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}

// reader reads the attributes of a row. What is missing is the zero value; what
// has another type or form than it should is collected as an error.
type reader struct {
	item item
	errs []error
}

func (r *reader) bad(name string, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("attribute %s: %s", name, fmt.Sprintf(format, args...)))
}

func (r *reader) err() error { return errors.Join(r.errs...) }

// value returns an attribute that has type V, if it is there.
func value[V types.AttributeValue](r *reader, name string) (v V, ok bool) {
	found, there := r.item[name]
	if !there {
		return v, false
	}
	if v, ok = found.(V); !ok {
		r.bad(name, "is a %T, want a %T", found, v)
	}
	return v, ok
}

func (r *reader) text(name string) string {
	if v, ok := value[*types.AttributeValueMemberS](r, name); ok {
		return v.Value
	}
	return ""
}

func (r *reader) boolean(name string) bool {
	v, ok := value[*types.AttributeValueMemberBOOL](r, name)
	return ok && v.Value
}

func (r *reader) bytes(name string) []byte {
	if v, ok := value[*types.AttributeValueMemberB](r, name); ok {
		return v.Value
	}
	return nil
}

// strings returns a set or a list of strings.
func (r *reader) strings(name string) []string {
	switch v := r.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberSS:
		return slices.Sorted(slices.Values(v.Value))
	case *types.AttributeValueMemberL:
		all := make([]string, 0, len(v.Value))
		for _, e := range v.Value {
			if s, ok := e.(*types.AttributeValueMemberS); ok {
				all = append(all, s.Value)
			} else {
				r.bad(name, "has a %T among its elements, want strings", e)
			}
		}
		return all
	default:
		r.bad(name, "is a %T, want a set of strings", v)
	}
	return nil
}

func (r *reader) integer(name string) int64 { return parse(r, name, r.number, parseInteger) }
func (r *reader) float(name string) float64 { return parse(r, name, r.text, parseFloat) }
func (r *reader) milliseconds(name string) time.Duration {
	return time.Duration(r.integer(name)) * time.Millisecond
}

func (r *reader) number(name string) string {
	if v, ok := value[*types.AttributeValueMemberN](r, name); ok {
		return v.Value
	}
	return ""
}

func parseInteger(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// parse reads the text or decimal of an attribute, unless it is missing.
func parse[T any](r *reader, name string, get func(string) string, read func(string) (T, error)) (v T) {
	s := get(name)
	if s == "" {
		return v
	}
	v, err := read(s)
	if err != nil {
		r.bad(name, "%v", err)
	}
	return v
}

// inside returns a reader of a map attribute, which is empty when there is none.
func (r *reader) inside(name string) (_ *reader, ok bool) {
	v, ok := value[*types.AttributeValueMemberM](r, name)
	if !ok {
		return &reader{}, false
	}
	return &reader{item: v.Value}, true
}

// update collects what an UpdateItem does. All names go by placeholders, since
// many words are reserved.
type update struct {
	sets, removes []string
	names         map[string]string
	values        item
}

func newUpdate() *update { return &update{names: map[string]string{}, values: item{}} }

// name returns the placeholder of an attribute's name.
func (u *update) name(attribute string) string {
	u.names["#"+attribute] = attribute
	return "#" + attribute
}

// value returns a placeholder of a value.
func (u *update) value(v types.AttributeValue) string {
	placeholder := ":" + strconv.Itoa(len(u.values))
	u.values[placeholder] = v
	return placeholder
}

// put sets the attributes of all, and removes those of names that all has not.
func (u *update) put(all item, names ...string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		u.sets = append(u.sets, u.name(name)+" = "+u.value(all[name]))
	}
	for _, name := range names {
		if all[name] == nil {
			u.removes = append(u.removes, u.name(name))
		}
	}
}

// equals is the condition that an attribute has that text; with none, that it
// is not there.
func (u *update) equals(attribute, want string) string {
	if want == "" {
		return "attribute_not_exists(" + u.name(attribute) + ")"
	}
	return u.name(attribute) + " = " + u.value(text(want))
}

func (u *update) expression() *string {
	var s string
	for i, set := range u.sets {
		s += [...]string{"SET ", ", "}[min(i, 1)] + set
	}
	for i, name := range u.removes {
		s += [...]string{" REMOVE ", ", "}[min(i, 1)] + name
	}
	return &s
}
