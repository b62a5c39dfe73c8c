package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	noopmetric "go.opentelemetry.io/otel/metric/noop"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// A shard that was closed leaves its stream when its last record leaves retention,
// though a consumer that is slow, or was away, has not read it to its end. What it
// has read is processed, what it has not is told of, and the children begin.
func TestAShardThatLeavesItsStreamEndsLoudlyWhenWhatWasReadIsProcessed(t *testing.T) {
	for _, busy := range []bool{true, false} {
		t.Run(map[bool]string{true: "while it is processed", false: "while nobody has it"}[busy], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				cfg := b.config("a")
				cfg.BatchRecords = 10
				stuck, goOn := make(chan struct{}), make(chan struct{})
				ended := map[string]int{}
				cfg.Processor = func(shard processors.Shard) processors.RecordProcessor {
					return &scripted{
						process: func(_ context.Context, batch *processors.Batch) error {
							if busy && b.ledger.count() == 10 {
								close(stuck)
								<-goOn
							}
							b.ledger.add(batch)
							return nil
						},
						ended: func() error { ended[shard.ID]++; return nil },
					}
				}
				b.puts(10)
				w := b.start(cfg)
				b.ledger.wait(t, 10)
				least := 10 // that are read, and so to be done, of the parent
				if busy {
					b.puts(100)
					<-stuck
					synctest.Wait()
					least = 12 // a batch in work, and one ahead
				} else {
					w.stop()
					b.puts(100)
				}
				b.split()
				if err := b.stream.Forget(t.Context(), only); err != nil {
					t.Fatal(err)
				}
				b.puts(20)
				if busy {
					// However long the callback takes, what it has is not lost, and the
					// children wait.
					time.Sleep(time.Hour)
					if b.ledger.count() != 10 || b.finished(only) {
						t.Fatal("the shard was given up while its records were processed")
					}
					close(goOn)
				} else {
					w = b.start(cfg)
				}
				b.ledger.wait(t, least+20)
				time.Sleep(time.Minute)
				w.stop()
				done := b.ledger.count() - 20
				for n := 1; n <= b.put; n++ {
					if want := n <= done || n > 110; b.ledger.done[n] != map[bool]int{true: 1}[want] {
						t.Errorf("record %d is done %d times; %d of 110 were read", n, b.ledger.done[n], done)
					}
				}
				if done < least || !busy && done > least {
					t.Errorf("%d records of the parent are done, want %d", done, least)
				}
				if ended[only] != 1 {
					t.Errorf("the processor was told %d times that the shard has ended", ended[only])
				}
				if !b.finished(only) {
					t.Error("its lease is not finished")
				}
				if n := b.log.count("level=ERROR", "shard left the stream"); n != 1 || b.log.count("level=ERROR") != n {
					t.Errorf("told %d times", n)
				}
			})
		})
	}
}

// count returns how many different records are done.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

// finished reports whether the lease of a shard is, or was and is retired.
func (b *bundle) finished(shard string) bool {
	l, there := b.leases()[shard]
	return !there || l.Finished()
}

// listings is a stream that answers each question with the next answer, and the
// last one for ever.
type listings struct {
	stream.Stream
	id      stream.Identity
	answers [][]stream.Shard // nil is an error
}

func (l *listings) Identity(context.Context) (stream.Identity, error) { return l.id, nil }

func (l *listings) Shards(context.Context) ([]stream.Shard, error) {
	now := l.answers[0]
	if len(l.answers) > 1 {
		l.answers = l.answers[1:]
	}
	if now == nil {
		return nil, errAway
	}
	return now, nil
}

func TestAShardIsOverOnlyWhenItsStreamDoesNotListItTwice(t *testing.T) {
	id := stream.Identity{Name: "orders", Created: time.UnixMilli(5)}
	anew := stream.Identity{Name: "orders", Created: time.UnixMilli(6)}
	with := []stream.Shard{{ID: only}, {ID: "child", Parents: []string{only}}}
	without := []stream.Shard{{ID: "child", Parents: []string{only}}, {ID: "other", Parents: []string{"another"}}}
	for name, test := range map[string]struct {
		id      stream.Identity
		answers [][]stream.Shard
		want    error // nil is the shard's end
	}{
		"listed":                   {id, [][]stream.Shard{with}, stream.ErrShardNotFound},
		"not listed":               {id, [][]stream.Shard{without}, nil},
		"listed again":             {id, [][]stream.Shard{without, with}, stream.ErrShardNotFound},
		"no shards at all":         {id, [][]stream.Shard{without, {}}, stream.ErrShardNotFound},
		"no listing":               {id, [][]stream.Shard{nil}, errAway},
		"no second listing":        {id, [][]stream.Shard{without, nil}, errAway},
		"a stream that came after": {anew, [][]stream.Shard{without}, stream.ErrStreamNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shard := processors.Shard{ID: only, Stream: id}
				tel, err := newTelemetry(noopmetric.NewMeterProvider(), nooptrace.NewTracerProvider())
				if err != nil {
					t.Fatal(err)
				}
				w := &watched{
					Reader: absent{stream.ErrShardNotFound}, s: &listings{id: test.id, answers: test.answers},
					c: &consumer{cfg: &Config{FailoverTime: time.Second}, shard: shard, log: slog.New(slog.DiscardHandler), tel: tel.forShard(&shard)},
				}
				began := time.Now()
				err = w.Next(t.Context(), &stream.Batch{})
				var end *stream.ShardEndError
				switch {
				case test.want != nil:
					if !errors.Is(err, test.want) || errors.As(err, &end) {
						t.Errorf("%v, want %v", err, test.want)
					}
				case !errors.As(err, &end) || len(end.Children) != 1 || end.Children[0].ID != "child":
					t.Errorf("%v, want the end of the shard, and its child", err)
				case time.Since(began) < time.Second:
					t.Errorf("two looks within %v", time.Since(began))
				}
			})
		})
	}
}
