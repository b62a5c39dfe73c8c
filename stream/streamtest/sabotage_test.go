package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// broken is a memory stream with some methods replaced. Those that are nil
// work as they should.
type broken struct {
	*streamtest.Memory
	identity  func() (stream.Identity, error)
	shards    func(ctx context.Context) ([]stream.Shard, error)
	pin       func(ctx context.Context, shardID string) (stream.Position, error)
	open      func(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error)
	put       func(ctx context.Context, entries []stream.Entry) ([]stream.PutResult, error)
	split     func(ctx context.Context, shardID string, at stream.Hash) error
	count     func(ctx context.Context, n int) error
	subscribe func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error
}

func (b *broken) Identity(ctx context.Context) (stream.Identity, error) {
	if b.identity != nil {
		return b.identity()
	}
	return b.Memory.Identity(ctx)
}

func (b *broken) Shards(ctx context.Context) ([]stream.Shard, error) {
	if b.shards != nil {
		return b.shards(ctx)
	}
	return b.Memory.Shards(ctx)
}

func (b *broken) Pin(ctx context.Context, shardID string) (stream.Position, error) {
	if b.pin != nil {
		return b.pin(ctx, shardID)
	}
	return b.Memory.Pin(ctx, shardID)
}

func (b *broken) Open(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
	if b.open != nil {
		return b.open(ctx, shardID, from)
	}
	return b.Memory.Open(ctx, shardID, from)
}

func (b *broken) Put(ctx context.Context, entries ...stream.Entry) ([]stream.PutResult, error) {
	if b.put != nil {
		return b.put(ctx, entries)
	}
	return b.Memory.Put(ctx, entries...)
}

func (b *broken) Split(ctx context.Context, shardID string, at stream.Hash) error {
	if b.split != nil {
		return b.split(ctx, shardID, at)
	}
	return b.Memory.Split(ctx, shardID, at)
}

func (b *broken) UpdateShardCount(ctx context.Context, n int) error {
	if b.count != nil {
		return b.count(ctx, n)
	}
	return b.Memory.UpdateShardCount(ctx, n)
}

func (b *broken) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	if b.subscribe != nil {
		return b.subscribe(ctx, shardID, from, limits, handle)
	}
	return b.Memory.Subscribe(ctx, shardID, from, limits, handle)
}

// reader is a reader with Next, or Close, replaced.
type reader struct {
	stream.Reader
	next  func(ctx context.Context, b *stream.Batch) error
	close func() error
}

func (r *reader) Next(ctx context.Context, b *stream.Batch) error {
	if r.next != nil {
		return r.next(ctx, b)
	}
	return r.Reader.Next(ctx, b)
}

func (r *reader) Close() error {
	if r.close != nil {
		return r.close()
	}
	return r.Reader.Close()
}

// rereading replaces Next of every reader of m.
func rereading(m *streamtest.Memory, next func(r stream.Reader, ctx context.Context, b *stream.Batch) error) *broken {
	return &broken{Memory: m, open: func(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
		r, err := m.Open(ctx, shardID, from)
		if err != nil {
			return nil, err
		}
		return &reader{Reader: r, next: func(ctx context.Context, b *stream.Batch) error { return next(r, ctx, b) }}, nil
	}}
}

// replacing opens every reader of m somewhere else.
func replacing(m *streamtest.Memory, from func(shardID string, from stream.Position) stream.Position) *broken {
	return &broken{Memory: m, open: func(ctx context.Context, shardID string, at stream.Position) (stream.Reader, error) {
		return m.Open(ctx, shardID, from(shardID, at))
	}}
}

// spoiling changes every batch that readers of m give.
func spoiling(m *streamtest.Memory, spoil func(b *stream.Batch)) *broken {
	return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
		err := r.Next(ctx, b)
		if err == nil {
			spoil(b)
		}
		return err
	})
}

// ending changes every end of a shard that readers of m return.
func ending(m *streamtest.Memory, spoil func(end *stream.ShardEndError) error) *broken {
	return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
		err := r.Next(ctx, b)
		if end, ok := errors.AsType[*stream.ShardEndError](err); ok {
			return spoil(end)
		}
		return err
	})
}

