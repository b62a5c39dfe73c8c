package given

import (
	"errors"
	"testing"
)

type thing struct{}

func TestNothingAndPointersToNothingAreNotGiven(t *testing.T) {
	var nothing error
	for _, c := range []struct {
		v    any
		want bool
	}{
		{nil, false}, {nothing, false}, {(*thing)(nil), false},
		{&thing{}, true}, {thing{}, true}, {0, true}, {"", true}, {errors.New("x"), true}, {[]int(nil), true},
	} {
		if got := Is(c.v); got != c.want {
			t.Errorf("%#v is given: %v", c.v, got)
		}
	}
}
