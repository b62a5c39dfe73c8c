package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/processors"
)

// attempted is one call of ProcessRecords: which records, and which attempt.
type attempted struct {
	first, last string
	attempt     int
	failed      bool
}

// clumsy is a processor that notes what it is given, and fails where it is told to.
type clumsy struct {
	bundle *bundle
	fails  func(data string, call int) bool
	calls  []attempted
}

func (c *clumsy) process(_ context.Context, b *processors.Batch) error {
	g := attempted{first: string(b.Records[0].Data), last: string(b.Records[len(b.Records)-1].Data), attempt: b.Attempt}
	for _, r := range b.Records {
		g.failed = g.failed || c.fails(string(r.Data), len(c.calls))
	}
	c.calls = append(c.calls, g)
	if g.failed {
		return errors.New("no")
	}
	c.bundle.ledger.add(b)
	return nil
}

func TestWhatFailsComesInSmallerBatchesUntilItIsAlone(t *testing.T) {
	for name, test := range map[string]struct {
		fails func(data string, call int) bool
		want  []attempted
	}{
		"a moment": {
			func(_ string, call int) bool { return call == 0 },
			[]attempted{{"1", "8", 1, true}, {"1", "8", 2, false}},
		},
		"a while": {
			func(_ string, call int) bool { return call < 6 },
			[]attempted{
				{"1", "8", 1, true}, {"1", "8", 2, true}, {"1", "8", 3, true}, {"1", "4", 4, true}, {"1", "2", 5, true},
				{"1", "1", 6, true}, {"1", "1", 7, false}, {"2", "2", 1, false}, {"3", "4", 1, false}, {"5", "8", 1, false},
			},
		},
		"the last record, for a while": {
			func(data string, call int) bool { return data == "8" && call < 9 },
			[]attempted{
				{"1", "8", 1, true}, {"1", "8", 2, true}, {"1", "8", 3, true}, {"1", "4", 4, false}, {"5", "8", 1, true}, {"5", "6", 2, false},
				{"7", "8", 1, true}, {"7", "7", 2, false}, {"8", "8", 1, true}, {"8", "8", 2, false},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				c := &clumsy{bundle: b, fails: test.fails}
				cfg := b.config("a")
				cfg.Processor = func(processors.Shard) processors.RecordProcessor { return processors.Func(c.process) }
				b.puts(8)
				w := b.start(cfg)
				b.ledger.wait(t, 8)
				w.stop()
				b.ledger.check(t, 8, 1)
				if !slices.Equal(c.calls, test.want) {
					t.Errorf("it was given\n%v\nwant\n%v", c.calls, test.want)
				}
			})
		})
	}
}

// What an attempt has done may be committed though it was told that it failed: in a
// transaction whose answer was lost. A batch that begins within it and ends behind it
// would be neither done nor undone.
func TestNoBatchReachesBeyondTheEndOfAnEarlierOneThatItBeginsWithin(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const n = 23
			b := setup(t, 1)
			dice := rand.New(rand.NewPCG(seed, 1))
			c := &clumsy{bundle: b, fails: func(string, int) bool { return dice.IntN(8) == 0 }}
			cfg := b.config("a")
			cfg.Retry = processors.Backoff{Min: time.Millisecond, Max: time.Millisecond}
			cfg.Processor = func(processors.Shard) processors.RecordProcessor { return processors.Func(c.process) }
			b.puts(n)
			w := b.start(cfg)
			b.ledger.wait(t, n)
			w.stop()
			b.ledger.check(t, n, 1)
			number := func(s string) int {
				i, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				return i
			}
			for i, later := range c.calls {
				for _, former := range c.calls[:i] {
					if end := number(former.last); number(later.first) <= end && end < number(later.last) {
						t.Fatalf("seed %d: %v was given after %v", seed, later, former)
					}
				}
			}
		})
	}
}

func TestARecordThatFailsForEverIsNamedAndThoseBeforeItAreCovered(t *testing.T) {
	for _, poison := range []int{1, 2, 5, 8} {
		t.Run(fmt.Sprint(poison), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				c := &clumsy{bundle: b, fails: func(data string, _ int) bool { return data == fmt.Sprint(poison) }}
				cfg := b.config("a")
				cfg.Processor = func(processors.Shard) processors.RecordProcessor { return processors.Func(c.process) }
				b.puts(8)
				w := b.start(cfg)
				time.Sleep(2 * time.Minute)
				status := w.worker.Status().Shards[0]
				blocked := status.Blocked
				if blocked.Records != 1 || blocked.Record != blocked.Last || c.calls[len(c.calls)-1].first != fmt.Sprint(poison) {
					t.Errorf("blocked: %v; it was given\n%v", blocked, c.calls)
				}
				if poison > 1 && status.Position.Includes(blocked.Record) {
					t.Errorf("position %v", status.Position)
				}
				w.stop()
				b.ledger.check(t, poison-1, 1)
				again := b.start(b.config("b"))
				b.ledger.wait(t, 8)
				again.stop()
				b.ledger.check(t, 8, 1)
			})
		})
	}
}
