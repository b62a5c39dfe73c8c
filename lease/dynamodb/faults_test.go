package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// overWire runs a test with a store whose requests can be made to fail, and
// another handle on its tables, on every API.
func overWire(t *testing.T, test func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store)) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		wire := testdynamo.NewWire(testdynamo.Transport(t))
		s := open(t, api.Client(t, wire), Config{})
		test(t, s, wire, handle(t, api.Client(t, nil), s.config))
	})
}

// first lets the first request of a kind fail.
func first(operation string, fault testdynamo.Fault) func(string, int) testdynamo.Fault {
	return func(op string, nth int) testdynamo.Fault {
		if op == operation && nth == 1 {
			return fault
		}
		return testdynamo.Pass
	}
}

func someRow(key string) lease.Lease { return lease.Lease{Key: key, Owner: "w", Counter: 100} }

func create(t *testing.T, s *Store, rows ...lease.Lease) {
	t.Helper()
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
}

func readOne(t *testing.T, s *Store, key string) lease.Lease {
	t.Helper()
	rows, err := s.Read(t.Context(), key)
	if err != nil || len(rows) != 1 {
		t.Fatalf("read of %s: %d rows, error %v", key, len(rows), err)
	}
	return rows[0]
}

// A driver that tries again by itself finds that the condition of its second
// attempt fails: because of its first.
func TestAWriteWhoseAnswerWasLostIsAWin(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, _ *Store) {
		for name, fault := range map[string]testdynamo.Fault{
			"answer lost": testdynamo.LoseAnswer, "error after the write": testdynamo.FailAfter,
			"request lost": testdynamo.Break, "throttled": testdynamo.Throttle,
		} {
			row := someRow(name)
			wire.SetFault(first("PutItem", fault))
			create(t, s, row)
			wire.SetFault(first("UpdateItem", fault))
			next := row
			next.Term = 101
			if got, err := s.Swap(t.Context(), row, next); err != nil || got.Counter != 101 || got.Term != 101 {
				t.Errorf("%s: swap gave counter %d, term %d and error %v", name, got.Counter, got.Term, err)
			}
			if got := readOne(t, s, name); got.Counter != 101 {
				t.Errorf("%s: counter after one swap is %d, want 101", name, got.Counter)
			}

			wire.SetFault(first("UpdateItem", fault))
			member, err := s.SwapMember(t.Context(), lease.Member{}, lease.Member{Incarnation: name, Worker: "w"})
			if err != nil || member.Version != 1 {
				t.Fatalf("%s: join gave %+v and error %v", name, member, err)
			}
			wire.SetFault(first("UpdateItem", fault))
			if member, err = s.SwapMember(t.Context(), member, member); err != nil || member.Version != 2 {
				t.Errorf("%s: beat gave %+v and error %v", name, member, err)
			}
		}
	})
}

// Somebody else wrote between the attempt whose answer was lost and the next
// one: the row no longer tells whether the first went through.
func TestAWriteThatCannotBeToldFromAnothersIsNoConflict(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		ctx := t.Context()
		row := someRow("a")
		create(t, s, row)
		wire.SetFault(func(op string, nth int) testdynamo.Fault {
			switch {
			case op == "UpdateItem" && nth == 1:
				return testdynamo.LoseAnswer
			case op == "UpdateItem" && nth == 2:
				now := readOne(t, other, "a")
				if _, err := other.Swap(ctx, now, now); err != nil {
					t.Error(err)
				}
			}
			return testdynamo.Pass
		})
		if _, err := s.Swap(ctx, row, row); err == nil || errors.Is(err, lease.ErrConflict) {
			t.Errorf("swap: error %v, want one that leaves open whether it took place", err)
		}

		wire.SetFault(func(op string, nth int) testdynamo.Fault {
			switch {
			case op == "UpdateItem" && nth == 1:
				return testdynamo.Break // it never arrived
			case op == "UpdateItem" && nth == 2:
				now := readOne(t, other, "a")
				if _, err := other.Swap(ctx, now, now); err != nil {
					t.Error(err)
				}
			}
			return testdynamo.Pass
		})
		row = readOne(t, other, "a")
		if got, err := s.Swap(ctx, row, row); !errors.Is(err, lease.ErrConflict) || got.Counter != row.Counter+1 {
			t.Errorf("swap that another overtook: counter %d, error %v; want the other's row, and %v", got.Counter, err, lease.ErrConflict)
		}

		wire.SetFault(first("DeleteItem", testdynamo.LoseAnswer))
		if err := s.Delete(ctx, readOne(t, other, "a")); err == nil || errors.Is(err, lease.ErrConflict) {
			t.Errorf("delete: error %v, want one that leaves open whether it took place", err)
		}
		member, err := s.SwapMember(ctx, lease.Member{}, lease.Member{Incarnation: "w"})
		if err != nil {
			t.Fatal(err)
		}
		wire.SetFault(first("DeleteItem", testdynamo.FailAfter))
		if _, err := s.SwapMember(ctx, member, lease.Member{}); err == nil || errors.Is(err, lease.ErrConflict) {
			t.Errorf("end: error %v, want one that leaves open whether it took place", err)
		}
	})
}

