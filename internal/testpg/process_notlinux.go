//go:build !linux

package testpg

import (
	"os"
	"syscall"
	"time"
)

// attributes has no way to change the user here: as root, initdb refuses by
// itself.
func attributes(*user) *syscall.SysProcAttr { return nil }

func cpuOfFamily(int) (used time.Duration, ok bool) { return 0, false }

// tryLock takes every folder for one that is in use.
func tryLock(*os.File) bool { return false }
