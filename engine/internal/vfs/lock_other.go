//go:build !unix || solaris || aix

package vfs

import (
	"errors"
	"os"
)

// lock refuses: two engines in one directory would destroy it.
func lock(*os.File) error { return errors.ErrUnsupported }
