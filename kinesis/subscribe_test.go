package kinesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

// journal notes the records that a subscription gives, each of which must be the
// one after the last.
type journal struct {
	mu     sync.Mutex
	next   int
	faults []string
	silent time.Duration // the longest time between two records
	heard  time.Time
}

func newJournal() *journal { return &journal{next: 1} }

func (j *journal) handle(b *stream.Batch) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range b.Records {
		if got := string(b.Records[i].Data); got != fmt.Sprint(j.next) {
			j.faults = append(j.faults, fmt.Sprintf("record %s where %d was to come", got, j.next))
		}
		j.next++
	}
	if !j.heard.IsZero() {
		j.silent = max(j.silent, time.Since(j.heard))
	}
	j.heard = time.Now()
	return nil
}

// check fails the test unless exactly the records 1 to n came.
func (j *journal) check(t *testing.T, n int) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.faults) > 0 {
		t.Errorf("%d faults: %s", len(j.faults), j.faults[0])
	}
	if j.next != n+1 {
		t.Errorf("%d records came, want %d", j.next-1, n)
	}
}

// start runs a subscription from its beginning, and returns what stops it.
func start(t *testing.T, u stream.Subscriber, handle func(*stream.Batch) error) (stop func() error, ended <-chan error) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := make(chan error, 1)
	go func() { c <- u.Subscribe(ctx, fakeShard, stream.TrimHorizon, stream.Batch{}, handle) }()
	return func() error {
		cancel(errEnough)
		return <-c
	}, c
}

var errEnough = errors.New("enough")

func TestASubscriptionIsRenewedWithoutLossRepeatOrGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		f.distance = 2500 * time.Millisecond
		_, u := subscribed(t, f, Config{})
		j := newJournal()
		stop, _ := start(t, u, j.handle)
		time.Sleep(f.distance + time.Second)
		const seconds = 3600
		for range seconds {
			f.put(1)
			time.Sleep(time.Second)
		}
		if err := stop(); !errors.Is(err, errEnough) {
			t.Errorf("the subscription ends with %v", err)
		}
		time.Sleep(f.distance) // the last call may have been on its way
		j.check(t, seconds)
		if j.silent > time.Second {
			t.Errorf("for %v there was no record, although one came every second", j.silent)
		}
		// Twelve times five minutes, and a little more often.
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.calls < 12 || f.calls > 15 || f.refused > 0 {
			t.Errorf("an hour took %d calls, of which %d were too early", f.calls, f.refused)
		}
	})
}

func TestABrokenSubscriptionGoesOnWithoutLossOrRepeat(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			f := newPushService()
			_, u := subscribed(t, f, Config{})
			ways := []string{"cut", "garbage", "silence", "served", "InternalFailureException", "", ""}
			faults := rand.New(rand.NewPCG(seed, 1))
			f.fault = func(int) fault {
				return fault{after: 1 + faults.IntN(30), how: ways[faults.IntN(len(ways))]}
			}
			j := newJournal()
			stop, ended := start(t, u, j.handle)
			for range 1200 {
				f.put(random.IntN(20))
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			select {
			case err := <-ended:
				t.Fatal(err)
			default:
			}
			stop()
			j.check(t, f.records)
			if f.refused > 0 {
				t.Errorf("%d of %d calls were too early", f.refused, f.calls)
			}
		})
	}
}

func TestASubscriptionThatNeverGivesAnythingIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		_, u := subscribed(t, f, Config{})
		f.fault = func(int) fault { return fault{how: "garbage"} }
		err := u.Subscribe(t.Context(), fakeShard, stream.TrimHorizon, stream.Batch{}, newJournal().handle)
		if err == nil || f.calls != mostBarren {
			t.Errorf("after %d calls: %v", f.calls, err)
		}
	})
}

