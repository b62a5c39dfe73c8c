package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// What a standby shows may be old: a live worker counts as gone who is not in an
// old list of members.
func TestAStandbyIsNotRead(t *testing.T) {
	server := testpg.Start(t)
	s := open(t, server, Config{Application: "app"})
	join(t, s, "w/1")
	server.Standby(t)
	s.pool.Reset() // what it had were connections to the primary
	allFail(t, s, ErrReadOnly)
	if _, err := s.Members(t.Context()); err == nil || !strings.Contains(err.Error(), "target_session_attrs=read-write") {
		t.Errorf("got error %v, want one that says what to do", err)
	}
	if _, err := server.Pool(t).Exec(t.Context(), "SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
	until(t, "it is read when it is a primary", func() bool {
		members, err := s.Members(t.Context())
		return err == nil && len(members) == 1
	})
}

func TestBeatsAndReadsFindAConnectionHoweverManySwapsWaitForRows(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"}, atMost(4))
	rows := someLeases(20)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	join(t, s, "w/1")
	beside := beside(t, server, Config{Application: "app", Schema: s.schema})
	release := hold(t, beside, "SELECT FROM millrace_lease FOR UPDATE")
	var swaps sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, row := range rows {
		swaps.Go(func() {
			if _, err := s.Swap(ctx, row, row); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "swaps wait for rows", func() bool {
		var waiting int
		err := beside.pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&waiting)
		return err == nil && waiting >= cap(s.lone) && len(s.lone) == cap(s.lone) && s.swaps.Waiting() == 0
	})
	member := lease.Member{Incarnation: "w/1", Version: 1}
	for range 10 {
		calling, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var err error
		if member, err = s.SwapMember(calling, member, member); err != nil {
			t.Errorf("a beat: %v", err)
		}
		if _, err := s.Read(calling, rows[0].Key); err != nil {
			t.Errorf("a read: %v", err)
		}
		cancel()
		if busy := s.pool.Stat().AcquiredConns(); busy > 2 {
			t.Errorf("%d of 4 connections are in use", busy)
		}
	}
	release()
	swaps.Wait()
}

func TestAnExhaustedPoolIsSaidToBe(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"}, atMost(1))
	all, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer all.Release()
	slow := errors.New("no answer in time")
	for name, call := range calls(s) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, slow)
		if err := call(ctx); !errors.Is(err, ErrPoolExhausted) || !errors.Is(err, slow) || !strings.Contains(err.Error(), "1 of 1") {
			t.Errorf("%s: got error %v, want one that is %v", name, err, ErrPoolExhausted)
		}
		cancel()
	}
}

// A statement_timeout may be shorter than the time for which a group waits.
func TestAGroupThatTookTooLongIsTakenApart(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	rows := someLeases(3)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	release := hold(t, s, "SELECT FROM millrace_lease WHERE key = $1 FOR UPDATE", rows[1].Key)
	defer release()
	hasty := beside(t, server, Config{Application: "app", Schema: s.schema}, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["statement_timeout"] = "100"
	})
	var swaps []*swap
	for _, row := range rows {
		swaps = append(swaps, &swap{old: row, next: row})
	}
	if err := hasty.swapTogether(t.Context(), swaps); err != nil {
		t.Fatal(err)
	}
	for i, w := range swaps {
		if w.alone != (i == 1) || w.won != (i != 1) {
			t.Errorf("swap %d: %+v, want all to win but the one that is held up", i, w)
		}
	}
}

// blackHole lies between a pool and its server. What it has swallowed stays open,
// and nothing comes out of it.
type blackHole struct {
	net.Listener
	swallowed atomic.Int64 // connections up to this one
	accepted  int64
}

func newBlackHole(t *testing.T, server string) *blackHole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &blackHole{Listener: l}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			b.accepted++
			number := b.accepted
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })
			pass := func(to, from net.Conn) {
				defer stop()
				defer to.Close()
				for buf := make([]byte, 1<<16); ; {
					n, err := from.Read(buf)
					if err != nil {
						return
					}
					if number > b.swallowed.Load() {
						if _, err := to.Write(buf[:n]); err != nil {
							return
						}
					}
				}
			}
			wg.Go(func() { pass(in, out) })
			wg.Go(func() { pass(out, in) })
		}
	})
	return b
}