func TestAConflictIsOneRequestWhereTheRowComesWithIt(t *testing.T) {
	api := testdynamo.Any(t)
	if !api.Complete {
		t.Skip("this API never returns the row")
	}
	wire := testdynamo.NewWire(testdynamo.Transport(t))
	s := open(t, api.Client(t, wire), Config{})
	create(t, s, someRow("a"))
	wire.SetFault(nil)
	stale := someRow("a")
	stale.Counter--
	if got, err := s.Swap(t.Context(), stale, stale); !errors.Is(err, lease.ErrConflict) || got.Counter != 100 {
		t.Errorf("swap: counter %d, error %v", got.Counter, err)
	}
	if counts := wire.Counts(); len(counts) != 1 || counts["UpdateItem"] != 1 {
		t.Errorf("a conflict took %v", counts)
	}
}

func TestThrottledRequestsAreTriedAgainUntilTheirContextEnds(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, _ *Store) {
		row := someRow("a")
		create(t, s, row)
		wire.SetFault(func(_ string, nth int) testdynamo.Fault {
			if nth <= 3 {
				return testdynamo.Throttle
			}
			return testdynamo.Pass
		})
		for what, err := range calls(t.Context(), s, row) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}

		short, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		over := errors.New("the time is over")
		wire.SetFault(func(_ string, nth int) testdynamo.Fault {
			if nth == 3 {
				cancel(over)
			}
			return testdynamo.Throttle
		})
		if _, err := s.Read(short, "a"); !errors.Is(err, over) || !errors.Is(err, ErrThrottled) {
			t.Errorf("read whose context ends: error %v, want %v and why", err, over)
		}
	})
}

// calls makes each kind of call once, and yields its error.
func calls(ctx context.Context, s *Store, row lease.Lease) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		var list, read, owned, members error
		for _, err := range s.Leases(ctx) {
			list = err
		}
		_, read = s.Read(ctx, row.Key)
		_, owned = s.Owned(ctx, row.Owner)
		_, members = s.Members(ctx)
		row, swap := s.Swap(ctx, row, row)
		member, join := s.SwapMember(ctx, lease.Member{}, lease.Member{Incarnation: "w"})
		_, end := s.SwapMember(ctx, member, lease.Member{})
		for what, err := range map[string]error{
			"leases": list, "read": read, "owned": owned, "members": members, "swap": swap, "join": join, "end": end,
			"create": s.Create(ctx, someRow("another")), "delete": s.Delete(ctx, row),
		} {
			if !yield(what, err) {
				return
			}
		}
	}
}

