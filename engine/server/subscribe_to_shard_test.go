package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

// consumer registers a consumer, not by way of the API, and returns its ARN.
func consumer(t testing.TB, s *Server, streamName, name string) string {
	t.Helper()
	d, err := s.state.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.End()
	created, _, err := s.created(streamName)
	if err != nil {
		t.Fatal(err)
	}
	c := d.Stream(streamName, created).Register(name, time.Now())
	if err := d.Save(time.Now()); err != nil {
		t.Fatal(err)
	}
	return s.consumerARN(streamName, c)
}

// subscribe subscribes by the SDK, with a client of its own: two subscriptions of
// one client race inside the SDK.
func (h *harness) subscribe(arn, shard string, from types.StartingPosition) *kinesis.SubscribeToShardEventStream {
	h.t.Helper()
	out, err := h.client().SubscribeToShard(h.t.Context(), &kinesis.SubscribeToShardInput{ConsumerARN: &arn, ShardId: &shard, StartingPosition: &from})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { out.GetStream().Close() })
	return out.GetStream()
}

// nextEvent waits for one event.
func nextEvent(t testing.TB, s *kinesis.SubscribeToShardEventStream) types.SubscribeToShardEvent {
	t.Helper()
	select {
	case e, ok := <-s.Events():
		if !ok {
			t.Fatalf("the subscription has ended: %v", s.Err())
		}
		return e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
	case <-patient(t).Done():
		t.Fatal("no event in time")
	}
	panic("unreachable")
}

// collect takes n records from a subscription.
func collect(t testing.TB, s *kinesis.SubscribeToShardEventStream, n int) (records []types.Record, last types.SubscribeToShardEvent) {
	t.Helper()
	for len(records) < n {
		last = nextEvent(t, s)
		records = append(records, last.Records...)
	}
	return records, last
}

func TestASubscriptionGetsRecordsAsTheyCome(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 20)
	s := h.subscribe(consumer(t, h.server, "orders", "app"), "0", types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon})
	records, last := collect(t, s, 20)
	wantNumbered(t, records, 0, 20)
	if *last.MillisBehindLatest != 0 || *last.ContinuationSequenceNumber != *records[19].SequenceNumber || len(last.ChildShards) != 0 {
		t.Errorf("%+v", last)
	}
	for i := range 5 {
		put(t, st, 20+i, 1)
		records, _ := collect(t, s, 1)
		wantNumbered(t, records, 20+i, 1)
	}
}

func TestASubscriptionGoesOnBehindItsContinuation(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 5)
	arn := consumer(t, h.server, "orders", "app")
	for i, kind := range []types.ShardIteratorType{types.ShardIteratorTypeLatest, types.ShardIteratorTypeAtTimestamp} {
		from := types.StartingPosition{Type: kind}
		if kind == types.ShardIteratorTypeAtTimestamp {
			time.Sleep(2 * time.Millisecond) // the records before are of an earlier millisecond
			from.Timestamp = aws.Time(time.Now())
		}
		first := nextEvent(t, h.subscribe(arn, "0", from))
		if len(first.Records) != 0 || *first.MillisBehindLatest != 0 {
			t.Fatalf("the first event has %d records", len(first.Records))
		}
		put(t, st, 5+i, 1)
		again := consumer(t, h.server, "orders", fmt.Sprint("again", i))
		records, _ := collect(t, h.subscribe(again, "0", types.StartingPosition{
			Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: first.ContinuationSequenceNumber,
		}), 1)
		wantNumbered(t, records, 5+i, 1)
		arn = consumer(t, h.server, "orders", fmt.Sprint("next", i))
	}
}

