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
	s := open(t, path, Config{Application: "app", MayForgetOnPowerCut: true})
	if err := s.Create(t.Context(), someLeases(200)...); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		other := open(t, path, Config{Application: "app"})
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
	// Left alone, a log in which there is always a reader only grows. How soon
	// it is cut depends on when the readers let go for a moment.
	const enough = 60_000
	var most int64
	cut := false
	for i := 0; i < enough && !cut; i++ {
		var err error
		if row, err = s.Swap(t.Context(), row, row); err != nil {
			t.Fatal(err)
		}
		if i%500 == 499 {
			info, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			cut = info.Size() < most/2
			most = max(most, info.Size())
		}
	}
	close(stop)
	readers.Wait()
	if !cut {
		t.Errorf("after %d writes the log has %d MiB and was never cut", enough, most>>20)
	}
	t.Logf("at most %d MiB", most>>20)
}
