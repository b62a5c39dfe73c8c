package wal

import (
	"slices"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
)

func TestAFileThatSomebodyReadsIsNotUsedAgain(t *testing.T) {
	fs := vfs.Memory()
	f, err := fs.Create(segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	s := segments{byGen: map[uint64]*segment{}}
	s.add(&segment{gen: 1, name: segmentName(1), file: &file{File: f}})
	seg := s.pin(1)
	s.retire(seg, "pool-1")
	if name := s.takePooled(0); name != "" {
		t.Errorf("%s is used again while it is read", name)
	}
	if s.pin(1) != nil {
		t.Error("it is found after it has left the log")
	}
	s.unpin(seg)
	if !slices.Equal(s.pool, []string{"pool-1"}) {
		t.Errorf("the pool is %v when the last reader has left", s.pool)
	}
}