func TestASubscriptionEndsWithItsShardAndItsChildren(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{Shards: 2})
	put(t, st, 0, 30)
	arn := consumer(t, h.server, "orders", "app")
	var subs []*kinesis.SubscribeToShardEventStream
	for _, shard := range []string{"0", "1"} {
		subs = append(subs, h.subscribe(arn, shard, types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}))
	}
	if err := st.Merge(t.Context(), shardID(0), shardID(1)); err != nil {
		t.Fatal(err)
	}
	if err := st.Split(t.Context(), shardID(2), stream.FullRange.Middle()); err != nil {
		t.Fatal(err)
	}
	subs = append(subs, h.subscribe(arn, "2", types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}))
	got := 0
	for i, want := range [][]string{{"shardId-000000000002"}, {"shardId-000000000002"}, {"shardId-000000000003", "shardId-000000000004"}} {
		for {
			e := nextEvent(t, subs[i])
			got += len(e.Records)
			if (e.ContinuationSequenceNumber == nil) != (len(e.ChildShards) > 0) {
				t.Fatalf("shard %d: %+v", i, e)
			}
			if len(e.ChildShards) == 0 {
				continue
			}
			if len(e.ChildShards) != len(want) {
				t.Fatalf("shard %d ends with %+v", i, e.ChildShards)
			}
			for k, child := range e.ChildShards {
				if *child.ShardId != want[k] || len(child.ParentShards) != 2-i/2 {
					t.Errorf("shard %d ends with %s, of %v", i, *child.ShardId, child.ParentShards)
				}
			}
			break
		}
		if e, ok := <-subs[i].Events(); ok || subs[i].Err() != nil {
			t.Errorf("shard %d goes on after its end: %+v, %v", i, e, subs[i].Err())
		}
	}
	if got != 30 {
		t.Errorf("%d records, want 30", got)
	}
}

func TestOneSubscriptionOfAConsumerAndAShardAtATime(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{Shards: 2})
	arn := consumer(t, h.server, "orders", "app")
	from := types.StartingPosition{Type: types.ShardIteratorTypeLatest}
	first := h.subscribe(arn, "0", from)
	nextEvent(t, first)
	nextEvent(t, h.subscribe(arn, "1", from))
	nextEvent(t, h.subscribe(consumer(t, h.server, "orders", "other"), "0", from))
	_, err := h.client().SubscribeToShard(t.Context(), &kinesis.SubscribeToShardInput{ConsumerARN: &arn, ShardId: aws.String("0"), StartingPosition: &from})
	if _, ok := errors.AsType[*types.ResourceInUseException](err); !ok {
		t.Fatalf("a second call at once: %v", err)
	}
	h.server.pushes.age(subscriptionRest)
	second := h.subscribe(arn, "0", from)
	nextEvent(t, second)
	for range first.Events() {
	}
	if _, ok := errors.AsType[*types.ResourceInUseException](first.Err()); !ok {
		t.Errorf("the subscription that was taken over ends with %v", first.Err())
	}
}

// age makes all calls so much older.
func (all *subscriptions) age(d time.Duration) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, sub := range all.latest {
		sub.began = sub.began.Add(-d)
	}
}

func TestACallSoonAfterAnotherIsRefusedWhileThatLastsAndAsInKinesisAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, strict := range []bool{false, true} {
			var all subscriptions
			of := target{"arn", "1"}
			ctx, first, err := all.begin(t.Context(), of, strict)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := all.begin(t.Context(), of, strict); err == nil {
				t.Error("two at once")
			}
			time.Sleep(subscriptionRest)
			second, sub, err := all.begin(t.Context(), of, strict)
			if err != nil || !errors.Is(context.Cause(ctx), errTakenOver) {
				t.Fatalf("%v, %v", err, context.Cause(ctx))
			}
			all.finish(first)
			if _, _, err := all.begin(t.Context(), of, strict); err == nil {
				t.Error("the end of the one that was taken over made room")
			}
			all.finish(sub)
			if second.Err() == nil {
				t.Error("a context outlives its subscription")
			}
			if _, third, err := all.begin(t.Context(), of, strict); (err != nil) != strict {
				t.Errorf("strict %v: %v", strict, err)
			} else if err == nil {
				all.finish(third)
			}
			time.Sleep(subscriptionRest)
			for i := range 1000 {
				if _, sub, err := all.begin(t.Context(), target{"arn", fmt.Sprint(i)}, strict); err != nil {
					t.Fatal(err)
				} else {
					all.finish(sub)
				}
				time.Sleep(time.Second)
			}
			if len(all.latest) > 200 {
				t.Errorf("%d calls are remembered that are over", len(all.latest))
			}
			all.close()
			if _, _, err := all.begin(t.Context(), target{"arn", "5000"}, strict); err == nil {
				t.Error("a closed server takes subscriptions")
			}
		}
	})
}

