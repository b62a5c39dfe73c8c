package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"time"
)

var subscriptionsBenchmark = benchmark{
	name:    "subscriptions",
	about:   "thousands of subscriptions of one server in which nothing happens: its memory for each, and what it takes of a core",
	columns: []string{bytesPerSubscription, subscribeRate, serverShare},
	run:     runSubscriptions,
	needs:   haveProc,
}

const (
	bytesPerSubscription = "KiB/subscription"
	subscribeRate        = "subscriptions begun/s"
)

// Over what subscriptions come.
const (
	ownConnections  = "HTTP/1.1, a connection for each"
	fewConnections  = "HTTP/2"
	manySubscribers = 5000
)

func subscriptionsCase(n int) string { return fmt.Sprintf("%d subscriptions", n) }

func runSubscriptions(ctx context.Context, b *bench) error {
	n := manySubscribers
	if b.quick {
		n = 100
	}
	b.note("One for each shard, on loopback. Memory is how much more the process of the server holds (RSS) when all have begun than before the first; garbage that was not collected yet is in it. The share of a core is over %v, %v later: each subscription gets an event in five seconds.", b.lasts(idleLasts), b.lasts(subscriptionsSettle))
	return b.compare(ctx, subscriptionsCase(n),
		contender{ownConnections, func(ctx context.Context, dir string) (figures, error) { return b.subscribe(ctx, dir, n, false) }},
		contender{fewConnections, func(ctx context.Context, dir string) (figures, error) { return b.subscribe(ctx, dir, n, true) }},
	)
}

const (
	subscriptionsSettle = 6 * time.Second
	// subscribing is how many begin at the same time.
	subscribing = 64
)

// subscribe is one round: a server, and clients that only listen.
func (b *bench) subscribe(ctx context.Context, dir string, n int, http2 bool) (f figures, err error) {
	const name = "orders"
	server, err := serve(filepath.Join(dir, "engine"), name, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	a := newAPI(server.url)
	setHTTP2(a.client.Transport.(*http.Transport), http2)
	defer a.close()
	consumer, err := a.register(ctx, name)
	if err != nil {
		return nil, err
	}
	before, err := server.resident()
	if err != nil {
		return nil, err
	}
	var all listeners
	ctx, enough := context.WithCancel(ctx)
	defer all.wait()
	defer enough()
	begin := time.Now()
	if err := all.begin(ctx, a, consumer, n); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	if err := pause(ctx, b.lasts(subscriptionsSettle)); err != nil {
		return nil, err
	}
	after, err := server.resident()
	if err != nil {
		return nil, err
	}
	if f, err = b.restBeside(ctx, server); err != nil {
		return nil, err
	}
	if err := all.lost(); err != nil {
		return nil, err
	}
	f[bytesPerSubscription] = float64(max(after-before, 0)) / 1024 / float64(n)
	f[subscribeRate] = float64(n) / took.Seconds()
	return f, nil
}

// register makes a consumer, and returns its ARN.
func (a *api) register(ctx context.Context, name string) (arn string, err error) {
	var about struct {
		StreamDescriptionSummary struct{ StreamARN string }
	}
	if err := a.call(ctx, "DescribeStreamSummary", fields{"StreamName": name}, &about); err != nil {
		return "", err
	}
	var made struct {
		Consumer struct{ ConsumerARN, ConsumerStatus string }
	}
	in := fields{"StreamARN": about.StreamDescriptionSummary.StreamARN, "ConsumerName": "bench"}
	err = a.call(ctx, "RegisterStreamConsumer", in, &made)
	return made.Consumer.ConsumerARN, err
}

// listeners are clients of subscriptions. They read what comes, until the context
// that they began in ends.
type listeners struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	gone error // of the first one whose subscription has ended
}

func (l *listeners) wait() { l.wg.Wait() }

// lost is why the first of the subscriptions that have ended did so.
func (l *listeners) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

func (l *listeners) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == nil {
		l.gone = err
	}
}

// begin subscribes to so many shards, and returns when each has answered.
func (l *listeners) begin(ctx context.Context, a *api, consumer string, n int) error {
	var starting sync.WaitGroup
	turns := make(chan struct{}, subscribing)
	for shard := range n {
		turns <- struct{}{}
		starting.Add(1)
		l.wg.Go(func() {
			body, err := a.subscription(ctx, consumer, shard)
			<-turns
			starting.Done()
			if err == nil {
				defer body.Close()
				_, err = io.Copy(io.Discard, body)
				err = errors.Join(err, io.ErrUnexpectedEOF) // it ends with ctx alone
			}
			if ctx.Err() == nil {
				l.failed(err)
			}
		})
	}
	starting.Wait()
	return l.lost()
}

// subscription begins one, at the end of a shard. Its first event has come.
func (a *api) subscription(ctx context.Context, consumer string, shard int) (io.ReadCloser, error) {
	in, _ := json.Marshal(fields{ // plain values
		"ConsumerARN": consumer, "ShardId": fmt.Sprintf("shardId-%012d", shard), "StartingPosition": fields{"Type": "LATEST"},
	})
	r, err := a.request(ctx, "SubscribeToShard", in)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var text bytes.Buffer
		_, err := io.CopyN(&text, resp.Body, 300)
		return nil, fmt.Errorf("SubscribeToShard: %s: %s: %w", resp.Status, &text, errors.Join(err, resp.Body.Close()))
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 16)); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp.Body, nil
}
