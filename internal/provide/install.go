package provide

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Install says how something gets into the user's cache.
type Install struct {
	Name string
	// Tool is what the first word of each command belongs to.
	Tool Tool
	// Files are what the commands find in their folder: what is wanted, pinned to the
	// last package. Other files make another folder of the cache.
	Files map[string][]byte
	// Commands are run one after the other. A first word with a slash is a program
	// that an earlier command has made.
	Commands [][]string
}

// Do returns the folder in which the commands have run, and runs them if nobody has
// yet; and where a program that lies there can be run.
func (i Install) Do(ctx context.Context) (dir string, place Place, err error) {
	if place, err = i.Tool.Find(ctx); err != nil {
		return "", place, err
	}
	dir, err = Dir(ctx, i.folder(place), func(work string) error {
		for name, content := range i.Files {
			if err := os.WriteFile(filepath.Join(work, name), content, 0o644); err != nil {
				return err
			}
		}
		for _, words := range i.Commands {
			if err := run(place.Command(ctx, work, 0, append([]string{program(work, words[0])}, words[1:]...)...)); err != nil {
				return fmt.Errorf("install %s: %w", i.Name, err)
			}
		}
		return nil
	})
	return dir, place, err
}

// folder is the name of the folder in the cache.
func (i Install) folder(place Place) string {
	version := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		_, _ = fmt.Fprintf(version, "%s %d\n%s", name, len(i.Files[name]), i.Files[name]) // a hash never fails
	}
	return fmt.Sprintf("%s-%x-%s", i.Name, version.Sum64(), place.Name())
}

func program(dir, word string) string {
	if filepath.Base(word) == word {
		return word
	}
	return filepath.Join(dir, word)
}