func TestASilentSubscriptionIsNoticedAndASlowHandleIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		_, u := subscribed(t, f, Config{Stall: 20 * time.Second})
		f.fault = func(call int) fault {
			if call == 1 {
				return fault{after: 1, how: "silence"}
			}
			return fault{}
		}
		j := newJournal()
		slow := false
		stop, _ := start(t, u, func(b *stream.Batch) error {
			if slow {
				time.Sleep(2 * time.Minute)
			}
			slow = true
			return j.handle(b)
		})
		f.put(1)
		time.Sleep(19 * time.Second)
		if n := look(f, func() int { return f.calls }); n != 1 {
			t.Errorf("%d calls after 19 s of silence", n)
		}
		time.Sleep(2 * time.Second)
		if n := look(f, func() int { return f.calls }); n != 2 {
			t.Errorf("%d calls after 21 s of silence, want another one", n)
		}
		for range 10 {
			f.put(1)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Minute)
		if n := look(f, func() int { return f.calls }); n != 2 {
			t.Errorf("%d calls while the handle is slow", n)
		}
		time.Sleep(30 * time.Minute)
		stop()
		j.check(t, 11)
	})
}

func TestWhoIsTakenOverDoesNotFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		s, u := subscribed(t, f, Config{})
		j := newJournal()
		stop, _ := start(t, u, j.handle)
		f.put(5)
		time.Sleep(10 * time.Second)

		// The next holder of the shard subscribes, and the former is told to end
		// some seconds later.
		successor, err := s.Register(t.Context(), "tester")
		if err != nil {
			t.Fatal(err)
		}
		k := newJournal()
		k.next = 6
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() {
			ended <- successor.Subscribe(ctx, fakeShard, stream.After(stream.MakeSequence(0, 0, 5)), stream.Batch{}, k.handle)
		}()
		time.Sleep(4 * time.Second)
		stop()
		f.put(5)
		time.Sleep(time.Hour)
		cancel(errEnough)
		<-ended
		j.check(t, 5)
		k.check(t, 10)
		if f.refused > 0 || f.calls > 16 {
			t.Errorf("%d calls, %d refused: they fight", f.calls, f.refused)
		}
	})
}

func TestTwoWithOneNameShareAShardInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		f := newPushService()
		s, u := subscribed(t, f, Config{Logger: textLogger(&log)})
		other, err := s.Register(t.Context(), "tester")
		if err != nil {
			t.Fatal(err)
		}
		a, b := newJournal(), newJournal()
		stopA, _ := start(t, u, a.handle)
		stopB, _ := start(t, other, b.handle)
		for range 600 {
			f.put(1)
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Minute)
		stopA()
		stopB()
		a.check(t, 600)
		b.check(t, 600)
		// Each waits for five seconds to a minute.
		if f.calls > 720/5 {
			t.Errorf("%d calls in twelve minutes", f.calls)
		}
		if !strings.Contains(log.String(), "another subscription of this consumer has taken the shard") {
			t.Error("the log does not tell of it")
		}
	})
}

func TestAThrottledSubscriptionWaitsAndThenSaysSo(t *testing.T) {
	for _, c := range []struct {
		kind     string
		want     error
		refusals int
	}{
		{"LimitExceededException", nil, 4},
		{"ResourceInUseException", nil, 4},
		{"LimitExceededException", stream.ErrThrottled, 1000},
		{"KMSThrottlingException", stream.ErrThrottled, 1000},
		{"KMSAccessDeniedException", ErrEncryption, 1000},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newPushService()
			_, u := subscribed(t, f, Config{})
			f.fault = func(call int) fault {
				if call <= c.refusals {
					return fault{refuse: c.kind}
				}
				return fault{}
			}
			f.put(1)
			f.change(func() { f.ended = true })
			begin := time.Now()
			err := u.Subscribe(t.Context(), fakeShard, stream.TrimHorizon, stream.Batch{}, newJournal().handle)
			if c.want == nil && !is[*stream.ShardEndError](err) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s, %d times: %v after %v and %d calls", c.kind, c.refusals, err, time.Since(begin), f.calls)
			}
			if time.Since(begin) > 2*time.Minute || f.calls > 70 {
				t.Errorf("%s, %d times: it took %v and %d calls", c.kind, c.refusals, time.Since(begin), f.calls)
			}
		})
	}
}

