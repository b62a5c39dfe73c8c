package lease

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/millrace/millrace/stream"
)

// counted returns what the gauge of the fleet's shards tells, by state and reason,
// but for zeros; nil when it tells nothing.
func counted(t *testing.T, reader *sdk.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.WithoutCancel(t.Context()), &all); err != nil {
		t.Fatal(err)
	}
	var found map[string]int64
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "millrace.fleet.shards" {
				continue
			}
			for _, p := range m.Data.(metricdata.Gauge[int64]).DataPoints {
				state, _ := p.Attributes.Value(attribute.Key("state"))
				reason, _ := p.Attributes.Value(attribute.Key("reason"))
				if found == nil {
					found = map[string]int64{}
				}
				if p.Value != 0 {
					found[strings.TrimSpace(state.AsString()+" "+reason.AsString())] = p.Value
				}
			}
		}
	}
	return found
}

func TestShardsThatNobodyMayTakeAreToldOfOnceAndCounted(t *testing.T) {
	in(func(t *testing.T) {
		var said lockedLog
		reader := sdk.NewManualReader()
		provider := sdk.NewMeterProvider(sdk.WithReader(reader))
		store := NewMemory()
		ranges := stream.SplitHashSpace(6)
		threeShards := func() (shards []stream.Shard, err error) {
			for i, r := range ranges {
				shards = append(shards, stream.Shard{ID: fmt.Sprint(i), Hash: r})
			}
			return shards, nil
		}
		run := func(worker string) (stop func()) {
			c, err := NewCoordinator(Config{
				Worker: worker, Store: store, Streams: []stream.Stream{listed{name: "s", shards: threeShards}}, FailoverTime: testF, HandoffTimeout: testH,
				MaxLeases: 4, Seed: 1, MeterProvider: provider, Logger: slog.New(slog.NewTextHandler(&said, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if err := c.Run(ctx, untilDrained); err != nil {
					t.Error(err)
				}
			}()
			return func() { cancel(); <-done }
		}
		stopA := run("a")
		time.Sleep(6 * time.Hour)
		if got := counted(t, reader); got["held"] != 4 || got["free no_room"] != 2 || len(got) != 2 {
			t.Errorf("counted: %v, want 4 held and 2 free for want of room", got)
		}
		const line = `msg="shards are not processed"`
		if text := said.String(); strings.Count(text, line) != 1 || !strings.Contains(text, "shards=2 state=free cause=no_room") ||
			!strings.Contains(text, "have as many shards as they take") {
			t.Errorf("told:\n%s", text)
		}
		stopB := run("b")
		time.Sleep(time.Minute)
		if got := counted(t, reader); got["held"] != 6 || len(got) != 1 {
			t.Errorf("counted: %v, want 6 held", got)
		}
		if text := said.String(); strings.Count(text, "for this cause any more") != 1 {
			t.Errorf("that it is over is not told:\n%s", text)
		}
		stopB()
		stopA()
		if got := counted(t, reader); got != nil {
			t.Errorf("counted, though nobody leads: %v", got)
		}
	})(t)
}

type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Each shard is counted by itself: that some are always on the move is no trouble.
func TestAFleetInWhichSomeShardIsAlwaysOnTheMoveIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said lockedLog
		log := slog.New(slog.NewTextHandler(&said, nil))
		count := newTally(time.Minute)
		look := func(moving int) {
			rows := make([]Lease, 3)
			for i := range rows {
				rows[i] = leaseOf(fmt.Sprint(i), "a", after(5))
				rows[i].Term = 7
			}
			rows[moving].Term = 0
			count.count(t.Context(), log, newTeller(pictured(rows, fleet("a")), true, nil), 1)
		}
		for i := range 100 {
			look(i % 3)
			time.Sleep(10 * time.Second)
		}
		if text := said.String(); text != "" {
			t.Errorf("told: %s", text)
		}
		if got := count.last(); got[group{ShardMoving, "untaken"}] != 1 || got[group{ShardHeld, ""}] != 1 || got[group{ShardBlocked, ""}] != 1 {
			t.Errorf("counted: %v", got)
		}
		for range 10 {
			look(0)
			time.Sleep(10 * time.Second)
		}
		if text := said.String(); strings.Count(text, "cause=untaken") != 1 {
			t.Errorf("told of a shard that is not taken for long: %q", text)
		}
	})
}
