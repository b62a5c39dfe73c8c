package sqlite

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/lease"
)

// lock keeps the file from all other writers, until release is called.
func lock(t testing.TB, s *Store) (release func()) {
	t.Helper()
	tx, err := open(t, pathOf(t, s), Config{Application: "lock"}).writes.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	release = func() { _ = tx.Rollback() }
	t.Cleanup(release)
	return release
}

// flights counts the groups of swaps that are made from now on.
func flights(s *Store) *atomic.Int64 {
	n, fly := new(atomic.Int64), s.swaps.Fly
	s.swaps.Fly = func(ctx context.Context, swaps []*swap) error {
		n.Add(1)
		return fly(ctx, swaps)
	}
	return n
}

// someRows creates rows, and returns them.
func someRows(t testing.TB, s *Store, n int) []lease.Lease {
	t.Helper()
	rows := someLeases(n)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	return rows
}

// allTogether makes swaps that go out together, and one before them that goes
// alone, and tells the answers.
func allTogether(t *testing.T, s *Store, old, next []lease.Lease, answer func(i int, row lease.Lease, err error)) {
	t.Helper()
	release := lock(t, s)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer release()
	for i := range old {
		wg.Go(func() {
			row, err := s.Swap(t.Context(), old[i], next[i])
			answer(i, row, err)
		})
		if i == 0 {
			until(t, "the first swap is under way", func() bool { return s.writes.Stats().InUse == 1 && s.swaps.Waiting() == 0 })
		}
	}
	until(t, "all others wait", func() bool { return s.swaps.Waiting() == len(old)-1 })
}

func TestSwapsThatWaitAreOneTransactionAndEachHasItsOwnAnswer(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	const n = 100
	rows := someRows(t, s, n)
	old, next := make([]lease.Lease, n), make([]lease.Lease, n)
	for i, row := range rows {
		old[i], next[i] = row, savedAt(row, uint64(i))
		switch i % 10 {
		case 7: // gets another owner, too
			next[i].Owner, next[i].Term = "w new", row.Counter+1
		case 8: // is not there
			old[i].Key = "missing " + strconv.Itoa(i)
		case 9: // has changed
			old[i].Counter--
		}
	}
	transactions := flights(s)
	allTogether(t, s, old, next, func(i int, row lease.Lease, err error) {
		want := next[i]
		want.Counter = rows[i].Counter + 1
		switch i % 10 {
		case 8:
			want = lease.Lease{}
		case 9:
			want = rows[i]
		}
		if refused := i%10 >= 8; errors.Is(err, lease.ErrConflict) != refused || !refused && err != nil {
			t.Errorf("swap %d: error %v", i, err)
		}
		if row.Key != want.Key || row.Counter != want.Counter || row.Owner != want.Owner || row.Checkpoint.Position != want.Checkpoint.Position {
			t.Errorf("swap %d: got %+v, want %+v", i, row, want)
		}
		if row.Key != "" && i%10 < 8 {
			rows[i] = row
		}
	})
	if got := transactions.Load(); got != 2 {
		t.Errorf("%d swaps were %d transactions, want the first one and that of all others", n, got)
	}
	for i, row := range rows {
		if now := rowOf(t, s, row.Key); now.Counter != row.Counter || now.Owner != row.Owner || now.Checkpoint.Position != row.Checkpoint.Position {
			t.Errorf("row %d: got %+v, want %+v", i, now, row)
		}
	}
}

func TestARowThatSpoilsATransactionFailsAlone(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	const n, spoiled = 20, 7
	rows := someRows(t, s, n)
	next := make([]lease.Lease, n)
	for i, row := range rows {
		next[i] = savedAt(row, uint64(i))
	}
	next[spoiled].Checkpoint.Progress = make([]byte, 1<<20)
	var pages, now int
	if err := s.writes.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if err := s.writes.QueryRow("PRAGMA max_page_count = " + strconv.Itoa(pages+20)).Scan(&now); err != nil || now != pages+20 {
		t.Fatalf("max_page_count is %d, error %v", now, err)
	}
	allTogether(t, s, rows, next, func(i int, row lease.Lease, err error) {
		if (i == spoiled) != errors.Is(err, ErrDiskFull) || i != spoiled && err != nil {
			t.Errorf("swap %d: got counter %d and error %v", i, row.Counter, err)
		}
	})
	for i, row := range rows {
		if now := rowOf(t, s, row.Key); (now.Counter == row.Counter+1) == (i == spoiled) {
			t.Errorf("row %d: counter %d after a swap from %d", i, now.Counter, row.Counter)
		}
	}
}

func TestASwapThatNobodyWaitsForAnyMoreDoesNotHappenLater(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	rows := someRows(t, s, 10)
	release := lock(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 3*busyTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i, row := range rows {
		wg.Go(func() {
			if _, err := s.Swap(ctx, row, row); !isDeadline(err) {
				t.Errorf("swap %d beside a writer that does not end: %v, want %v", i, err, context.DeadlineExceeded)
			}
		})
	}
	wg.Wait()
	release()
	if err := s.Create(t.Context(), lease.Lease{Key: "later"}); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		if now := rowOf(t, s, row.Key); now.Counter != row.Counter {
			t.Errorf("row %d: counter %d, want %d as before", i, now.Counter, row.Counter)
		}
	}
}

// However many swaps there are, a beat waits for those under way, and not for
// all that wait.
func TestABeatDoesNotQueueBehindAllSwaps(t *testing.T) {
	s := open(t, file(t), Config{Application: "app", MayForgetOnPowerCut: true})
	rows := someRows(t, s, 2*together)
	member, err := s.SwapMember(t.Context(), lease.Member{}, lease.Member{Incarnation: "w/1"})
	if err != nil {
		t.Fatal(err)
	}
	groups := flights(s)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range rows {
		wg.Go(func() {
			for ctx.Err() == nil {
				row, err := s.Swap(ctx, rows[i], rows[i])
				switch {
				case err == nil:
					rows[i] = row
				case ctx.Err() == nil:
					t.Errorf("swap %d: %v", i, err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer stop()
	until(t, "a group waits", func() bool { return s.swaps.Waiting() >= together })
	const beats = 20
	before := groups.Load()
	for range beats {
		if member, err = s.SwapMember(t.Context(), member, member); err != nil {
			t.Fatal(err)
		}
	}
	// Those that began while nobody looked are counted, too.
	if n := groups.Load() - before; n > 10*beats {
		t.Errorf("%d beats waited for %d groups of swaps", beats, n)
	}
}
