package kinesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

const (
	fakeARN   = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
	fakeShard = "shardId-000000000000"
)

// pushService is a server of one stream with one shard and its consumers. It
// pushes as Kinesis does: one subscription for the shard, which a later call takes
// over, but not within five seconds; a sign of life every five seconds; an end
// after five minutes.
type pushService struct {
	mu        sync.Mutex
	records   int           // records 1 to records are there
	ended     bool          // the shard is
	changed   chan struct{} // closed at the next change
	last      time.Time     // when the last subscription began
	take      context.CancelCauseFunc
	calls     int // of SubscribeToShard
	refused   int // calls within five seconds of a success
	places    int
	consumers map[string]*fakeConsumer
	registers int // calls of RegisterStreamConsumer that made one
	noStream  bool
	unusual   bool          // events are
	distance  time.Duration // how long a call of SubscribeToShard takes before it does anything

	// fault is asked at the start of each call, and of what goes wrong with it.
	fault func(call int) fault
}

// fault is what goes wrong with one subscription, after that many events.
type fault struct {
	refuse string // refuse the call with this error
	after  int
	how    string // "", "cut", "garbage", "silence", "served", or the type of an exception
}

type fakeConsumer struct{ ready, gone time.Time }

func newPushService() *pushService {
	return &pushService{changed: make(chan struct{}), places: consumerPlaces, consumers: map[string]*fakeConsumer{}}
}

// change changes something, and wakes who waits for it.
func (f *pushService) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *pushService) put(n int) { f.change(func() { f.records += n }) }

// look reads something.
func look[T any](f *pushService, what func() T) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return what()
}

func (f *pushService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ConsumerName, ConsumerARN, ShardId string
		StartingPosition                   struct{ Type, SequenceNumber string }
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, "SerializationException")
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if operation == "SubscribeToShard" {
		next := 1
		if n := in.StartingPosition.SequenceNumber; n != "" {
			next, _ = strconv.Atoi(n)
			if in.StartingPosition.Type == "AFTER_SEQUENCE_NUMBER" {
				next++
			}
		}
		f.subscribe(w, r, in.ConsumerARN, in.ShardId, next)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noStream {
		refuse(w, "ResourceNotFoundException")
		return
	}
	name := in.ConsumerName
	if name == "" {
		_, name, _ = strings.Cut(in.ConsumerARN, "/consumer/")
	}
	c := f.consumers[name]
	if c != nil && !c.gone.IsZero() && !time.Now().Before(c.gone) {
		delete(f.consumers, name)
		c = nil
	}
	describe := func(c *fakeConsumer) map[string]any {
		status := "ACTIVE"
		if !c.gone.IsZero() {
			status = "DELETING"
		} else if time.Now().Before(c.ready) {
			status = "CREATING"
		}
		return map[string]any{"ConsumerARN": fakeARN + "/consumer/" + name, "ConsumerName": name, "ConsumerStatus": status, "ConsumerCreationTimestamp": 1}
	}
	switch operation {
	case "DescribeStreamSummary":
		answer(w, map[string]any{"StreamDescriptionSummary": map[string]any{"StreamARN": fakeARN, "StreamName": "orders", "StreamCreationTimestamp": 1, "StreamStatus": "ACTIVE", "ConsumerCount": len(f.consumers)}})
	case "ListShards":
		shards := []any{shardJSON(fakeShard, "0", "9", "")}
		if f.ended {
			shards = append(shards, shardJSON("shardId-000000000001", "0", "4", fakeShard), shardJSON("shardId-000000000002", "5", "9", fakeShard))
		}
		answer(w, map[string]any{"Shards": shards})
	case "RegisterStreamConsumer":
		switch {
		case c != nil:
			refuse(w, "ResourceInUseException")
		case len(f.consumers) >= f.places:
			refuse(w, "LimitExceededException")
		default:
			f.registers++
			f.consumers[name] = &fakeConsumer{ready: time.Now().Add(8 * time.Second)}
			answer(w, map[string]any{"Consumer": describe(f.consumers[name])})
		}
	case "DescribeStreamConsumer":
		if c == nil {
			refuse(w, "ResourceNotFoundException")
			return
		}
		answer(w, map[string]any{"ConsumerDescription": describe(c)})
	case "DeregisterStreamConsumer":
		if c == nil {
			refuse(w, "ResourceNotFoundException")
			return
		}
		c.gone = time.Now().Add(3 * time.Second)
		w.WriteHeader(http.StatusOK)
	default:
		refuse(w, "UnknownOperationException")
	}
}

func shardJSON(id, start, end, parent string) map[string]any {
	shard := map[string]any{
		"ShardId": id, "HashKeyRange": map[string]any{"StartingHashKey": start, "EndingHashKey": end},
		"SequenceNumberRange": map[string]any{"StartingSequenceNumber": "1"},
	}
	if parent != "" {
		shard["ParentShardId"] = parent
	}
	return shard
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, `{"__type":%q,"message":"so it is"}`, kind)
}

var errTaken = errors.New("taken over")

