package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

var consumerBenchmark = benchmark{
	name:    "consumer",
	about:   "what a record of Kinesis costs its consumer in CPU: package kinesis, a bare loop of the SDK, and reading the bytes only to throw them away",
	columns: []string{cpuPerRecord, recordRate, byteRate, allocs},
	run:     runConsumer,
}

// Who consumes.
const (
	kinesisJSON = "package kinesis, JSON"
	kinesisCBOR = "package kinesis, CBOR"
	bareSDK     = "bare GetRecords loop of the SDK, JSON"
	discardJSON = "read and thrown away, JSON"
	discardCBOR = "read and thrown away, CBOR"
)

const (
	consumerPages   = 4
	consumerRecords = 10_000 // of a page, the most that Kinesis gives
	consumerLasts   = 2 * time.Second
)

var consumerSizes = []int{1024, 100}

func consumerCase(size int) string { return sizeName(size) }

// runConsumer reads a shard again and again, from its beginning to the last page.
func runConsumer(ctx context.Context, b *bench) error {
	set := answerSet{pages: consumerPages, records: consumerRecords}
	if b.quick {
		set.records = 500
	}
	b.note("One reader, %v each, of an endpoint in another process that gives pages made in advance, %d of %d records, over HTTP/1.1 on loopback. CPU is the consumer's alone. MB are those of records, not of what goes over the wire.",
		b.lasts(consumerLasts), set.pages, set.records)
	b.note("The SDK is service/kinesis %s, which speaks JSON to Kinesis.", sdkVersion())
	for _, size := range consumerSizes {
		set.size = size
		if err := b.consumers(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

// reading reads the whole shard, and returns how many records that were.
type reading func(context.Context) (records int, err error)

func (b *bench) consumers(ctx context.Context, set answerSet) (err error) {
	if !b.wants(consumerCase(set.size)) {
		return nil
	}
	p, err := answersProcess(set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	way := func(who string, open func(*api, answerSet) (reading, error)) contender {
		return contender{who, func(ctx context.Context, _ string) (figures, error) {
			a := newAPI(p.url)
			defer a.close()
			read, err := open(a, set)
			if err != nil {
				return nil, err
			}
			return b.consume(ctx, set, read)
		}}
	}
	return b.compare(ctx, consumerCase(set.size),
		way(kinesisJSON, byKinesis(kinesis.JSON)),
		way(kinesisCBOR, byKinesis(kinesis.CBOR)),
		way(bareSDK, bySDK),
		way(discardJSON, discarding(mediaJSON)),
		way(discardCBOR, discarding(mediaCBOR)),
	)
}

// consume measures the reading of a whole shard, repeated.
func (b *bench) consume(ctx context.Context, set answerSet, read reading) (figures, error) {
	if _, err := read(ctx); err != nil { // which also warms buffers and connections
		return nil, err
	}
	var watch stopwatch
	watch.start()
	n := 0
	for until := time.Now().Add(b.lasts(consumerLasts)); n == 0 || time.Now().Before(until); {
		records, err := read(ctx)
		if err != nil {
			return nil, err
		}
		if want := set.pages * set.records; records != want {
			return nil, fmt.Errorf("%d records of %d were read", records, want)
		}
		n += records
	}
	u := watch.stop()
	f := figures{byteRate: float64(n*set.size) / 1e6 / u.wall.Seconds(), allocs: float64(u.allocs) / float64(n)}
	u.perRecord(f, n)
	return f, nil
}

// sdkClient is one of the SDK over the connections of a.
func (a *api) sdkClient() *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &a.url, HTTPClient: whole{a.client},
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
}

// whole sends bodies that net/http knows to be in memory. Of those of the SDK it
// does not: on a fast endpoint, whose answer comes before net/http has looked for
// the body's end, it cuts the connection and the SDK has to ask again.
type whole struct{ client *http.Client }

func (w whole) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return w.client.Do(r)
}

// sdkVersion is that of the SDK's client of Kinesis in this program.
func sdkVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/aws/aws-sdk-go-v2/service/kinesis" {
				return m.Version
			}
		}
	}
	return "of go.mod"
}

const (
	consumedStream = "orders"
	consumedShard  = "shardId-000000000000"
)

// byKinesis reads as a worker does, in batches. Its pages are as large as those that
// the others are given.
func byKinesis(e kinesis.Encoding) func(*api, answerSet) (reading, error) {
	return func(a *api, set answerSet) (reading, error) {
		s, err := kinesis.New(a.sdkClient(), consumedStream, kinesis.Config{Encoding: e, PageBytes: 16 << 20, MinPoll: time.Millisecond, Logger: logs.Quiet})
		return func(ctx context.Context) (n int, err error) {
			r, err := s.Open(ctx, consumedShard, stream.TrimHorizon)
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, r.Close()) }()
			batch := stream.Batch{MaxBytes: 4 << 20, MaxRecords: 1000, MaxFootprint: 64 << 20}
			for n < set.pages*set.records {
				if err := r.Next(ctx, &batch); err != nil {
					return n, err
				}
				n += len(batch.Records)
			}
			return n, nil
		}, err
	}
}

func bySDK(a *api, set answerSet) (reading, error) {
	client := a.sdkClient()
	return func(ctx context.Context) (n int, err error) {
		at, err := client.GetShardIterator(ctx, &sdk.GetShardIteratorInput{
			StreamName: aws.String(consumedStream), ShardId: aws.String(consumedShard), ShardIteratorType: "TRIM_HORIZON",
		})
		if err != nil {
			return 0, err
		}
		for next := at.ShardIterator; n < set.pages*set.records; {
			out, err := client.GetRecords(ctx, &sdk.GetRecordsInput{ShardIterator: next})
			if err != nil {
				return n, err
			}
			n, next = n+len(out.Records), out.NextShardIterator
		}
		return n, nil
	}, nil
}

// discarding counts the records as those of the set: it does not look at them.
func discarding(media string) func(*api, answerSet) (reading, error) {
	return func(a *api, set answerSet) (reading, error) {
		return func(ctx context.Context) (n int, err error) {
			for page := range set.pages {
				if err := a.discard(ctx, media, []byte(set.iterator(page))); err != nil {
					return n, err
				}
				n += set.records
			}
			return n, nil
		}, nil
	}
}

func (a *api) discard(ctx context.Context, media string, body []byte) error {
	r, err := a.request(ctx, "GetRecords", body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", media)
	resp, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