func TestWhatIsNotFoundHasAName(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*pushService)
		shard  string
		want   error
	}{
		{"the stream", func(f *pushService) { f.noStream = true }, fakeShard, stream.ErrStreamNotFound},
		{"the consumer", func(f *pushService) { clear(f.consumers) }, fakeShard, stream.ErrConsumerNotFound},
		{"the consumer, soon,", func(f *pushService) { f.consumers["tester"].gone = time.Now().Add(time.Minute) }, fakeShard, stream.ErrConsumerNotFound},
		{"the shard", func(*pushService) {}, "shardId-000000000009", stream.ErrShardNotFound},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newPushService()
			_, u := subscribed(t, f, Config{})
			f.change(func() { c.before(f) })
			if err := u.Subscribe(t.Context(), c.shard, stream.TrimHorizon, stream.Batch{}, newJournal().handle); !errors.Is(err, c.want) {
				t.Errorf("%s is gone: %v", c.name, err)
			}
			// The same while it is pushed.
			f = newPushService()
			_, u = subscribed(t, f, Config{})
			f.fault = func(int) fault { return fault{after: 2, how: "ResourceNotFoundException"} }
			f.put(10)
			err := u.Subscribe(t.Context(), fakeShard, stream.TrimHorizon, stream.Batch{}, func(*stream.Batch) error {
				f.change(func() { c.before(f) })
				return nil
			})
			if !errors.Is(err, c.want) {
				t.Errorf("%s went: %v", c.name, err)
			}
		})
	}
}

func TestTheEndOfAShardNamesItsChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		_, u := subscribed(t, f, Config{})
		j := newJournal()
		_, ended := start(t, u, j.handle)
		f.put(25)
		time.Sleep(time.Second)
		f.change(func() { f.records, f.ended = 30, true })
		end, ok := errors.AsType[*stream.ShardEndError](<-ended)
		if !ok || len(end.Children) != 2 || end.Shard != fakeShard || end.Children[1].ID != "shardId-000000000002" || end.Children[1].Parents[0] != fakeShard {
			t.Errorf("the end is %+v", end)
		}
		j.check(t, 30)
		// Who is done with the shard is told as well.
		err := u.Subscribe(t.Context(), fakeShard, stream.ShardEnd, stream.Batch{}, j.handle)
		if end, ok := errors.AsType[*stream.ShardEndError](err); !ok || len(end.Children) != 2 {
			t.Errorf("at its end: %v", err)
		}
	})
}

func TestAnEventWithoutANumberToGoOnFromIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		_, u := subscribed(t, f, Config{})
		f.fault = func(int) fault { return fault{after: 2, how: "no number"} }
		j := newJournal()
		f.put(5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := u.Subscribe(ctx, fakeShard, stream.TrimHorizon, stream.Batch{}, j.handle)
		if !errors.Is(err, errNoEnd) || is[*stream.ShardEndError](err) || f.calls != 1 {
			t.Errorf("after %d calls: %v", f.calls, err)
		}
		j.check(t, 5)
	})
}

// Arrivals need not grow: who begins at a time to come wants everything from the
// first record on that arrives then.
func TestASubscriptionFromATimeToComeLeavesOutNothingBehindIt(t *testing.T) {
	j := newJournal()
	p := &push{where: feed{at: stream.TrimHorizon, since: 1000}, handle: j.handle}
	n := 0
	for _, arrivals := range [][]int64{{998, 999}, {999, 1000, 1001}, {999, 1002}, {998}} {
		out := &sdk.GetRecordsOutput{}
		for _, at := range arrivals {
			n++
			out.Records = append(out.Records, types.Record{SequenceNumber: aws.String(number(n)), PartitionKey: aws.String("k"),
				Data: fmt.Append(nil, n-3), ApproximateArrivalTimestamp: aws.Time(time.UnixMilli(at))})
		}
		events, err := pageOf(out)
		if err == nil {
			err = p.pass(t.Context(), events)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	j.check(t, 5) // all but the first three
}

func TestTheErrorOfAHandleIsReturnedAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		_, u := subscribed(t, f, Config{})
		f.put(25)
		calls := 0
		err := u.Subscribe(t.Context(), fakeShard, stream.TrimHorizon, stream.Batch{MaxRecords: 4}, func(b *stream.Batch) error {
			if calls++; len(b.Records) > 4 {
				t.Errorf("%d records", len(b.Records))
			}
			if calls == 2 {
				return errEnough
			}
			return nil
		})
		if err != errEnough || calls != 2 {
			t.Errorf("after %d calls: %v", calls, err)
		}
	})
}
