package dynamodb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
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

		wire.SetFault(func(string, int) testdynamo.Fault { return testdynamo.Throttle })
		if _, err := s.Read(t.Context(), "a"); !errors.Is(err, ErrThrottled) {
			t.Errorf("read: error %v, want %v", err, ErrThrottled)
		}
		if n := wire.Counts()["BatchGetItem"]; n != attempts {
			t.Errorf("it was tried %d times, want %d", n, attempts)
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.Read(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read with a deadline: error %v, want %v", err, context.DeadlineExceeded)
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
	nothing int // answers without a row are yet to come
}

func (a *stingy) BatchGetItem(ctx context.Context, in *sdk.BatchGetItemInput, opts ...func(*sdk.Options)) (*sdk.BatchGetItemOutput, error) {
	for table, ask := range in.RequestItems {
		if a.nothing > 0 {
			a.nothing--
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
	never := handle(t, &stingy{Client: api.Client(t, nil), nothing: 1000}, s.config)
	if _, err := never.Read(t.Context(), keys...); !errors.Is(err, ErrThrottled) {
		t.Errorf("got error %v, want %v", err, ErrThrottled)
	}
}