func TestSubscribeToShardRefusesWhatCannotBeSubscribed(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	arn := consumer(t, h.server, "orders", "app")
	body := func(arn, rest string) string { return fmt.Sprintf(`{"ConsumerARN":%q,%s}`, arn, rest) }
	const oldest = `"ShardId":"0","StartingPosition":{"Type":"TRIM_HORIZON"}`
	for _, c := range []struct{ body, name, message string }{
		{`{}`, "ValidationException", ""},
		{body(arn, `"ShardId":"0"`), "ValidationException", "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null"},
		{body(arn, `"ShardId":"0","StartingPosition":{}`), "ValidationException", "1 validation error detected: Value null at 'startingPosition.type' failed to satisfy constraint: Member must not be null"},
		{body(arn, `"ShardId":"0","StartingPosition":{"Type":"AT_SEQUENCE_NUMBER","SequenceNumber":"1"}`), "InvalidArgumentException", "StartingSequenceNumber 1 used in SubscribeToShard on shard shardId-000000000000 in stream orders under account 000000000000 is invalid because it did not come from this stream."},
		{body(arn, `"ShardId":"7","StartingPosition":{"Type":"LATEST"}`), "ResourceNotFoundException", "Shard shardId-000000000007 in stream orders under account 000000000000 does not exist"},
		{body(strings.Replace(arn, "/app:", "/none:", 1), oldest), "ResourceNotFoundException", ""},
		{body(strings.Replace(arn, "stream/orders", "stream/none", 1), oldest), "ResourceNotFoundException", ""},
		{body("arn", oldest), "ValidationException", ""},
		{strings.Replace(body(arn, oldest), "{", `{"DryRun":true,`, 1), "DryRunOperationException", ""},
	} {
		h.post("SubscribeToShard", c.body).wantFault(t, c.name, c.message)
	}
	h.server.Drain()
	h.post("SubscribeToShard", body(arn, oldest)).wantFault(t, "InternalFailureException", "")
}