// putting changes the results of every put into m.
func putting(m *streamtest.Memory, spoil func([]stream.PutResult)) *broken {
	return &broken{Memory: m, put: func(ctx context.Context, entries []stream.Entry) ([]stream.PutResult, error) {
		results, err := m.Put(ctx, entries...)
		spoil(results)
		return results, err
	}}
}

// sabotages are streams that break one promise each, with the scenarios that
// must notice.
var sabotages = []struct {
	fault    string
	caught   []string
	sabotage func(m *streamtest.Memory) stream.Stream
}{
	{"a record is lost", []string{"EveryRecordComesOnceAndInOrder", "ConcurrentPutsAndReadersLoseNothing"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, put: func(ctx context.Context, entries []stream.Entry) ([]stream.PutResult, error) {
			results, err := m.Put(ctx, entries...)
			for i := range results {
				if data := entries[i].Data; data[len(data)-1] == '7' { // acknowledged, and dropped
					m.Trim(ctx, results[i].Shard, results[i].Sequence.Add(1))
				}
			}
			return results, err
		}}
	}},
	{"a record comes twice", []string{"EveryRecordComesOnceAndInOrder"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) {
			if len(b.Records) > 3 {
				b.Bytes += b.Records[2].Size()
				b.Footprint = b.Bytes
				b.Records = slices.Insert(b.Records, 2, b.Records[2])
			}
		})
	}},
	{"records are swapped", []string{"EveryRecordComesOnceAndInOrder", "EntriesOfOneCallKeepTheirOrder"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, put: func(ctx context.Context, entries []stream.Entry) ([]stream.PutResult, error) {
			backwards := slices.Clone(entries)
			slices.Reverse(backwards)
			results, err := m.Put(ctx, backwards...)
			slices.Reverse(results)
			return results, err
		}}
	}},
	{"an empty batch is given", []string{"NextWaitsForAPut", "TrimHorizonIsTheBeginning"}, func(m *streamtest.Memory) stream.Stream {
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			soon, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			err := r.Next(soon, b)
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				return nil
			}
			return err
		})
	}},
	{"arrival times differ between readers", []string{"ReadingAPositionTwiceGivesEqualRecords"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) {
			for i := range b.Records {
				b.Records[i].Arrival = b.Records[i].Arrival.Add(time.Duration(len(b.Records)))
			}
		})
	}},
	{"MaxRecords is ignored", []string{"BatchesStayWithinMaxRecords"}, func(m *streamtest.Memory) stream.Stream {
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			limit := b.MaxRecords
			b.MaxRecords = 0
			defer func() { b.MaxRecords = limit }()
			return r.Next(ctx, b)
		})
	}},
	{"MaxBytes is ignored", []string{"BatchesStayWithinMaxBytes", "AnOversizedRecordComesAlone"}, func(m *streamtest.Memory) stream.Stream {
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			limit := b.MaxBytes
			b.MaxBytes = 0
			defer func() { b.MaxBytes = limit }()
			return r.Next(ctx, b)
		})
	}},
	{"keys do not count for MaxBytes", []string{"EveryRecordComesOnceAndInOrder"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) {
			b.Bytes = 0
			for _, r := range b.Records {
				b.Bytes += len(r.Data)
			}
		})
	}},
	{"the footprint is too small", []string{"EveryRecordComesOnceAndInOrder"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) { b.Footprint = b.Bytes - 1 })
	}},
	{"the footprint knows no limit", []string{"ABatchKeepsNoMoreAliveThanItMay"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) { b.Footprint = 2*b.Bytes + 1<<20 })
	}},
	{"subscriptions know no limits", []string{"ASubscriptionStaysWithinItsLimits"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, _ stream.Batch, handle func(*stream.Batch) error) error {
			return m.Subscribe(ctx, shardID, from, stream.Batch{}, handle)
		}}
	}},
	{"every batch has new memory", []string{"ABatchUsesItsMemoryAgain"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) { b.Records = slices.Clone(b.Records) })
	}},
	{"payloads are views of a buffer that is used again", []string{"RecordsStayAsTheyWereRead"}, func(m *streamtest.Memory) stream.Stream {
		shared := make([]byte, 1<<20)
		var mu sync.Mutex
		return spoiling(m, func(b *stream.Batch) {
			mu.Lock()
			defer mu.Unlock()
			buf := shared[:0]
			for i := range b.Records {
				start := len(buf)
				buf = append(buf, b.Records[i].Data...)
				b.Records[i].Data = buf[start:]
			}
		})
	}},
	{"Behind is never told", []string{"ABatchTellsHowFarItIsBehind"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) { b.Behind = 0 })
	}},
	{"Behind is always told", []string{"ABatchTellsHowFarItIsBehind"}, func(m *streamtest.Memory) stream.Stream {
		return spoiling(m, func(b *stream.Batch) { b.Behind++ })
	}},
	{"LATEST is TRIM_HORIZON", []string{"LatestBeginsWithWhatIsPutNext"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if from == stream.Latest {
				return stream.TrimHorizon
			}
			return from
		})
	}},
	{"TRIM_HORIZON is LATEST", []string{"TrimHorizonIsTheBeginning"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if from == stream.TrimHorizon {
				return stream.Latest
			}
			return from
		})
	}},
	{"AT is AFTER", []string{"AtBeginsWithThatRecordAndAfterWithTheNext"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if seq, _, ok := from.Sequence(); ok {
				return stream.After(seq)
			}
			return from
		})
	}},
	{"AFTER is AT", []string{"AtBeginsWithThatRecordAndAfterWithTheNext"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if seq, _, ok := from.Sequence(); ok {
				return stream.At(seq)
			}
			return from
		})
	}},
	{"sub-sequences are left aside", []string{"AtAMissingNumberBeginsWithTheNextRecord"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if seq, after, ok := from.Sequence(); ok && !after {
				return stream.At(seq.WithSub(0))
			}
			return from
		})
	}},
	{"AT_TIMESTAMP is TRIM_HORIZON", []string{"AtTimeBeginsWithWhatArrivedThen"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if _, ok := from.Time(); ok {
				return stream.TrimHorizon
			}
			return from
		})
	}},
	{"AT_TIMESTAMP leaves out its own millisecond", []string{"AtTimeBeginsWithWhatArrivedThen"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if at, ok := from.Time(); ok {
				return stream.AtTime(at.Add(time.Millisecond))
			}
			return from
		})
	}},
	{"a pin is LATEST", []string{"APinStaysWhereItWas"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, pin: func(context.Context, string) (stream.Position, error) { return stream.Latest, nil }}
	}},
	{"the pin of an empty shard is nothing", []string{"APinStaysWhereItWas"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, pin: func(context.Context, string) (stream.Position, error) { return stream.Position{}, nil }}
	}},
	{"a pin lies one record too far", []string{"APinStaysWhereItWas"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, pin: func(ctx context.Context, shardID string) (stream.Position, error) {
			p, err := m.Pin(ctx, shardID)
			seq, _, _ := p.Sequence()
			return stream.After(seq), err
		}}
	}},
	{"SHARD_END is LATEST", []string{"ThePositionShardEndEndsAtOnce"}, func(m *streamtest.Memory) stream.Stream {
		return replacing(m, func(_ string, from stream.Position) stream.Position {
			if from == stream.ShardEnd {
				return stream.Latest
			}
			return from
		})
	}},
	{"an unknown shard is an end", []string{"UnknownShardsAreRefused"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, open: func(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
			r, err := m.Open(ctx, shardID, from)
			if errors.Is(err, stream.ErrShardNotFound) {
				return nil, &stream.ShardEndError{Shard: shardID}
			}
			return r, err
		}}
	}},
	{"Next returns the context's error and not its cause", []string{"NextReturnsTheCauseOfItsContext"}, func(m *streamtest.Memory) stream.Stream {
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			err := r.Next(ctx, b)
			if err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		})
	}},
	{"a cancelled Next skips what comes", []string{"NextReturnsTheCauseOfItsContext"}, func(m *streamtest.Memory) stream.Stream {
		var mu sync.Mutex
		cancelled := false
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			err := r.Next(ctx, b)
			mu.Lock()
			skip := cancelled && err == nil
			cancelled = ctx.Err() != nil
			mu.Unlock()
			if skip {
				return r.Next(ctx, b)
			}
			return err
		})
	}},
	{"Close does not wake Next", []string{"CloseWakesNext"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, open: func(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
			r, err := m.Open(ctx, shardID, from)
			return &reader{Reader: r, close: func() error { return nil }}, err
		}}
	}},
	{"a second Close is an error", []string{"CloseWakesNext"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, open: func(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
			r, err := m.Open(ctx, shardID, from)
			closed := false
			return &reader{Reader: r, close: func() error {
				if closed {
					return stream.ErrClosed
				}
				closed = true
				return r.Close()
			}}, err
		}}
	}},
	{"a put does not heed its context", []string{"EveryMethodReturnsTheCauseOfItsContext"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, put: func(ctx context.Context, entries []stream.Entry) ([]stream.PutResult, error) {
			return m.Put(context.WithoutCancel(ctx), entries...)
		}}
	}},
	{"a shard is not listed", []string{"ShardsDivideTheHashSpace", "EveryRecordComesOnceAndInOrder"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, shards: func(ctx context.Context) ([]stream.Shard, error) {
			list, err := m.Shards(ctx)
			return list[:len(list)-1], err
		}}
	}},
	{"closed shards are not listed", []string{"ASplitShardEndsWithItsChildren"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, shards: func(ctx context.Context) ([]stream.Shard, error) {
			list, err := m.Shards(ctx)
			return slices.DeleteFunc(list, func(s stream.Shard) bool { return s.Closed }), err
		}}
	}},
	{"results name the wrong shard", []string{"APartitionKeyGoesToTheShardOfItsMD5"}, func(m *streamtest.Memory) stream.Stream {
		return putting(m, func(results []stream.PutResult) {
			for i := range results {
				results[i].Shard = "shardId-000000000000"
			}
		})
	}},
	{"results name the wrong number", []string{"EveryRecordComesOnceAndInOrder"}, func(m *streamtest.Memory) stream.Stream {
		return putting(m, func(results []stream.PutResult) {
			for i := range results {
				results[i].Sequence = results[i].Sequence.Add(1)
			}
		})
	}},
	{"hash keys are ignored", []string{"AHashKeyGoesToTheShardThatHoldsIt"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, put: func(ctx context.Context, entries []stream.Entry) ([]stream.PutResult, error) {
			for i := range entries {
				entries[i].HasHashKey = false
			}
			return m.Put(ctx, entries...)
		}}
	}},
	{"one refused entry spoils its call", []string{"ARefusedEntryLeavesTheOthersAlone"}, func(m *streamtest.Memory) stream.Stream {
		return putting(m, func(results []stream.PutResult) {
			if i := slices.IndexFunc(results, func(r stream.PutResult) bool { return r.Err != nil }); i >= 0 {
				for j := range results {
					results[j] = stream.PutResult{Err: results[i].Err}
				}
			}
		})
	}},
	{"what is refused looks taken", []string{"ARefusedEntryLeavesTheOthersAlone"}, func(m *streamtest.Memory) stream.Stream {
		return putting(m, func(results []stream.PutResult) {
			for i := range results {
				results[i].Err = nil
			}
		})
	}},
	{"the end names one child only", []string{"ASplitShardEndsWithItsChildren", "AReshardWakesAWaitingReader"}, func(m *streamtest.Memory) stream.Stream {
		return ending(m, func(end *stream.ShardEndError) error {
			end.Children = end.Children[:min(1, len(end.Children))]
			return end
		})
	}},
	{"a merged child is named at the end of one parent", []string{"AMergedChildIsNamedAtTheEndOfBothParents"}, func(m *streamtest.Memory) stream.Stream {
		return ending(m, func(end *stream.ShardEndError) error {
			end.Children = slices.DeleteFunc(end.Children, func(c stream.Shard) bool { return c.Parents[0] != end.Shard })
			return end
		})
	}},
	{"a merged child knows one parent", []string{"AMergedChildIsNamedAtTheEndOfBothParents"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, shards: func(ctx context.Context) ([]stream.Shard, error) {
			list, err := m.Shards(ctx)
			for i := range list {
				list[i].Parents = list[i].Parents[:min(1, len(list[i].Parents))]
			}
			return list, err
		}}
	}},
	{"a shard that is gone has ended", []string{"ARecreatedStreamIsAnotherOne"}, func(m *streamtest.Memory) stream.Stream {
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			err := r.Next(ctx, b)
			if errors.Is(err, stream.ErrStreamNotFound) {
				return &stream.ShardEndError{}
			}
			return err
		})
	}},
	{"a split does not wake readers", []string{"AReshardWakesAWaitingReader"}, func(m *streamtest.Memory) stream.Stream {
		return ending(m, func(*stream.ShardEndError) error { return errors.New("come again later") })
	}},
	{"children get the records of their parent", []string{"AChildHasNothingOfItsParent"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, split: func(ctx context.Context, shardID string, at stream.Hash) error {
			r, _ := m.Open(ctx, shardID, stream.TrimHorizon)
			if err := m.Split(ctx, shardID, at); err != nil {
				return err
			}
			var b stream.Batch
			for r.Next(ctx, &b) == nil {
				for _, r := range b.Records {
					m.Put(ctx, stream.Entry{PartitionKey: r.PartitionKey, Data: r.Data})
				}
			}
			return nil
		}}
	}},
	{"a put during a split is lost", []string{"AReshardLosesNothing"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, split: func(ctx context.Context, shardID string, at stream.Hash) error {
			p, _ := m.Pin(ctx, shardID)
			end, _, _ := p.Sequence()
			m.Trim(ctx, shardID, end)
			return m.Split(ctx, shardID, at)
		}}
	}},
	{"the shard count does nothing", []string{"TheShardCountGoesUpAndDown"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, count: func(context.Context, int) error { return nil }}
	}},
	{"an impossible split looks done", []string{"AnImpossibleReshardChangesNothing"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, split: func(ctx context.Context, shardID string, at stream.Hash) error {
			m.Split(ctx, shardID, at)
			return nil
		}}
	}},
	{"a subscriber misses the first record", []string{"ASubscriberGetsWhatAReaderGets"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
			if seq, _, ok := from.Sequence(); ok {
				from = stream.After(seq)
			}
			return m.Subscribe(ctx, shardID, from, limits, handle)
		}}
	}},
	{"a subscriber has no limits", []string{"ASubscriberGetsWhatAReaderGets"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, _ stream.Batch, handle func(*stream.Batch) error) error {
			return m.Subscribe(ctx, shardID, from, stream.Batch{}, handle)
		}}
	}},
	{"the error of a handle is wrapped", []string{"TheErrorOfAHandleEndsItsSubscription"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
			return fmt.Errorf("subscribe: %w", m.Subscribe(ctx, shardID, from, limits, handle))
		}}
	}},
	{"a handle is called again after its error", []string{"TheErrorOfAHandleEndsItsSubscription"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
			m.Subscribe(ctx, shardID, from, limits, handle)
			return m.Subscribe(ctx, shardID, from, limits, handle)
		}}
	}},
	{"subscribers wait for each other", []string{"ASlowSubscriberHindersNobody"}, func(m *streamtest.Memory) stream.Stream {
		turn := make(chan struct{}, 1)
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
			return m.Subscribe(ctx, shardID, from, limits, func(b *stream.Batch) error {
				select {
				case turn <- struct{}{}:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				defer func() { <-turn }()
				return handle(b)
			})
		}}
	}},
	{"a subscription has no cause", []string{"ASubscriptionEndsWithTheCauseOfItsContext"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
			err := m.Subscribe(ctx, shardID, from, limits, handle)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}}
	}},
	{"a subscription hides the end of its shard", []string{"ASubscriptionEndsWithItsShard"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, subscribe: func(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
			err := m.Subscribe(ctx, shardID, from, limits, handle)
			if _, ok := errors.AsType[*stream.ShardEndError](err); ok {
				return nil
			}
			return err
		}}
	}},
	{"what is missing is passed over in silence", []string{"AReaderIsToldOnceOfWhatItMissed"}, func(m *streamtest.Memory) stream.Stream {
		return rereading(m, func(r stream.Reader, ctx context.Context, b *stream.Batch) error {
			err := r.Next(ctx, b)
			if _, ok := errors.AsType[*stream.TrimmedError](err); ok {
				return r.Next(ctx, b)
			}
			return err
		})
	}},
	{"what is missing is told for ever", []string{"AReaderIsToldOnceOfWhatItMissed"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, open: func(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
			r, err := m.Open(ctx, shardID, from)
			var told error
			return &reader{Reader: r, next: func(ctx context.Context, b *stream.Batch) error {
				if told != nil {
					return told
				}
				err := r.Next(ctx, b)
				if _, ok := errors.AsType[*stream.TrimmedError](err); ok {
					told = err
				}
				return err
			}}, err
		}}
	}},
	{"the identity is the name alone", []string{"ARecreatedStreamIsAnotherOne"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, identity: func() (stream.Identity, error) {
			return stream.Identity{Name: "orders", Created: time.UnixMilli(1)}, nil
		}}
	}},
	{"the identity moves", []string{"TheIdentityStays"}, func(m *streamtest.Memory) stream.Stream {
		return &broken{Memory: m, identity: func() (stream.Identity, error) {
			return stream.Identity{Name: "orders", Created: time.Now()}, nil
		}}
	}},
}

