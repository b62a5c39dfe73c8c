package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

func someLeases(n int) []lease.Lease {
	rows := make([]lease.Lease, n)
	for i := range rows {
		rows[i] = lease.Lease{
			Key: fmt.Sprintf("orders:1700000000000/shardId-%012d", i), Stream: "orders", StreamID: "orders:1700000000000",
			Shard: fmt.Sprintf("shardId-%012d", i), Owner: fmt.Sprint("w", i%100), Counter: 1_700_000_000_000,
			Checkpoint: checkpoint.State{Position: stream.After(stream.MakeSequence(1<<50, 1<<60, uint64(i)))},
			Hash:       stream.FullRange,
		}
	}
	return rows
}

// counting counts the statements that a pool sends.
type counting struct{ statements atomic.Int64 }

func (c *counting) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if q.SQL != askWhetherStandby { // once for each connection
		c.statements.Add(1)
	}
	return ctx
}
func (c *counting) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// hold locks what the statement says until release is called.
func hold(t *testing.T, s *Store, statement string, args ...any) (release func()) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), qualified(statement, s.schema), args...); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// until waits for something that is about to happen.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !happened() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("still waiting until %s", what)
		}
	}
}

func TestSwapsThatWaitAtTheSameTimeAreOneStatement(t *testing.T) {
	server := testpg.Shared(t)
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			tracer := &counting{}
			s := open(t, server, Config{Application: "app"}, in(mode), func(c *pgxpool.Config) { c.ConnConfig.Tracer = tracer })
			const n = 200
			rows := someLeases(n)
			if err := s.Create(t.Context(), rows...); err != nil {
				t.Fatal(err)
			}
			began, allWait := make(chan struct{}, n), make(chan struct{})
			fly := s.swaps.Fly
			s.swaps.Fly = func(ctx context.Context, swaps []*swap) error {
				began <- struct{}{}
				<-allWait
				return fly(ctx, swaps)
			}
			tracer.statements.Store(0)
			var wg sync.WaitGroup
			for i := range rows {
				wg.Go(func() {
					next := rows[i]
					next.Checkpoint.Position = stream.After(stream.MakeSequence(0, 0, uint64(i)))
					old := rows[i]
					if i%10 == 9 {
						old.Counter-- // these lose, and it is nobody else's fault
					}
					row, err := s.Swap(t.Context(), old, next)
					if won := i%10 != 9; won && (err != nil || row.Counter != rows[i].Counter+1 || row.Checkpoint.Position != next.Checkpoint.Position) ||
						!won && (!errors.Is(err, lease.ErrConflict) || row.Counter != rows[i].Counter) || row.Key != rows[i].Key {
						t.Errorf("swap %d: got %+v, error %v", i, row, err)
					}
				})
				if i == 0 {
					<-began
				}
			}
			until(t, "all others wait", func() bool { return s.swaps.Waiting() == n-1 })
			close(allWait)
			wg.Wait()
			// The swap that was alone, all others, and a look at each of the refused.
			if sent := tracer.statements.Load(); sent != 1+1+n/10 {
				t.Errorf("%d statements were sent", sent)
			}
		})
	}
}

func TestALockedRowHoldsUpItsOwnSwapAndNoOther(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	rows := someLeases(20)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	const stuck = 7
	release := hold(t, s, "SELECT FROM millrace_lease WHERE key = $1 FOR UPDATE", rows[stuck].Key)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	swap := func(i int) error {
		row, err := s.Swap(ctx, rows[i], rows[i])
		if err == nil {
			rows[i] = row
		}
		return err
	}
	var waits, others sync.WaitGroup
	var over atomic.Bool
	waits.Go(func() {
		if err := swap(stuck); err != nil {
			t.Errorf("the swap of the locked row: %v", err)
		}
		over.Store(true)
	})
	for i := range rows {
		if i != stuck {
			others.Go(func() {
				for range 10 {
					if err := swap(i); err != nil {
						t.Errorf("swap %d: %v", i, err)
					}
				}
			})
		}
	}
	others.Wait()
	if over.Load() {
		t.Error("the swap of the locked row did not wait for the lock")
	}
	release()
	waits.Wait()
}

