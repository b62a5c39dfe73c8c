package fanout_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// service serves an engine as the Kinesis API on loopback, and returns a client:
// over HTTP/1.1, or over HTTP/2 with TLS.
func service(t testing.TB, e *engine.Engine, http2 bool) *sdk.Client {
	client, stop := stoppable(t, e, http2)
	t.Cleanup(stop)
	return client
}

// stoppable is a service that can be stopped before the test ends.
func stoppable(t testing.TB, e *engine.Engine, http2 bool) (client *sdk.Client, stop func()) {
	t.Helper()
	s, err := server.New(e, server.Config{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(s)
	web.Config.ErrorLog = nil
	if web.EnableHTTP2 = http2; http2 {
		web.StartTLS()
	} else {
		web.Start()
	}
	stop = sync.OnceFunc(func() {
		s.Drain()
		web.Close()
		s.Close()
	})
	return sdk.New(sdk.Options{
		BaseEndpoint: aws.String(web.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
			if http2 {
				tr.TLSClientConfig.RootCAs = web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			}
		}),
	}), stop
}

// many reads a shard as as many consumers as it has readers, since a consumer of
// Kinesis has one subscription for each shard.
type many struct {
	*kinesis.Stream
	t testing.TB

	mu        sync.Mutex
	consumers []fanout.Stream
	busy      map[string][]bool // of a shard: which consumers read it
}

// take returns a consumer that does not read the shard, until give is called.
func (m *many) take(shardID string) (s fanout.Stream, give func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.busy[shardID], false)
	if i < 0 {
		i = len(m.busy[shardID])
		m.busy[shardID] = append(m.busy[shardID], false)
	}
	if i == len(m.consumers) {
		s, err := fanout.Use(m.Stream, fmt.Sprintf("consumer-%d", i), fanout.Config{Logger: silent})
		if err != nil {
			m.t.Fatal(err)
		}
		m.consumers = append(m.consumers, s)
	}
	m.busy[shardID][i] = true
	return m.consumers[i], func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.busy[shardID][i] = false
	}
}

// Open implements [stream.Stream].
func (m *many) Open(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
	s, give := m.take(shardID)
	r, err := s.Open(ctx, shardID, from)
	if err != nil {
		give()
		return nil, err
	}
	return &giving{r, sync.OnceFunc(give)}, nil
}

// Subscribe implements [stream.Subscriber].
func (m *many) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	s, give := m.take(shardID)
	defer give()
	return s.Subscribe(ctx, shardID, from, limits, handle)
}

// giving is a reader that gives its consumer back.
type giving struct {
	stream.Reader
	give func()
}

func (g *giving) Close() error {
	defer g.give()
	return g.Reader.Close()
}

func TestKinesisReadByPushKeepsTheContract(t *testing.T) {
	all := streamtest.Features{Reshard: true, Subscribe: true, HashKeys: true, Recreate: true}
	for _, c := range []struct {
		name     string
		encoding kinesis.Encoding
		http2    bool
		client   func(*sdk.Options)
		features streamtest.Features
	}{
		{"JSON", kinesis.JSON, false, func(*sdk.Options) {}, all},
		{"CBOR", kinesis.CBOR, true, func(*sdk.Options) {}, all},
		{"RPC v2 CBOR", kinesis.Auto, true, func(o *sdk.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) }, streamtest.Features{Subscribe: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.encoding != kinesis.CBOR {
				t.Skip("one form will do")
			}
			t.Parallel()
			// The scenarios wait most of the time, for Kinesis' limits are kept to.
			var running sync.WaitGroup
			defer running.Wait()
			turns := make(chan struct{}, 12)
			for _, scenario := range streamtest.Scenarios(c.features) {
				turns <- struct{}{}
				running.Go(func() {
					defer func() { <-turns }()
					t.Run(scenario.Name, func(t *testing.T) { scenario.Run(t, kinesisSubject(t, c.encoding, c.http2, c.client)) })
				})
			}
		})
	}
}

