package kinesis

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/stream"
)

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{100, 1024} {
		out := answerOf(1000, size)
		for _, form := range []struct {
			name   string
			answer []byte
			decode func([]byte) (*page, error)
		}{
			{"json", inJSON(out), decodeJSON},
			{"cbor", inCBOR(out), func(b []byte) (*page, error) { return decodeCBOR(b, time.Millisecond) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", form.name, size), func(b *testing.B) {
				answer := make([]byte, len(form.answer))
				b.ReportAllocs()
				for b.Loop() {
					copy(answer, form.answer)
					p, err := form.decode(answer)
					if err != nil {
						b.Fatal(err)
					}
					p.release()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
			})
		}
	}
}

// BenchmarkRead tells what a record costs a consumer, by the CPU time of the
// process, whose endpoint is another one: through a bare loop of the SDK,
// through this package, and when the answers are read and thrown away.
func BenchmarkRead(b *testing.B) {
	const records = 10_000
	for _, size := range []int{100, 1024} {
		url := endpointProcess(b, records, size)
		client := sdk.New(sdk.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		})
		in := &sdk.GetRecordsInput{ShardIterator: aws.String("iterator")}
		ways := []struct {
			name string
			read func(context.Context) error
		}{
			{"sdk", func(ctx context.Context) error {
				_, err := client.GetRecords(ctx, in, sturdily) // else many requests would have to be sent again
				return err
			}},
			{"json", pageReader(b, client, JSON)},
			{"cbor", pageReader(b, client, CBOR)},
			{"discard-json", discard(url, "application/x-amz-json-1.1")},
			{"discard-cbor", discard(url, mediaCBOR)},
		}
		for _, way := range ways {
			b.Run(fmt.Sprintf("%s/%d", way.name, size), func(b *testing.B) {
				ctx := b.Context()
				if err := way.read(ctx); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				before := cpu()
				for b.Loop() {
					if err := way.read(ctx); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/records, "cpu-ns/record")
			})
		}
	}
}

// BenchmarkIdle tells what a thousand shards at rest cost: CPU while each is asked
// every MaxPoll, and memory.
func BenchmarkIdle(b *testing.B) {
	const shards, watched = 1000, 8 * time.Second
	url := endpointProcess(b, 0, 0)
	client := sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	atRest := Config{}.withDefaults().MaxPoll
	for b.Loop() {
		s, err := New(client, "bench", Config{MinPoll: atRest, MaxPoll: atRest})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		before := inUse()
		var readers sync.WaitGroup
		for range shards {
			r := s.newReader("shardId-000000000000", stream.TrimHorizon)
			r.feed.iterator = "iterator"
			r.feed.pace.next = time.Now().Add(rand.N(atRest))
			readers.Go(func() {
				defer r.Close()
				r.Next(ctx, new(stream.Batch))
			})
		}
		pause(ctx, atRest) // each was asked once
		spent := cpu()
		pause(ctx, watched)
		b.ReportMetric(100*(cpu()-spent).Seconds()/watched.Seconds(), "%core")
		b.ReportMetric(float64(inUse()-before)/shards, "bytes/shard")
		cancel()
		readers.Wait()
	}
}

// inUse returns how much memory goroutines and what they hold take.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pageReader returns what reads one page, as a worker would: in batches of
// 1 MiB.
func pageReader(b *testing.B, client *sdk.Client, e Encoding) func(context.Context) error {
	s, err := New(client, "bench", Config{Encoding: e})
	if err != nil {
		b.Fatal(err)
	}
	batch := stream.Batch{MaxBytes: 1 << 20, MaxRecords: 1000, MaxFootprint: 64 << 20}
	return func(ctx context.Context) error {
		p, err := s.getRecords(ctx, "iterator", 10_000)
		if err != nil {
			return err
		}
		for p.left() > 0 {
			batch.Reset()
			p.fill(&batch)
		}
		p.release()
		return nil
	}
}

func discard(url, media string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", media)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

// endpointVariable makes the test binary an endpoint that answers every request
// with one page: "records,size".
const endpointVariable = "MILLRACE_KINESIS_ENDPOINT"

func endpointProcess(b *testing.B, records, size int) (url string) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d,%d", endpointVariable, records, size))
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stdin, err = os.Open(os.DevNull)
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := fmt.Fscanln(out, &url); err != nil {
		b.Fatal(err)
	}
	return url
}

func serveEndpoint() {
	var records, size int
	if _, err := fmt.Sscanf(os.Getenv(endpointVariable), "%d,%d", &records, &size); err != nil {
		panic(err)
	}
	out := answerOf(records, size)
	asJSON, asCBOR := inJSON(out), inCBOR(out)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		answer := asJSON
		if r.Header.Get("X-Amz-Target") == "Kinesis_20131202.DescribeStreamSummary" {
			answer = []byte(`{"StreamDescriptionSummary":{"StreamARN":"arn:aws:kinesis:us-east-1:123456789012:stream/bench","StreamCreationTimestamp":1,"StreamStatus":"ACTIVE"}}`)
		}
		if r.Header.Get("Content-Type") == mediaCBOR {
			answer = asCBOR
		}
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.Write(answer)
	}))
	fmt.Println(server.URL)
	select {}
}
