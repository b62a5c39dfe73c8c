package powercut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// volume is a file system of its own, in a file.
type volume struct {
	image, dir string
	mkfs       []string
	mounted    bool
}

// volumeBytes is the least that mkfs.xfs takes, and a bit.
const volumeBytes = 320 << 20

// fileSystems are those that know the shutdown.
var fileSystems = map[string][]string{
	"ext4": {"mkfs.ext4", "-q", "-F"},
	"XFS":  {"mkfs.xfs", "-q", "-f"},
}

// newVolume makes and mounts a file system, which is gone after the test,
// however that ends.
func newVolume(t *testing.T, mkfs []string) (*volume, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may mount")
	}
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		return nil, err
	}
	base := t.TempDir()
	v := &volume{image: filepath.Join(base, "image"), dir: filepath.Join(base, "mounted"), mkfs: mkfs}
	t.Cleanup(func() {
		if err := v.unmount(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		return nil, err
	}
	return v, errors.Join(v.format(), v.mount())
}

// format makes the file system anew. It must not be mounted.
func (v *volume) format() error {
	if err := os.RemoveAll(v.image); err != nil {
		return err
	}
	f, err := os.Create(v.image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(volumeBytes), f.Close()); err != nil {
		return err
	}
	return run(append(v.mkfs[:len(v.mkfs):len(v.mkfs)], v.image)...)
}

// mount takes a free loop device, which the kernel gives back with unmount.
func (v *volume) mount() error {
	err := run("mount", "-o", "loop", v.image, v.dir)
	v.mounted = v.mounted || err == nil
	return err
}

func (v *volume) unmount() error {
	if !v.mounted {
		return nil
	}
	if err := run("umount", v.dir); err != nil {
		// Whoever has a file open there is about to end.
		if err := run("umount", "-l", v.dir); err != nil {
			return err
		}
	}
	v.mounted = false
	return nil
}

// The shutdown of XFS, which ext4 has learned: _IOR('X', 125, uint32).
const (
	ioctlShutdown = 0x8004587d
	noLogFlush    = 2
)

// cut stops the file system at once. What it has not written by now it never
// will, its journal neither.
func (v *volume) cut() error {
	f, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, noLogFlush); err != nil {
		return fmt.Errorf("shut down %s: %w", v.dir, err)
	}
	return nil
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w: %s", args, err, out)
	}
	return nil
}