func kinesisSubject(t testing.TB, encoding kinesis.Encoding, http2 bool, option func(*sdk.Options)) streamtest.Subject {
	e, err := engine.OpenMemory(engine.Config{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	client := sdk.New(service(t, e, http2).Options(), option)
	var direct stream.Putter // which takes no time from what is tested
	create := func() stream.Stream {
		var err error
		if direct, err = e.CreateStream(t.Context(), "orders", engine.StreamConfig{Shards: streamtest.Shards}); err != nil {
			t.Fatal(err)
		}
		s, err := kinesis.New(client, "orders", kinesis.Config{Encoding: encoding, MinPoll: time.Millisecond, Resubscribe: 20 * time.Millisecond, Logger: silent})
		if err != nil {
			t.Fatal(err)
		}
		return &many{Stream: s, t: t, busy: map[string][]bool{}}
	}
	below := create()
	return streamtest.Subject{
		Stream:  below,
		Putter:  direct,
		Uneven:  true,
		Refused: []stream.Entry{{Data: []byte("without a key")}},
		Recreate: func(t testing.TB) stream.Stream {
			if err := e.DeleteStream(t.Context(), "orders"); err != nil {
				t.Fatal(err)
			}
			return create()
		},
	}
}

func TestAFleetReadsKinesisByPush(t *testing.T) {
	t.Parallel()
	e, err := engine.Open(t.TempDir(), engine.Config{SegmentBytes: 64 << 10, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: 2}); err != nil {
		t.Fatal(err)
	}
	s, err := kinesis.New(service(t, e, true), "orders", kinesis.Config{Resubscribe: 100 * time.Millisecond, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, below: s, leases: lease.NewMemory(), ledger: newLedger()}
	a, b := f.start("a"), f.start("b")
	defer b()
	f.puts(200)
	f.ledger.wait(t, f.put)
	f.reshard(func() { f.puts(100) })
	f.ledger.wait(t, f.put)
	a()
	f.puts(100)
	f.ledger.wait(t, f.put)
}

// cutter stands between clients and a server, and cuts their connections.
type cutter struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool
}

func newCutter(t testing.TB) *cutter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, conns: map[net.Conn]bool{}}
	c.running.Go(c.accept)
	t.Cleanup(func() {
		listener.Close()
		c.cut()
		c.running.Wait()
	})
	return c
}

func (c *cutter) accept() {
	for {
		theirs, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		to := c.to
		c.mu.Unlock()
		ours, err := net.Dial("tcp", to)
		if err != nil {
			theirs.Close()
			continue
		}
		c.mu.Lock()
		c.conns[theirs], c.conns[ours] = true, true
		c.mu.Unlock()
		for _, pair := range [][2]net.Conn{{ours, theirs}, {theirs, ours}} {
			c.running.Go(func() {
				io.Copy(pair[0], pair[1])
				pair[0].Close()
				pair[1].Close()
			})
		}
	}
}

// cut cuts all connections, in the middle of whatever is under way.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
}

// lead makes further connections lead to another server, and cuts the others.
func (c *cutter) lead(client *sdk.Client) {
	c.mu.Lock()
	c.to = strings.TrimPrefix(*client.Options().BaseEndpoint, "https://")
	c.mu.Unlock()
	c.cut()
}

func TestAFleetReadsKinesisByPushOverConnectionsThatBreakAndThroughARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fleet{t: t, leases: lease.NewMemory(), ledger: newLedger()}
	up := func() (client *sdk.Client, down func()) {
		e, err := engine.Open(dir, engine.Config{Logger: silent})
		if err != nil {
			t.Fatal(err)
		}
		if f.putter, err = e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: 4}); err != nil {
			t.Fatal(err)
		}
		client, stop := stoppable(t, e, true)
		return client, func() {
			stop()
			e.Close()
		}
	}
	client, down := up()
	defer func() { down() }()
	through := newCutter(t)
	through.lead(client)
	client = sdk.New(client.Options(), func(o *sdk.Options) { o.BaseEndpoint = aws.String("https://" + through.listener.Addr().String()) })
	s, err := kinesis.New(client, "orders", kinesis.Config{Resubscribe: 50 * time.Millisecond, Stall: 10 * time.Second, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	f.below = s
	a, b := f.start("a"), f.start("b")
	defer b()
	f.puts(50)
	f.ledger.wait(t, f.put)
	for i := range 8 {
		f.puts(100)
		through.cut()
		f.puts(100)
		if i == 4 {
			down()
			client, down = up()
			through.lead(client)
		}
		<-time.After(50 * time.Millisecond)
	}
	f.ledger.wait(t, f.put)
	a()
	f.puts(50)
	f.ledger.wait(t, f.put)
}