func TestAGroupThatIsRefusedForOneIsTakenApart(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	rows := someLeases(10)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	// Nothing so long and so irregular goes into an index.
	noise := make([]rune, 5000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = 'Ā' + rune(random.IntN(10000))
	}
	swaps := make([]*swap, len(rows))
	for i, row := range rows {
		swaps[i] = &swap{old: row, next: row}
	}
	const bad = 3
	swaps[bad].next.Owner = string(noise)
	if err := s.swapTogether(t.Context(), swaps); err != nil {
		t.Fatal(err)
	}
	for i, w := range swaps {
		if w.alone != (i == bad) || w.won != (i != bad) {
			t.Errorf("swap %d: %+v, want all to win but one", i, w)
		}
	}
	if err := s.swapAlone(t.Context(), swaps[bad]); err == nil || swaps[bad].won {
		t.Errorf("%+v, error %v", swaps[bad], err)
	}
	for i, row := range rows {
		if now := rowOf(t, s, row.Key); (now.Counter == row.Counter+1) != (i != bad) {
			t.Errorf("row %d: counter %d, before that %d", i, now.Counter, row.Counter)
		}
	}
}

// Whose row is locked waits for connections in turns; whoever was sent with him
// does not stand in that queue.
func TestASwapThatWasSentWithThatOfALockedRowDoesNotWaitInTurns(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	rows := someLeases(2)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	release := hold(t, s, "SELECT FROM millrace_lease WHERE key = $1 FOR UPDATE", rows[0].Key)
	defer release()
	for range cap(s.lone) { // others wait, for long
		s.lone <- struct{}{}
	}
	locked, free := &swap{old: rows[0], next: rows[0]}, &swap{old: rows[1], next: rows[1]}
	if err := s.swapTogether(t.Context(), []*swap{locked, free}); err != nil || !locked.alone || locked.won || free.alone || !free.won {
		t.Errorf("the locked one %+v, the free one %+v, error %v", locked, free, err)
	}
}

func TestOfTwoSwapsOfARowInOneStatementOneWins(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	row := someLeases(1)[0]
	if err := s.Create(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		a, b := &swap{old: row, next: row}, &swap{old: row, next: row}
		a.next.Owner, b.next.Owner = "a", "b"
		if err := s.swapTogether(t.Context(), []*swap{a, b}); err != nil || a.won == b.won {
			t.Fatalf("got %+v and %+v, error %v; want one winner", a, b, err)
		}
		winner := a.next
		if b.won {
			winner = b.next
		}
		stored, err := s.Read(t.Context(), row.Key)
		if err != nil || len(stored) != 1 || stored[0].Owner != winner.Owner || stored[0].Counter != row.Counter+1 {
			t.Fatalf("stored %+v, error %v; the winner is %+v", stored, err, winner)
		}
		row = stored[0]
	}
}

// A statement returns its rows before it commits, and may still fail then.
func TestASwapThatDidNotCommitIsNotAcknowledged(t *testing.T) {
	server := testpg.Shared(t)
	for name, mode := range modes {
		s := open(t, server, Config{Application: "app"}, in(mode))
		row := someLeases(1)[0]
		if err := s.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if _, err := s.pool.Exec(t.Context(), qualified(`
			CREATE FUNCTION millrace_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '57014'; END $$;
			CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON millrace_lease DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW EXECUTE FUNCTION millrace_refuse()`, s.schema), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Swap(t.Context(), row, row); err == nil {
			t.Errorf("%s: a swap that failed to commit was acknowledged with %+v", name, got)
		}
		if rows, err := s.Read(t.Context(), row.Key); err != nil || len(rows) != 1 || rows[0].Counter != row.Counter {
			t.Errorf("%s: found %+v, error %v", name, rows, err)
		}
	}
}

// Whoever sets his database to stricter isolation gets errors of
// serialization, which tell that nothing was written.
func TestStricterIsolationCostsRetriesAndNoErrors(t *testing.T) {
	server := testpg.Shared(t)
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			isolated := func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["default_transaction_isolation"] = level }
			s := open(t, server, Config{Application: "app"}, isolated)
			other := beside(t, server, Config{Application: "app", Schema: s.schema}, isolated)
			rows := someLeases(3)
			if err := s.Create(t.Context(), rows...); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			var wins atomic.Int64
			for i := range 6 {
				store := []*Store{s, other}[i%2]
				wg.Go(func() {
					row := rows[i%len(rows)]
					for range 30 {
						next, err := store.Swap(t.Context(), row, row)
						switch {
						case err == nil:
							wins.Add(1)
						case !errors.Is(err, lease.ErrConflict):
							t.Error(err)
							return
						}
						row = next
					}
				})
			}
			wg.Wait()
			var swaps int64
			for l, err := range s.Leases(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				swaps += l.Counter - rows[0].Counter
			}
			if swaps != wins.Load() {
				t.Errorf("%d swaps were acknowledged, and %d took place", wins.Load(), swaps)
			}
		})
	}
}
