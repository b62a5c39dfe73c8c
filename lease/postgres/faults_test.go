package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
)

// holder swaps its row again and again, as the holder of a shard does, and
// reads it back when it does not know what became of a swap.
type holder struct {
	store            *Store
	row              lease.Lease
	acknowledged     int64 // the counter of the last swap that was answered
	wins, unanswered int
}

// turn swaps the row once. It returns what cannot be.
func (h *holder) turn(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	row, err := h.store.Swap(call, h.row, h.row)
	switch {
	case err == nil:
		h.row, h.acknowledged = row, row.Counter
		h.wins++
		return nil
	case errors.Is(err, lease.ErrConflict):
		return fmt.Errorf("%s: a conflict with a row at %d, which nobody else writes and whose counter was %d", h.row.Key, row.Counter, h.row.Counter)
	}
	h.unanswered++
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		rows, err := h.store.Read(call, h.row.Key)
		cancel()
		if err != nil {
			// The server may be away for a while.
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		// One that was sent before may still arrive: its guard lets it in once.
		if len(rows) != 1 || rows[0].Counter < h.acknowledged || rows[0].Counter > h.row.Counter+1 {
			return fmt.Errorf("%s: found %+v, and %d was acknowledged", h.row.Key, rows, h.acknowledged)
		}
		h.row = rows[0]
		return nil
	}
	return context.Cause(ctx)
}

// keepSwapping lets holders work on two stores until stop is closed, and
// returns what they have come to.
func keepSwapping(t *testing.T, stores []*Store, stop <-chan struct{}) (wins, unanswered int) {
	t.Helper()
	rows := someLeases(24)
	until(t, "the rows are there", func() bool { return stores[0].Create(t.Context(), rows...) == nil })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	holders := make([]*holder, len(rows))
	var wg sync.WaitGroup
	for i, row := range rows {
		holders[i] = &holder{store: stores[i%len(stores)], row: row, acknowledged: row.Counter}
		wg.Go(func() {
			for h := holders[i]; ; {
				select {
				case <-stop:
					return
				default:
				}
				if err := h.turn(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, h := range holders {
		wins += h.wins
		unanswered += h.unanswered
		rows, err := h.store.Read(t.Context(), h.row.Key)
		if err != nil || len(rows) != 1 || rows[0].Counter < h.acknowledged {
			t.Errorf("%s: found %+v, error %v; %d was acknowledged", h.row.Key, rows, err, h.acknowledged)
		}
	}
	return wins, unanswered
}

func TestAcknowledgedSwapsOutliveCutConnections(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	mine := "lease store " + s.schema
	named := func(store *Store) *Store {
		config := store.pool.Config()
		config.ConnConfig.RuntimeParams["application_name"] = mine
		other, err := New(server.Pool(t, func(c *pgxpool.Config) { *c = *config }), Config{Application: "app", Schema: s.schema})
		if err != nil {
			t.Fatal(err)
		}
		return other
	}
	stores := []*Store{named(s), named(s)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var cut atomic.Int64
	wg.Go(func() {
		defer close(stop)
		for range 30 {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
			}
			tag, err := s.pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", mine)
			if err != nil {
				t.Error(err)
				return
			}
			cut.Add(tag.RowsAffected())
		}
	})
	wins, unanswered := keepSwapping(t, stores, stop)
	wg.Wait()
	if wins == 0 || cut.Load() == 0 {
		t.Errorf("%d swaps, %d connections cut: nothing was tried", wins, cut.Load())
	}
	t.Logf("%d swaps, %d without an answer, %d connections cut", wins, unanswered, cut.Load())
}

func TestAcknowledgedSwapsOutliveACrashOfTheServer(t *testing.T) {
	server := testpg.Start(t)
	s := open(t, server, Config{Application: "app"})
	stores := []*Store{s, beside(t, server, Config{Application: "app", Schema: s.schema})}
	l := listen(t, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	crashes := 3
	if testing.Short() {
		crashes = 1
	}
	wg.Go(func() {
		defer close(stop)
		for range crashes {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-t.Context().Done():
			}
			server.Kill(t)
			server.Resume(t)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
		}
	})
	wins, unanswered := keepSwapping(t, stores, stop)
	wg.Wait()
	if wins == 0 || unanswered == 0 {
		t.Errorf("%d swaps, %d without an answer: nothing was tried", wins, unanswered)
	}
	if err := <-l.ended; err == nil {
		t.Error("the listener did not notice the end of its server")
	}
	t.Logf("%d swaps, %d without an answer, %d crashes", wins, unanswered, crashes)
}

// Reads do no harm, so that a store does not bother its user with connections
// that died in the pool.
func TestReadsGoOnOverConnectionsThatDied(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"}, atMost(attempts-1))
	if err := s.Create(t.Context(), someLeases(1)...); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var pids []uint32
		for _, conn := range s.pool.AcquireAllIdle(t.Context()) {
			pids = append(pids, conn.Conn().PgConn().PID())
			conn.Release()
		}
		admin := server.Pool(t)
		if _, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 10000) FROM unnest($1::int[]) pid", pids); err != nil {
			t.Fatal(err)
		}
		if rows, err := s.Read(t.Context(), someLeases(1)[0].Key); err != nil || len(rows) != 1 {
			t.Fatalf("got %d rows, error %v", len(rows), err)
		}
	}
}
