package vfs

import (
	"errors"
	"syscall"
	"testing"
)

// What a disk with bad pages does, the engine's tests rely on.
func TestABadPageFollowsItsFileUntilItIsWrittenAsAWhole(t *testing.T) {
	d := Scratch(NewCrash())
	f, err := d.Create("a")
	must(t, err, f.Truncate(3*PageSize))
	d.Spoil("a", PageSize+10, PageSize+11)
	try := func(f File, want error) {
		t.Helper()
		b := make([]byte, PageSize+1)
		if _, err := f.ReadAt(b, 0); !errors.Is(err, want) {
			t.Errorf("read: %v, want %v", err, want)
		}
		if _, err := f.ReadAt(b[:PageSize], 2*PageSize); err != nil {
			t.Errorf("read beside it: %v", err)
		}
		if _, err := f.WriteAt(b[:100], PageSize+8); !errors.Is(err, want) {
			t.Errorf("write a part: %v, want %v", err, want)
		}
	}
	try(f, syscall.EIO)
	must(t, d.Rename("a", "b"))
	try(f, syscall.EIO)
	again, err := d.Open("b")
	must(t, err)
	try(again, syscall.EIO)
	d.Heal(true)
	try(again, nil)
	d.Heal(false)
	other := d.On(d.FS.(*Crash).Now())
	_, err = f.WriteAt(make([]byte, PageSize), PageSize)
	must(t, err)
	try(f, nil)
	again, err = other.Open("b")
	must(t, err)
	try(again, syscall.EIO)
	must(t, again.Truncate(PageSize), again.Truncate(3*PageSize))
	try(again, nil)
}