func TestErrorsNameTheFix(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		wire.SetFault(func(string, int) testdynamo.Fault { return testdynamo.Deny })
		for what, err := range calls(t.Context(), s, someRow("a")) {
			if what == "end" {
				continue // nobody joined
			}
			// The SDK names the operation.
			if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "operation error DynamoDB: ") || !strings.Contains(err.Error(), s.config.Table) {
				t.Errorf("%s: %v, want %v with the operation and the table", what, err, ErrDenied)
			}
		}
		missing := handle(t, other.api, Config{Application: "none", Table: "no-such-table"})
		for what, err := range calls(t.Context(), missing, someRow("a")) {
			if what == "end" {
				continue
			}
			if !errors.Is(err, ErrNoTable) || !strings.Contains(err.Error(), "no-such-table") {
				t.Errorf("%s: %v, want %v with its name", what, err, ErrNoTable)
			}
		}
	})
}

// Nothing was sent, so there is nothing to try again.
func TestWithoutCredentialsNothingIsTriedAgain(t *testing.T) {
	api := testdynamo.Any(t)
	tries, none := 0, errors.New("no credentials here")
	client := sdk.New(api.Client(t, nil).Options(), func(o *sdk.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			tries++
			return aws.Credentials{}, none
		})
	})
	s := handle(t, client, Config{Application: "app"})
	if _, err := s.Members(t.Context()); !errors.Is(err, none) || tries != 1 {
		t.Errorf("after %d tries: error %v, want %v after one", tries, err, none)
	}
}

// stingy leaves out some of what it is asked for, as DynamoDB does when it runs
// out of capacity or of room.
type stingy struct {
	*sdk.Client
	nothing int    // answers without a row are yet to come
	never   func() // is called after one of those, and another comes
}

func (a *stingy) BatchGetItem(ctx context.Context, in *sdk.BatchGetItemInput, opts ...func(*sdk.Options)) (*sdk.BatchGetItemOutput, error) {
	for table, ask := range in.RequestItems {
		if a.nothing > 0 {
			a.nothing--
			if a.never != nil {
				a.nothing++
				a.never()
			}
			return &sdk.BatchGetItemOutput{UnprocessedKeys: map[string]types.KeysAndAttributes{table: ask}}, nil
		}
		some := min(3, len(ask.Keys))
		left := ask
		left.Keys = slices.Clone(ask.Keys[some:])
		ask.Keys = ask.Keys[:some]
		out, err := a.Client.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{table: ask}}, opts...)
		if err == nil && len(left.Keys) > 0 {
			out.UnprocessedKeys = map[string]types.KeysAndAttributes{table: left}
		}
		return out, err
	}
	return nil, errors.New("nothing was asked for")
}

func TestWhatABatchLeavesOutIsAskedForAgain(t *testing.T) {
	api := testdynamo.Any(t)
	s := open(t, &stingy{Client: api.Client(t, nil), nothing: 2}, Config{})
	var keys []string
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		create(t, s, someRow(key))
		keys = append(keys, key)
	}
	if rows, err := s.Read(t.Context(), keys...); err != nil || len(rows) != len(keys) {
		t.Errorf("got %d rows and error %v, want %d", len(rows), err, len(keys))
	}
	short, cancel := context.WithCancel(t.Context())
	defer cancel()
	never := handle(t, &stingy{Client: api.Client(t, nil), nothing: 1, never: cancel}, s.config)
	if _, err := never.Read(short, keys...); !errors.Is(err, ErrThrottled) {
		t.Errorf("got error %v, want %v", err, ErrThrottled)
	}
}

// paged is an API whose tables have some pages of a row each. It is throttled
// before it gives each of them.
type paged struct {
	API
	pages     int
	throttled int            // so often, before each page
	asked     map[string]int // by page
}

func (a *paged) page(from item) (rows []item, next item, err error) {
	at := 0
	if from != nil {
		at = int((&reader{item: from}).integer("page"))
	}
	page := fmt.Sprint(at)
	if a.asked[page]++; a.asked[page] <= a.throttled {
		return nil, nil, &types.ProvisionedThroughputExceededException{}
	}
	if at+1 < a.pages {
		next = item{"page": integer(int64(at + 1))}
	}
	return []item{newLayout(Config{}).newRow(someRow(page), "mark")}, next, nil
}