// TestEveryFaultIsCaught breaks the stream in one way after the other and wants
// the suite to go red. It runs in virtual time, because some faults are hangs.
func TestEveryFaultIsCaught(t *testing.T) {
	for _, c := range sabotages {
		for _, name := range c.caught {
			t.Run(c.fault+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					all := streamtest.Scenarios(everything)
					i := slices.IndexFunc(all, func(s streamtest.Scenario) bool { return s.Name == name })
					if i < 0 {
						t.Fatalf("there is no scenario %s", name)
					}
					verdict := judge(t, all[i], func() streamtest.Subject {
						return subjectOf(streamtest.NewMemory("orders", streamtest.Shards), c.sabotage)
					})
					if len(verdict) == 0 {
						t.Errorf("when %s, %s passes", c.fault, name)
					}
					for _, line := range verdict {
						t.Log(line)
					}
				})
			})
		}
	}
}

// judge runs a scenario as a test of its own and returns what it complains of.
func judge(t *testing.T, s streamtest.Scenario, subject func() streamtest.Subject) []string {
	ctx, cancel := context.WithCancel(t.Context())
	inner := &complaints{TB: t, ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			cancel()
			for _, f := range slices.Backward(inner.cleanups) {
				f()
			}
		}()
		s.Run(inner, subject())
	}()
	<-done
	inner.mu.Lock()
	defer inner.mu.Unlock()
	return inner.lines
}

// complaints is a test whose failures are kept and fail nothing.
type complaints struct {
	testing.TB
	ctx      context.Context
	cleanups []func()

	mu    sync.Mutex
	lines []string
}

func (c *complaints) complain(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}

func (c *complaints) Context() context.Context          { return c.ctx }
func (c *complaints) Cleanup(f func())                  { c.cleanups = append(c.cleanups, f) }
func (c *complaints) Error(args ...any)                 { c.complain(fmt.Sprint(args...)) }
func (c *complaints) Errorf(format string, args ...any) { c.complain(fmt.Sprintf(format, args...)) }
func (c *complaints) Fatal(args ...any)                 { c.Error(args...); c.SkipNow() }
func (c *complaints) Fatalf(format string, args ...any) { c.Errorf(format, args...); c.SkipNow() }
func (c *complaints) SkipNow()                          { runtime.Goexit() }
