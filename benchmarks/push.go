package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

var pushBenchmark = benchmark{
	name:  "push",
	about: "from the call of PutRecords to its answer, and by SubscribeToShard to the processor of a worker, through the process of a durable server",
	columns: []string{
		latency(answered, 50), latency(answered, 99), latency(processed, 50), latency(processed, 99), latency(processed, 99.9),
	},
	run: runPush,
}

// How a worker reads a server.
const (
	pushedHTTP1 = "SubscribeToShard, HTTP/1.1"
	pushedHTTP2 = "SubscribeToShard, HTTP/2"
)

const (
	pushLasts = 4 * time.Second
	// pushSettle is until each shard has its subscription, which begins when its
	// processor is there.
	pushSettle = 500 * time.Millisecond
)

var pushRates = []int{closedLoop, 1000}

func pushCase(rate int) string {
	if rate == closedLoop {
		return "durable, closed loop"
	}
	return fmt.Sprintf("durable, %d/s", rate)
}

func runPush(ctx context.Context, b *bench) error {
	b.note("Records of 100 B over %d shards, one a call, %v each, on loopback. The producer and the worker, which has its leases in SQLite, share a process; the server has one of its own.", latencyShards, b.lasts(pushLasts))
	rates := pushRates
	if b.quick {
		rates = rates[1:]
	}
	for _, rate := range rates {
		err := b.compare(ctx, pushCase(rate),
			contender{pushedHTTP1, func(ctx context.Context, dir string) (figures, error) { return b.pushed(ctx, dir, rate, false) }},
			contender{pushedHTTP2, func(ctx context.Context, dir string) (figures, error) { return b.pushed(ctx, dir, rate, true) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// pushed is one round: a server, a worker that has all shards of its stream, and a
// producer.
func (b *bench) pushed(ctx context.Context, dir string, rate int, http2 bool) (f figures, err error) {
	const name = "orders"
	server, err := serve(filepath.Join(dir, "engine"), name, latencyShards)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	remote, err := kinesis.New(userClient(server.url, http2), name, kinesis.Config{Logger: logs.Quiet})
	if err != nil {
		return nil, err
	}
	s, err := fanout.Use(remote, "bench", fanout.Config{Logger: logs.Quiet})
	if err != nil {
		return nil, err
	}
	p := &producer{stream: remote, epoch: time.Now(), allReady: make(chan struct{})}
	err = whileWorking(ctx, filepath.Join(dir, "leases.db"), s, p.processor, func(ctx context.Context) error {
		if err := await(ctx, p.allReady); err != nil {
			return err
		}
		if err := pause(ctx, pushSettle); err != nil {
			return err
		}
		if err := p.produce(ctx, rate, b.lasts(pushLasts)); err != nil {
			return err
		}
		for p.processed.Load() < int64(len(p.put)) {
			if err := pause(ctx, time.Millisecond); err != nil { // the last ones are on their way
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f = figures{}
	distribution(f, answered, p.put)
	distribution(f, processed, p.took)
	return f, nil
}

// userClient is a client as the SDK makes it, over HTTP/1.1 or, without TLS as well,
// HTTP/2.
func userClient(url string, http2 bool) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { setHTTP2(t, http2) }),
	})
}

func setHTTP2(t *http.Transport, http2 bool) {
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
}

// whileWorking does something while a worker processes a stream, with its leases in
// a database of its own. It returns when the worker has stopped.
func whileWorking(ctx context.Context, database string, s stream.Stream, p func(processors.Shard) processors.RecordProcessor, do func(context.Context) error) (err error) {
	leases, err := sqlite.Open(ctx, database, sqlite.Config{Application: "bench"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()
	w, err := worker.New(worker.Config{
		Application: "bench", Streams: []stream.Stream{s}, Leases: leases, Logger: logs.Quiet, Processor: p,
	})
	if err != nil {
		return err
	}
	ctx, enough := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	go func() {
		err := w.Run(ctx)
		enough(fmt.Errorf("the worker has stopped: %w", err))
		done <- err
	}()
	err = do(ctx)
	enough(nil)
	return errors.Join(err, <-done)
}

// await waits until a channel is closed.
func await(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
