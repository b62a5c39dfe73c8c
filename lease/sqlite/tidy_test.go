package sqlite

import (
	"os"
	"sync"
	"testing"
)

// Readers who come and go all the time must not keep SQLite from beginning its
// write-ahead log anew.
func TestTheWriteAheadLogStaysSmallWhileManyPoll(t *testing.T) {
	path := file(t)
	s := open(t, path, Config{MayForgetOnPowerCut: true})
	if err := s.Create(t.Context(), someLeases(200)...); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		other := open(t, path, Config{})
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, err := range other.Leases(t.Context()) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	rows, err := s.Read(t.Context(), someLeases(1)[0].Key)
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	row := rows[0]
	const writes = 6000 // at two pages and more each
	var most int64
	for i := range writes {
		var err error
		if row, err = s.Swap(t.Context(), row, row); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			if info, err := os.Stat(path + "-wal"); err == nil {
				most = max(most, info.Size())
			}
		}
	}
	close(stop)
	readers.Wait()
	t.Logf("%d KiB", most>>10)
	if most > 2*largeLog {
		t.Errorf("the log has grown to %d MiB", most>>20)
	}
}
