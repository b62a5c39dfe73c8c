package sqlstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrNewerSchema says that a newer version of the program has changed the
// tables, so that this one cannot know what they mean.
var ErrNewerSchema = errors.New("the tables were made by a newer version of this program: use that one")

// Migration is one step of the tables from what they were to what they are.
type Migration struct {
	Version int // 1 is the first
	Name    string
	SQL     string
}

// Migrations returns all steps in order: the files migrations/*.sql that are
// embedded in the program. They never change once they were released. It panics
// when they are not numbered from 0001_ on without a gap.
func Migrations(embedded fs.FS) []Migration {
	names, err := fs.Glob(embedded, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	all := make([]Migration, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(embedded, name)
		if err != nil {
			panic(err) // the file is part of the program
		}
		all[i] = Migration{Version: i + 1, Name: path.Base(name), SQL: string(text)}
		if number := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(all[i].Name, number) {
			panic(fmt.Sprintf("sqlstore: migration %d is called %s: its name has to begin with %s", i+1, all[i].Name, number))
		}
	}
	return all
}

// Missing returns the steps that tables of the given version still need; 0 says
// that there are none yet. It refuses tables that this program does not know,
// with an error that wraps [ErrNewerSchema].
func Missing(steps []Migration, version int) ([]Migration, error) {
	if version > len(steps) {
		return nil, fmt.Errorf("schema version %d, this program knows %d: %w", version, len(steps), ErrNewerSchema)
	}
	return steps[version:], nil
}
