package sqlite

import (
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
)

// Readers who come and go all the time must not keep the write-ahead log as
// large as it once became.
func TestTheWriteAheadLogIsCutWhileManyPoll(t *testing.T) {
	path := file(t)
	s := open(t, path, Config{Application: "app", MayForgetOnPowerCut: true})
	polled := open(t, path, Config{Application: "polled"})
	if err := polled.Create(t.Context(), someLeases(200)...); err != nil {
		t.Fatal(err)
	}
	if _, err := users(t, path, url.Values{}).ExecContext(t.Context(), "CREATE TABLE large AS SELECT zeroblob(?)", largeLog); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if was := size(); was < largeLog {
		t.Fatalf("the log has %d bytes, not the %d of the blob in it", was, largeLog)
	}
	stop := make(chan struct{})
	var pollers sync.WaitGroup
	for range 4 {
		pollers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, err := range polled.Leases(t.Context()) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	// To cut it is to wait for the pollers, and not to wait long: it may take
	// more than one look.
	const looks = 50
	n := 0
	for ; n < looks && size() >= largeLog; n++ {
		rows := someLeases(lookEvery)
		for i := range rows {
			rows[i].Key += fmt.Sprint("-", n)
		}
		if err := s.Create(t.Context(), rows...); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	pollers.Wait()
	if at := size(); at >= largeLog {
		t.Errorf("after %d looks the log has %d MiB still", n, at>>20)
	}
	t.Logf("cut at look %d", n)
}