func (a *paged) Scan(_ context.Context, in *sdk.ScanInput, _ ...func(*sdk.Options)) (*sdk.ScanOutput, error) {
	rows, next, err := a.page(in.ExclusiveStartKey)
	return &sdk.ScanOutput{Items: rows, LastEvaluatedKey: next}, err
}

// A provisioned table refuses for longer than any request that is not answered is
// tried, and then again. What was read is not read again.
func TestAListingGoesOnFromThePageAtWhichItWasThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &paged{pages: 20, throttled: 3 * attempts, asked: map[string]int{}}
		s := handle(t, api, Config{Application: "app"})
		rows, err := listing(t, s)
		if err != nil || len(rows) != api.pages {
			t.Fatalf("%d rows, error %v, want %d", len(rows), err, api.pages)
		}
		for page, n := range api.asked {
			if n != api.throttled+1 {
				t.Errorf("page %s was asked for %d times, want %d", page, n, api.throttled+1)
			}
		}

		began := time.Now()
		never := handle(t, &paged{pages: 1, throttled: 1 << 30, asked: map[string]int{}}, Config{Application: "app"})
		if _, err := listing(t, never); !errors.Is(err, ErrThrottled) {
			t.Errorf("a table that is throttled for good: error %v, want %v", err, ErrThrottled)
		}
		if took := time.Since(began); took < patience || took > 2*patience {
			t.Errorf("it was waited for %v, want %v", took, patience)
		}
	})
}

// dwindling is an API that reads some rows of a batch, and then no more.
type dwindling struct {
	*sdk.Client
	rows int    // are left
	over func() // is called when none are
}

func (a *dwindling) BatchGetItem(ctx context.Context, in *sdk.BatchGetItemInput, opts ...func(*sdk.Options)) (*sdk.BatchGetItemOutput, error) {
	if a.rows == 0 {
		a.over()
		return nil, &types.ProvisionedThroughputExceededException{}
	}
	for table, ask := range in.RequestItems {
		left := ask
		some := min(a.rows, len(ask.Keys))
		a.rows -= some
		left.Keys, ask.Keys = slices.Clone(ask.Keys[some:]), ask.Keys[:some]
		out, err := a.Client.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{table: ask}}, opts...)
		if err == nil && len(left.Keys) > 0 {
			out.UnprocessedKeys = map[string]types.KeysAndAttributes{table: left}
		}
		return out, err
	}
	return nil, errors.New("nothing was asked for")
}

// A worker that comes back to a thousand leases must not begin anew with each call.
func TestOwnedGoesOnWithTheRowsThatItHasNotReadYet(t *testing.T) {
	api := testdynamo.Any(t)
	a := &dwindling{Client: api.Client(t, nil)}
	s := open(t, a, Config{})
	const n = 10
	for i := range n {
		create(t, s, someRow(fmt.Sprint(i)))
	}
	for call := 1; ; call++ {
		ctx, cancel := context.WithCancel(t.Context())
		a.rows, a.over = 4, cancel
		rows, err := s.Owned(ctx, "w")
		cancel()
		if err == nil && len(rows) == n {
			return
		}
		if !errors.Is(err, ErrThrottled) || call > n {
			t.Fatalf("call %d: %d rows, error %v", call, len(rows), err)
		}
	}
}

// An item of DynamoDB has 400 KB at most. That a note has no room is told to whoever
// wrote it, and not found out by trying.
func TestARowThatHasNoRoomIsRefusedWithoutARequest(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, _ *Store) {
		row := someRow("a")
		create(t, s, row)
		wire.SetFault(nil)
		next := row
		next.Checkpoint.Pending.Position, next.Checkpoint.Pending.Data = stream.TrimHorizon, make([]byte, 500_000)
		_, swap := s.Swap(t.Context(), row, next)
		_, in := s.SwapIn(t.Context(), &types.TransactWriteItem{}, row, next)
		next.Key = "b"
		for what, err := range map[string]error{"swap": swap, "swap in a transaction": in, "create": s.Create(t.Context(), next)} {
			if !errors.Is(err, checkpoint.ErrTooLarge) {
				t.Errorf("%s: error %v, want %v", what, err, checkpoint.ErrTooLarge)
			}
		}
		if counts := wire.Counts(); counts["UpdateItem"]+counts["PutItem"] != 0 {
			t.Errorf("it took %v", counts)
		}
		next = row
		next.Checkpoint.Pending.Position, next.Checkpoint.Pending.Data = stream.TrimHorizon, make([]byte, largestRow-1000)
		if got, err := s.Swap(t.Context(), row, next); err != nil || len(got.Checkpoint.Pending.Data) != largestRow-1000 {
			t.Errorf("a row with just enough room: %d bytes, error %v", len(got.Checkpoint.Pending.Data), err)
		}
	})
}

