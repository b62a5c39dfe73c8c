package provide

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// cache is where everything is kept that outlives a test.
func cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil { // there is no home
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "millrace")
	return dir, os.MkdirAll(dir, 0o755)
}

// Dir returns the folder of that name in the user's cache. Where it is missing,
// fill makes it in an empty folder, which gets the name when fill returns nil; so a
// folder that is there is complete. Of all processes one at a time fills.
func Dir(ctx context.Context, name string, fill func(dir string) error) (dir string, err error) {
	root, err := cache()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(root, name)
	if there(dir) {
		return dir, nil
	}
	return dir, locked(ctx, name, func() (err error) {
		if there(dir) {
			return nil // somebody else was first
		}
		work, err := os.MkdirTemp(root, name+"-new-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
		if err := fill(work); err != nil {
			return err
		}
		return os.Rename(work, dir)
	})
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// locked calls f while no other process is in a call of the same name.
func locked(ctx context.Context, name string, f func() error) (err error) {
	root, err := cache()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(root, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }() // which unlocks it, as the end of the process does
	if err := lock(ctx, file); err != nil {
		return err
	}
	return f()
}