// A firewall that forgets connections says nothing to either side.
func TestCallsGoOnWhenAConnectionIsCutOffWithoutAWord(t *testing.T) {
	t.Parallel()
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	for name, asks := range map[string]bool{"a beat, where the pool asks first": true, "a read, where it does not ask": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hole *blackHole
			cut := beside(t, server, Config{Application: "app", Schema: s.schema}, func(c *pgxpool.Config) {
				hole = newBlackHole(t, fmt.Sprintf("%s:%d", c.ConnConfig.Host, c.ConnConfig.Port))
				address := hole.Addr().(*net.TCPAddr)
				c.ConnConfig.Host, c.ConnConfig.Port = address.IP.String(), uint16(address.Port)
				c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return asks }
			})
			join(t, cut, name)
			hole.swallowed.Store(cut.pool.Stat().NewConnsCount())
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			var err error
			if asks {
				member := lease.Member{Incarnation: name, Version: 1}
				_, err = cut.SwapMember(ctx, member, member)
			} else {
				_, err = cut.Members(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// inHole returns a store whose pool has one place, and in it a connection that is
// cut off without a word, of which the pool believes that it is good.
func inHole(t *testing.T, server *testpg.Server, config Config) *Store {
	t.Helper()
	var hole *blackHole
	s := beside(t, server, config, atMost(1), func(c *pgxpool.Config) {
		hole = newBlackHole(t, fmt.Sprintf("%s:%d", c.ConnConfig.Host, c.ConnConfig.Port))
		address := hole.Addr().(*net.TCPAddr)
		c.ConnConfig.Host, c.ConnConfig.Port = address.IP.String(), uint16(address.Port)
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	})
	if _, err := s.Members(t.Context()); err != nil {
		t.Fatal(err)
	}
	hole.swallowed.Store(s.pool.Stat().NewConnsCount())
	return s
}

// A pool waits a quarter of a minute for a server to say goodbye.
func TestAConnectionThatWasCutOffKeepsNoPlaceInThePool(t *testing.T) {
	t.Parallel()
	server := testpg.Shared(t)
	s := inHole(t, server, Config{Application: "app", Schema: open(t, server, Config{Application: "app"}).schema})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if _, err := s.Members(ctx); err != nil {
		t.Error(err)
	}
}

// Nobody else ends what waits on a connection of its own.
func TestAConnectionThatWasCutOffIsNotListenedOn(t *testing.T) {
	t.Parallel()
	server := testpg.Shared(t)
	config := Config{Application: "app", Schema: open(t, server, Config{Application: "app"}).schema, FastFailover: true}
	for name, begin := range map[string]func(context.Context, *Store) error{
		"changes": func(ctx context.Context, s *Store) error {
			return s.Changes(ctx, func() { t.Error("woken over a dead connection") })
		},
		"presence": func(ctx context.Context, s *Store) error {
			return s.Attend(ctx, "w/1", time.Second, func() { t.Error("present over a dead connection") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := inHole(t, server, config)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errStopped)
			defer cancel()
			if err := begin(ctx, s); err == nil || errors.Is(err, errStopped) {
				t.Errorf("ended with %v, want an error of the connection", err)
			}
		})
	}
}

func TestATransactionWithACheckpointMayNotIdleForLong(t *testing.T) {
	server := testpg.Shared(t)
	for _, test := range []struct{ set, want string }{{"0", "3s"}, {"1h", "3s"}, {"2min", "3s"}, {"1500ms", "1500ms"}, {"1s", "1s"}} {
		s := open(t, server, Config{Application: "app"}, func(c *pgxpool.Config) {
			c.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = test.set
		})
		l := taken(t, s, "0", "a")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		tx, err := s.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SwapIn(ctx, tx, l, savedAt(l, 7)); err != nil {
			t.Error(err)
		}
		cancel()
		var got time.Duration
		var text string
		if err := tx.QueryRow(t.Context(), "SHOW idle_in_transaction_session_timeout").Scan(&text); err != nil {
			t.Fatal(err)
		}
		if got, err = time.ParseDuration(text); err != nil {
			t.Error(err)
		}
		want, _ := time.ParseDuration(test.want)
		// What is left of three seconds; the machine may be busy.
		if got > want || want < 3*time.Second && got != want {
			t.Errorf("set to %s it is %v, want %v", test.set, got, want)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The pool of the store is small, and all shards of the worker want transactions
// of it.
func TestCheckpointsInTransactionsOfTheStoresOwnSmallPool(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "fleet"}, atMost(4))
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	book := pgx.Identifier{s.schema, "book"}.Sanitize()
	if _, err := s.pool.Exec(t.Context(), "CREATE TABLE "+book+" (record text NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	e, err := engine.OpenMemory(engine.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	orders, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: 32})
	if err != nil {
		t.Fatal(err)
	}
	const records = 320
	for n := range records {
		if _, err := orders.Put(t.Context(), stream.Entry{PartitionKey: fmt.Sprint(n), Data: fmt.Append(nil, n)}); err != nil {
			t.Fatal(err)
		}
	}
	random := &dice{Rand: rand.New(rand.NewPCG(1, 2))}
	var seen atomic.Int64
	w, err := worker.New(worker.Config{
		Application: "fleet", Streams: []stream.Stream{orders}, Leases: s, Logger: log,
		Processor: func(processors.Shard) processors.RecordProcessor {
			return &effects{pool: s.pool, book: book, dice: random, seen: &seen}
		},
		CheckpointEvery: 20 * time.Millisecond, BatchRecords: 10,
		Retry: processors.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	defer running.Wait()
	patience, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for again := time.NewTicker(10 * time.Millisecond); seen.Load() < records; {
		select {
		case <-again.C:
		case <-patience.Done():
			t.Fatalf("%d of %d records were booked, and no more", seen.Load(), records)
		}
	}
	stop()
	running.Wait()
	var booked, twice int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*), count(*) - count(DISTINCT record) FROM "+book).Scan(&booked, &twice); err != nil {
		t.Fatal(err)
	}
	if booked != records || twice != 0 {
		t.Errorf("%d of %d records were booked, %d of them more than once", booked, records, twice)
	}
}
