package kinesis

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// quiet is a logger for streams that are expected to complain.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// near is a configuration for a server on this machine without limits.
var near = Config{MinPoll: time.Millisecond, MaxPoll: 4 * time.Millisecond, Logger: quiet}

// serve serves an engine in memory by the API of Kinesis.
func serve(t testing.TB, cfg server.Config) (*engine.Engine, *sdk.Client) {
	t.Helper()
	e, err := engine.OpenMemory(engine.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	cfg.Logger = quiet
	api, err := server.New(e, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	return e, clientOf(t, web.URL)
}

// clientOf returns a client of the SDK for a server on this machine.
func clientOf(t testing.TB, url string) *sdk.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	soon := retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
	return sdk.New(sdk.Options{
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.Backoff = soon }),
		Region:  "us-east-1", BaseEndpoint: aws.String(url), HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
	})
}

func TestStreamContractOverTheAPI(t *testing.T) {
	inRPC := func(o *sdk.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) }
	for _, c := range []struct {
		name   string
		cfg    func(*Config)
		client func(*sdk.Options)
	}{
		{"json", func(c *Config) { c.Encoding = JSON }, func(*sdk.Options) {}},
		{"cbor", func(c *Config) { c.Encoding = CBOR }, func(*sdk.Options) {}},
		{"rpc-v2-cbor", func(*Config) {}, inRPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && c.name != "cbor" {
				t.Skip("short: one form is enough")
			}
			f := streamtest.Features{Reshard: true, HashKeys: true, Recreate: true}
			streamtest.Run(t, f, func(t testing.TB) streamtest.Subject {
				e, client := serve(t, server.Config{})
				client = sdk.New(client.Options(), c.client)
				cfg := near
				c.cfg(&cfg)
				return subject(t, e, client, cfg)
			})
		})
	}
}

func subject(t testing.TB, e *engine.Engine, client Client, cfg Config) streamtest.Subject {
	create := func(t testing.TB) stream.Stream {
		t.Helper()
		if _, err := e.CreateStream(t.Context(), "test", engine.StreamConfig{Shards: streamtest.Shards}); err != nil {
			t.Fatal(err)
		}
		s, err := New(client, "test", cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return streamtest.Subject{
		Stream: create(t),
		Uneven: true,
		Refused: []stream.Entry{
			{PartitionKey: "", Data: []byte("no key")},
			{PartitionKey: strings.Repeat("k", 257), Data: []byte("a long key")},
			{PartitionKey: "large", Data: bytes.Repeat([]byte("x"), 1<<20)},
		},
		Recreate: func(t testing.TB) stream.Stream {
			t.Helper()
			if err := e.DeleteStream(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			return create(t)
		},
	}
}
