package postgres

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/lease"
)

// Between a write that was refused and the look at what is there, the row may become
// what the caller says, after all: a conflict with that would be none.
func TestAConflictIsWithARowThatIsNotAsTheCallerSays(t *testing.T) {
	var (
		none, two, three = lease.Note{}, lease.Note{Name: "n", Version: 2}, lease.Note{Name: "n", Version: 3}
		broken           = errors.New("the connection broke")
	)
	for name, c := range map[string]struct {
		old    lease.Note
		found  []lease.Note // after each write that was refused; the last one of all wins
		fails  error        // of the first read
		row    lease.Note
		won    bool
		writes int
	}{
		"written":                              {old: two, won: true, writes: 1},
		"written over by others":               {old: two, found: []lease.Note{three}, row: three, writes: 1},
		"removed by others":                    {old: two, found: []lease.Note{none}, row: none, writes: 1},
		"created by others":                    {old: none, found: []lease.Note{two}, row: two, writes: 1},
		"removed before it could be looked at": {old: none, found: []lease.Note{none}, won: true, writes: 2},
		"brought back, twice":                  {old: two, found: []lease.Note{two, two}, won: true, writes: 3},
		"brought back, and written over":       {old: two, found: []lease.Note{two, three}, row: three, writes: 2},
		"not to be read":                       {old: two, found: []lease.Note{none}, fails: broken, writes: 1},
	} {
		writes := 0
		row, won, err := guarded(c.old,
			func() (bool, error) { writes++; return writes > len(c.found), nil },
			func() (lease.Note, error) { return c.found[writes-1], c.fails },
			func(a, b lease.Note) bool { return a.Version == b.Version })
		if row != c.row || won != c.won || !errors.Is(err, c.fails) || writes != c.writes {
			t.Errorf("%s: %+v, won %v, error %v after %d writes; want %+v, %v, %v after %d", name, row, won, err, writes, c.row, c.won, c.fails, c.writes)
		}
	}
	refused := errors.New("refused")
	if _, won, err := guarded(two, func() (bool, error) { return false, refused }, nil, nil); won || !errors.Is(err, refused) {
		t.Errorf("won %v, error %v; want %v", won, err, refused)
	}
}