// subscribe serves one subscription.
func (f *pushService) subscribe(w http.ResponseWriter, r *http.Request, consumerARN, shard string, next int) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	time.Sleep(f.distance)
	f.mu.Lock()
	f.calls++
	var wrong fault
	if f.fault != nil {
		wrong = f.fault(f.calls)
	}
	_, name, _ := strings.Cut(consumerARN, "/consumer/")
	switch {
	case f.noStream, f.consumers[name] == nil, !f.consumers[name].gone.IsZero(), shard != fakeShard:
		wrong.refuse = "ResourceNotFoundException"
	case wrong.refuse == "" && time.Since(f.last) < 5*time.Second:
		f.refused++
		wrong.refuse = "ResourceInUseException"
	}
	if wrong.refuse != "" {
		f.mu.Unlock()
		refuse(w, wrong.refuse)
		return
	}
	if f.take != nil {
		f.take(errTaken)
	}
	f.take, f.last = cancel, time.Now()
	f.mu.Unlock()

	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	send := func(frame []byte) {
		if f.unusual {
			frame = reframe(frame)
		}
		w.Write(frame)
		http.NewResponseController(w).Flush()
	}
	send(frameOf("initial-response", "{}"))
	over := time.NewTimer(5 * time.Minute)
	defer over.Stop()
	for events := 0; ; events++ {
		f.mu.Lock()
		records, ended, changed := f.records, f.ended, f.changed
		f.mu.Unlock()
		if wrong.how != "" && events == wrong.after {
			f.spoil(ctx, send, wrong.how)
			return
		}
		to := min(records, next+9)
		last := ended && to == records
		if next <= to || last || events == 0 {
			send(eventFrame(next, to, last))
			next = to + 1
			if last {
				return
			}
			continue
		}
		alive := time.NewTimer(5 * time.Second)
		select {
		case <-changed:
		case <-alive.C:
			send(eventFrame(next, to, false))
		case <-over.C:
			alive.Stop()
			return
		case <-ctx.Done():
			alive.Stop()
			if context.Cause(ctx) == errTaken {
				send(exceptionFrame("ResourceInUseException"))
			}
			return
		}
		alive.Stop()
	}
}

func (f *pushService) spoil(ctx context.Context, send func([]byte), how string) {
	frame := eventFrame(1, 9, false)
	switch how {
	case "cut":
		send(frame[:len(frame)-10])
		panic(http.ErrAbortHandler)
	case "garbage":
		frame[len(frame)/2] ^= 1
		send(frame)
	case "silence":
		<-ctx.Done()
	case "served":
	case "no number":
		send(frameOf("SubscribeToShardEvent", `{"Records":[],"MillisBehindLatest":0}`))
	default:
		send(exceptionFrame(how))
	}
}

func frameOf(kind, payload string) []byte {
	return wire.EndFrame(append(wire.BeginFrame(nil,
		wire.Header{Name: ":message-type", Value: "event"}, wire.Header{Name: ":event-type", Value: kind}, wire.Header{Name: ":content-type", Value: "application/json"}), payload...), 0)
}

// reframe makes an event say twice how far it is behind.
func reframe(frame []byte) []byte {
	parsed, err := wire.ParseFrame(frame)
	if err != nil || string(parsed.Header(":event-type")) != "SubscribeToShardEvent" {
		return frame
	}
	return frameOf("SubscribeToShardEvent", `{"MillisBehindLatest":0,`+string(parsed.Payload[1:]))
}

func exceptionFrame(kind string) []byte {
	return wire.EndFrame(append(wire.BeginFrame(nil, wire.Header{Name: ":message-type", Value: "exception"}, wire.Header{Name: ":exception-type", Value: kind}), `{"message":"so it is"}`...), 0)
}

// eventFrame is an event with the records from..to, and perhaps the shard's end.
func eventFrame(from, to int, last bool) []byte {
	records := []any{}
	for n := from; n <= to; n++ {
		records = append(records, map[string]any{"SequenceNumber": strconv.Itoa(n), "PartitionKey": "k", "Data": []byte(strconv.Itoa(n)), "ApproximateArrivalTimestamp": 1.5})
	}
	event := map[string]any{"Records": records, "MillisBehindLatest": 0}
	if last {
		event["ChildShards"] = []any{
			map[string]any{"ShardId": "shardId-000000000001", "ParentShards": []string{fakeShard}, "HashKeyRange": map[string]any{"StartingHashKey": "0", "EndingHashKey": "4"}},
			map[string]any{"ShardId": "shardId-000000000002", "ParentShards": []string{fakeShard}, "HashKeyRange": map[string]any{"StartingHashKey": "5", "EndingHashKey": "9"}},
		}
	} else {
		event["ContinuationSequenceNumber"] = strconv.Itoa(to)
	}
	payload, _ := json.Marshal(event)
	return frameOf("SubscribeToShardEvent", string(payload))
}

// pipes are a network in memory, which works in virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// served runs a service in memory, and returns a client of the SDK for it.
func served(t testing.TB, h http.Handler) *sdk.Client {
	network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(network) })
	t.Cleanup(func() {
		server.Close()
		network.Close()
		wg.Wait()
	})
	return pushClient("http://kinesis.test", awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext, tr.Proxy = network.dial, nil
		tr.DisableKeepAlives = true
	}))
}

func pushClient(endpoint string, c sdk.HTTPClient) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-west-1", HTTPClient: c,
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
	})
}

// subscribed returns a stream of the service, and the subscriber of a consumer.
func subscribed(t testing.TB, f *pushService, cfg Config) (*Stream, stream.Subscriber) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := New(served(t, f), "orders", cfg)
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Register(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	return s, u
}