// A swap is refused, and when its caller looks at what refused it, the row is what he
// believed all along. No conflict has such a row: the swap is tried again.
func TestARowThatBecomesWhatTheCallerBelievedIsNoConflict(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		ctx := t.Context()
		row, member, note := someRow("a"), lease.Member{Incarnation: "w", Version: 1}, lease.Note{Name: "n", Version: 5}
		meanwhile := func(do func() error) {
			wire.SetFault(func(op string, nth int) testdynamo.Fault {
				if op == "GetItem" && nth == 1 {
					if err := do(); err != nil {
						t.Error(err)
					}
				}
				return testdynamo.Pass
			})
		}
		meanwhile(func() error { return other.Create(ctx, row) })
		if got, err := s.Swap(ctx, row, row); err != nil || got.Counter != row.Counter+1 {
			t.Errorf("swap: counter %d, error %v, want %d", got.Counter, err, row.Counter+1)
		}
		join := func() error { _, err := other.SwapMember(ctx, lease.Member{}, member); return err }
		meanwhile(join)
		got, err := s.SwapMember(ctx, member, member)
		if err != nil || got.Version != 2 {
			t.Errorf("beat: version %d, error %v, want 2", got.Version, err)
		}
		if _, err := s.SwapMember(ctx, got, lease.Member{}); err != nil {
			t.Fatal(err)
		}
		meanwhile(join)
		if _, err := s.SwapMember(ctx, member, lease.Member{}); err != nil {
			t.Errorf("end: error %v", err)
		}
		meanwhile(func() error { _, err := other.SwapNote(ctx, lease.Note{}, note); return err })
		if got, err := s.SwapNote(ctx, note, note); err != nil || got.Version != 6 {
			t.Errorf("note: version %d, error %v, want 6", got.Version, err)
		}
	})
}

// Who may be the writer itself cannot say that it lost.
func TestAWriteThatMayHaveBeenUndoneSinceIsNoConflict(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		ctx := t.Context()
		// second lets the answer to the first write be lost, and does something before the second.
		second := func(write string, do func() error) {
			wire.SetFault(func(op string, nth int) testdynamo.Fault {
				switch {
				case op == write && nth == 1:
					return testdynamo.LoseAnswer
				case op == write && nth == 2:
					if err := do(); err != nil {
						t.Error(err)
					}
				}
				return testdynamo.Pass
			})
		}
		unsure := func(what string, err error) {
			t.Helper()
			if err == nil || errors.Is(err, lease.ErrConflict) {
				t.Errorf("%s: error %v, want one that leaves open whether it took place", what, err)
			}
		}
		row := lease.Lease{Key: "a"} // as a KCL creates it, with a counter of 0
		create(t, s, row)
		second("UpdateItem", func() error { return other.Delete(ctx, readOne(t, other, "a")) })
		_, err := s.Swap(ctx, row, row)
		unsure("swap", err)

		note, err := s.SwapNote(ctx, lease.Note{}, lease.Note{Name: "n", Version: 5})
		if err != nil {
			t.Fatal(err)
		}
		second("DeleteItem", func() error {
			_, err := other.SwapNote(ctx, lease.Note{}, lease.Note{Name: "n", Version: 9})
			return err
		})
		_, err = s.SwapNote(ctx, note, lease.Note{})
		unsure("removal of a note", err)
	})
}
