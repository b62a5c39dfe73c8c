package kinesis

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/internal/wire"
)

// createdAt is a transport that answers every request with a description of a
// stream that was created then, in milliseconds.
type createdAt int64

func (at createdAt) Do(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{}}
	if r.Header.Get("Smithy-Protocol") == "" {
		resp.Header.Set("Content-Type", mediaJSON)
		body := fmt.Sprintf(`{"StreamDescriptionSummary":{"StreamARN":%q,"StreamCreationTimestamp":%d.%03d}}`, orders, at/1000, at%1000)
		resp.Body = io.NopCloser(strings.NewReader(body))
		return resp, nil
	}
	resp.Header.Set("Content-Type", mediaSmithyRPC)
	resp.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
	body := wire.BeginCBORMap(wire.AppendCBORText(wire.BeginCBORMap(nil), "StreamDescriptionSummary"))
	body = wire.AppendCBORText(wire.AppendCBORText(body, "StreamARN"), orders)
	body = append(wire.AppendCBORText(body, "StreamCreationTimestamp"), 0xc1, 0xfb) // a time, in seconds, as a double
	body = wire.EndCBOR(wire.EndCBOR(binary.BigEndian.AppendUint64(body, math.Float64bits(float64(at)/1000))))
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp, nil
}

// Both forms have the time as a number of seconds with a fraction, for which a
// float has to do. A millisecond lost on the way would be another stream.
func TestAStreamIsTheSameInEveryProtocol(t *testing.T) {
	inRPC := func(o *sdk.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) }
	first, last := time.Date(2013, 12, 1, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 2000 {
		at := first.UnixMilli() + rand.Int64N(last.UnixMilli()-first.UnixMilli())
		client := func(options ...func(*sdk.Options)) *sdk.Client {
			return sdk.New(sdk.Options{
				Region: "us-east-1", HTTPClient: createdAt(at),
				Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
			}, options...)
		}
		for name, c := range map[string]*sdk.Client{"json": client(), "rpc-v2-cbor": client(inRPC)} {
			s, err := New(c, "orders", Config{})
			if err != nil {
				t.Fatal(err)
			}
			id, err := s.Identity(t.Context())
			if err != nil || id.ID() != fmt.Sprintf("%s:%d", orders, at) {
				t.Fatalf("%s: created at %d, and the identity is %s, %v", name, at, id.ID(), err)
			}
		}
	}
}

// dawdling is a client that reads times in its own way.
type dawdling struct {
	*service
	off time.Duration
}

func (d *dawdling) DescribeStreamSummary(ctx context.Context, in *sdk.DescribeStreamSummaryInput, o ...func(*sdk.Options)) (*sdk.DescribeStreamSummaryOutput, error) {
	return &sdk.DescribeStreamSummaryOutput{StreamDescriptionSummary: &types.StreamDescriptionSummary{
		StreamARN: aws.String(orders), StreamCreationTimestamp: aws.Time(time.UnixMilli(1_700_000_000_123).Add(d.off)),
	}}, nil
}

func TestAClientMayReadTimesWithAFractionOfAMillisecond(t *testing.T) {
	for _, off := range []time.Duration{-400 * time.Microsecond, 0, time.Nanosecond, 400 * time.Microsecond} {
		s, err := New(&dawdling{off: off}, "orders", Config{})
		if err != nil {
			t.Fatal(err)
		}
		if id, err := s.Identity(t.Context()); err != nil || id.Created.UnixMilli() != 1_700_000_000_123 {
			t.Errorf("%v off: %v, %v", off, id.Created.UnixMilli(), err)
		}
	}
}