func TestWhatHappensToASubscriptionLaterIsAnException(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	s := h.subscribe(consumer(t, h.server, "orders", "app"), "0", types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	nextEvent(t, s)
	if err := h.engine.DeleteStream(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	for range s.Events() {
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](s.Err()); !ok {
		t.Errorf("the stream is deleted: %v", s.Err())
	}
}

func TestADrainEndsSubscriptionsInGoodOrder(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	s := h.subscribe(consumer(t, h.server, "orders", "app"), "0", types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	nextEvent(t, s)
	h.server.Drain()
	for range s.Events() {
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

// tape is a client in the same process: what it is sent, frame by frame.
type tape struct {
	http.ResponseWriter
	header http.Header
	frames chan wire.Frame
	hold   chan struct{} // if not nil, each write waits for it
}

func newTape() *tape { return &tape{header: http.Header{}, frames: make(chan wire.Frame, 1000)} }

func (t *tape) Header() http.Header { return t.header }
func (t *tape) WriteHeader(int)     {}
func (t *tape) Flush()              {}
func (t *tape) Write(b []byte) (int, error) {
	if t.hold != nil {
		<-t.hold
	}
	for rest := b; len(rest) > 0; {
		n, err := wire.FrameSize(rest)
		if err != nil {
			return 0, err
		}
		f, err := wire.ParseFrame(append([]byte(nil), rest[:n]...))
		if err != nil {
			return 0, err
		}
		t.frames <- f
		rest = rest[n:]
	}
	return len(b), nil
}

// play subscribes in the same process, where time may be virtual.
func play(ctx context.Context, s *Server, arn, shard, position string, to http.ResponseWriter) {
	body := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":%q,"StartingPosition":{"Type":%q}}`, arn, shard, position)
	r := httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.SubscribeToShard")
	r.Header.Set("Authorization", anySignature)
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	r.RemoteAddr = "127.0.0.1:1"
	s.ServeHTTP(to, r)
}

// inBubble serves an engine in memory in virtual time.
func inBubble(t *testing.T, cfg Config, f func(*testing.T, *Server)) {
	synctest.Test(t, func(t *testing.T) {
		e, err := engine.OpenMemory(engine.Config{SegmentBytes: 64 << 20, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		cfg.Logger = cmp.Or(cfg.Logger, quiet)
		s, err := New(e, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := e.CreateStream(t.Context(), "orders", engine.StreamConfig{Limits: cfg.Limits, MaxRecordBytes: 10 << 20}); err != nil {
			t.Fatal(err)
		}
		f(t, s)
	})
}

func TestAnIdleSubscriptionHasAnEventEachFiveSecondsForFiveMinutes(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server) {
		arn := consumer(t, s, "orders", "app")
		began := time.Now()
		out := newTape()
		var done sync.WaitGroup
		done.Go(func() { play(t.Context(), s, arn, "0", "LATEST", out); close(out.frames) })
		last, n := began, 0
		for f := range out.frames {
			switch kind := string(f.Header(":event-type")); {
			case n == 0:
				if kind != "initial-response" || time.Since(began) > 0 {
					t.Errorf("the first frame is %s, after %v", kind, time.Since(began))
				}
			case kind != "SubscribeToShardEvent" || time.Since(last) > 5*time.Second:
				t.Errorf("%s, %v after the one before", kind, time.Since(last))
			}
			last = time.Now()
			n++
		}
		done.Wait()
		if took := time.Since(began); took != 5*time.Minute {
			t.Errorf("it took %v, want 5 minutes", took)
		}
		if n < 60 {
			t.Errorf("%d frames in 5 minutes", n)
		}
	})
}

func TestABusySubscriptionEndsWhenItsConsumerIsDeregistered(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server) {
		arn := consumer(t, s, "orders", "app")
		out := newTape()
		var done sync.WaitGroup
		began := time.Now()
		done.Go(func() { play(t.Context(), s, arn, "0", "TRIM_HORIZON", out) })
		synctest.Wait()
		if err := s.deregisterStreamConsumer(t.Context(), &deregisterStreamConsumerInput{consumerRef{ConsumerARN: arn}}); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() { done.Wait(); close(over) }()
		st, _ := s.engine.Stream("orders")
		for busy := true; busy; {
			if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: []byte("d")}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-over:
				busy = false
			case <-time.After(time.Second):
			}
		}
		if took := time.Since(began); took > 2*heartbeat {
			t.Errorf("it ends after %v", took)
		}
	})
}

func TestASubscriptionEndsWhenItsConsumerIsDeregistered(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server) {
		arn := consumer(t, s, "orders", "app")
		out := newTape()
		var done sync.WaitGroup
		done.Go(func() { play(t.Context(), s, arn, "0", "LATEST", out); close(out.frames) })
		synctest.Wait()
		d, err := s.state.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.Forget("orders")
		if err := d.Save(time.Now()); err != nil {
			t.Fatal(err)
		}
		d.End()
		var last wire.Frame
		for last = range out.frames {
		}
		done.Wait()
		if string(last.Header(":message-type")) != "exception" || string(last.Header(":exception-type")) != "ResourceNotFoundException" {
			t.Errorf("it ends with %s %s", last.Header(":exception-type"), last.Payload)
		}
	})
}

func TestASubscriptionOfALimitedStreamGetsTwoMebibytesASecond(t *testing.T) {
	inBubble(t, Config{Limits: engine.KinesisLimits}, func(t *testing.T, s *Server) {
		st, _ := s.engine.Stream("orders")
		for range 20 {
			if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 1<<20-1)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		arn := consumer(t, s, "orders", "app")
		began := time.Now()
		out := newTape()
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { play(ctx, s, arn, "0", "TRIM_HORIZON", out) })
		for n := 0; n < 20; {
			f := <-out.frames
			n += strings.Count(string(f.Payload), "SequenceNumber") - strings.Count(string(f.Payload), "ContinuationSequenceNumber")
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("20 MiB took %v, want 10 s", took)
		}
		cancel()
		done.Wait()
	})
}

func TestASlowSubscriberIsReadNoFurtherThanItTakes(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server) {
		st, _ := s.engine.Stream("orders")
		for range 30 {
			if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 1<<20-1)}); err != nil {
				t.Fatal(err)
			}
		}
		arn := consumer(t, s, "orders", "app")
		out := newTape()
		out.hold = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { play(ctx, s, arn, "0", "TRIM_HORIZON", out) })
		for range 5 {
			out.hold <- struct{}{}
			synctest.Wait()
			if used := s.budget.answers.held(); used > bufferSize(3<<19) { // one event of one record, in base64
				t.Errorf("%d bytes are under way to a client that does not read", used)
			}
		}
		cancel()
		close(out.hold)
		done.Wait()
		wantAllFree(t, s)
	})
}
