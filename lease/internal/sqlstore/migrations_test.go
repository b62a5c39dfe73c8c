package sqlstore

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"
)

// files are the migrations of a program, each of them its own name.
func files(names ...string) fstest.MapFS {
	all := fstest.MapFS{"migrations/README": {Data: []byte("no migration")}}
	for _, name := range names {
		all["migrations/"+name] = &fstest.MapFile{Data: []byte(name)}
	}
	return all
}

func TestMigrationsComeInTheirOrder(t *testing.T) {
	want := []Migration{{1, "0001_a.sql", "0001_a.sql"}, {2, "0002_b.sql", "0002_b.sql"}, {3, "0003_a.sql", "0003_a.sql"}}
	if got := Migrations(files("0003_a.sql", "0001_a.sql", "0002_b.sql")); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMigrationsWithAGapAreAProgrammersMistake(t *testing.T) {
	for _, names := range [][]string{{"0002_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"0001_a.sql", "0001_b.sql"}, {"1_a.sql"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: no panic", names)
				}
			}()
			Migrations(files(names...))
		}()
	}
}

func TestWhatIsMissingIsWhatComesAfterTheVersion(t *testing.T) {
	all := Migrations(files("0001_a.sql", "0002_b.sql"))
	for version := range 3 {
		if got, err := Missing(all, version); err != nil || !slices.Equal(got, all[version:]) {
			t.Errorf("from version %d: got %v, error %v; want %v", version, got, err, all[version:])
		}
	}
	if got, err := Missing(all, 3); !errors.Is(err, ErrNewerSchema) || got != nil {
		t.Errorf("from version 3: got %v, error %v; want %v", got, err, ErrNewerSchema)
	}
}
