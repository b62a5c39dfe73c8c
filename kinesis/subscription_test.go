package kinesis

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

func TestUnusualEventsAreLeftToTheSDK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		f.unusual = true
		s, u := subscribed(t, f, Config{})
		j := newJournal()
		_, ended := start(t, u, j.handle)
		f.put(25)
		f.change(func() { f.ended = true })
		if err := <-ended; !is[*stream.ShardEndError](err) {
			t.Error(err)
		}
		j.check(t, 25)
		if !s.form.toSDK.Load() || f.calls != 2 {
			t.Errorf("after %d calls, the SDK decodes: %v", f.calls, s.form.toSDK.Load())
		}
	})
}

// deaf is a client that heeds no options.
type deaf struct{ *sdk.Client }

func (d deaf) SubscribeToShard(ctx context.Context, in *sdk.SubscribeToShardInput, _ ...func(*sdk.Options)) (*sdk.SubscribeToShardOutput, error) {
	return d.Client.SubscribeToShard(ctx, in)
}

func TestAClientThatHeedsNoOptionsIsLeftToTheSDK(t *testing.T) {
	f := newPushService()
	f.consumers["tester"] = &fakeConsumer{}
	f.records = 25
	f.fault = func(call int) fault {
		if call == 1 {
			return fault{after: 2, how: "ResourceNotFoundException"}
		}
		f.ended = true
		return fault{}
	}
	web := httptest.NewServer(f)
	defer web.Close()
	s, err := New(deaf{pushClient(web.URL, awshttp.NewBuildableClient())}, "orders", Config{Resubscribe: 10 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Register(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	if err := u.Subscribe(t.Context(), fakeShard, stream.TrimHorizon, stream.Batch{}, j.handle); !errors.Is(err, stream.ErrShardNotFound) {
		t.Errorf("after an exception: %v", err)
	}
	f.change(func() { f.last = time.Time{} })
	from := stream.After(stream.MakeSequence(0, 0, uint64(j.next-1)))
	if err := u.Subscribe(t.Context(), fakeShard, from, stream.Batch{}, j.handle); !is[*stream.ShardEndError](err) {
		t.Errorf("at the end: %v", err)
	}
	j.check(t, 25)
}

// cborFrame is an event in CBOR, with one record.
func cborFrame() []byte {
	frame := wire.BeginFrame(nil, wire.Header{Name: ":message-type", Value: "event"}, wire.Header{Name: ":event-type", Value: "SubscribeToShardEvent"},
		wire.Header{Name: ":content-type", Value: mediaCBOR})
	frame = wire.BeginCBORMap(frame)
	frame = wire.BeginCBORArray(wire.AppendCBORText(frame, "Records"))
	frame = wire.AppendCBORText(wire.AppendCBORText(wire.BeginCBORMap(frame), "SequenceNumber"), "7")
	frame = wire.AppendCBORBytes(wire.AppendCBORText(frame, "Data"), []byte("7"))
	frame = wire.AppendCBORMillis(wire.AppendCBORText(frame, "ApproximateArrivalTimestamp"), 1500)
	frame = wire.EndCBOR(wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(frame, "PartitionKey"), "k")))
	frame = wire.AppendCBORText(wire.AppendCBORText(frame, "ContinuationSequenceNumber"), "7")
	return wire.EndFrame(wire.EndCBOR(wire.AppendCBORInt(wire.AppendCBORText(frame, "MillisBehindLatest"), 12)), 0)
}

func TestEventsAreTheSameInEveryForm(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		toSDK bool
	}{
		"JSON": {eventFrame(7, 7, false), false}, "CBOR": {cborFrame(), false}, "JSON, by the SDK": {eventFrame(7, 7, false), true},
	} {
		p, err := decodeFrame(c.frame, c.toSDK)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var b stream.Batch
		p.fill(&b)
		r := b.Records[0]
		if p.next != "7" || len(b.Records) != 1 || r.Sequence != stream.MakeSequence(0, 0, 7) || r.PartitionKey != "k" || string(r.Data) != "7" || r.Arrival.UnixMilli() != 1500 {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func TestExceptionsAreTheErrorsOfTheSDK(t *testing.T) {
	for _, want := range []smithy.APIError{
		&types.ResourceNotFoundException{}, &types.ResourceInUseException{}, &types.InternalFailureException{}, &types.KMSAccessDeniedException{},
		&types.KMSDisabledException{}, &types.KMSInvalidStateException{}, &types.KMSNotFoundException{}, &types.KMSOptInRequired{},
		&types.KMSThrottlingException{}, &smithy.GenericAPIError{Code: "SomethingNew"},
	} {
		_, err := decodeFrame(exceptionFrame(want.ErrorCode()), false)
		got, ok := errors.AsType[smithy.APIError](err)
		if !ok || got.ErrorCode() != want.ErrorCode() || got.ErrorMessage() != "so it is" {
			t.Errorf("%s is %v", want.ErrorCode(), err)
		}
	}
	frame := wire.EndFrame(wire.BeginFrame(nil, wire.Header{Name: ":message-type", Value: "error"}, wire.Header{Name: ":error-code", Value: "E"}, wire.Header{Name: ":error-message", Value: "so"}), 0)
	if _, err := decodeFrame(frame, false); code(err) != "E" {
		t.Errorf("an error is %v", err)
	}
	if _, err := decodeFrame(wire.EndFrame(wire.BeginFrame(nil), 0), false); !errors.Is(err, wire.ErrFrame) {
		t.Errorf("a message without a type is %v", err)
	}
	if p, err := decodeFrame(frameOf("initial-response", "{}"), false); p != nil || err != nil {
		t.Errorf("the initial response is %v, %v", p, err)
	}
}

// FuzzDecodeFrame is given the payload of an event, which is framed properly, and
// whole frames.
func FuzzDecodeFrame(f *testing.F) {
	for _, frame := range [][]byte{eventFrame(1, 3, false), eventFrame(1, 0, true), exceptionFrame("ResourceInUseException"), cborFrame(), frameOf("initial-response", "")} {
		parsed, err := wire.ParseFrame(slices.Clone(frame))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, bytes.Contains(frame, []byte(mediaCBOR)), true)
		f.Add(parsed.Payload, bytes.Contains(frame, []byte(mediaCBOR)), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, cbor, whole bool) {
		frame := slices.Clone(data)
		if !whole {
			form := "application/json"
			if cbor {
				form = mediaCBOR
			}
			frame = wire.EndFrame(append(wire.BeginFrame(nil, wire.Header{Name: ":message-type", Value: "event"},
				wire.Header{Name: ":event-type", Value: "SubscribeToShardEvent"}, wire.Header{Name: ":content-type", Value: form}), data...), 0)
		}
		p, err := decodeFrame(frame, false)
		if err != nil || p == nil {
			return
		}
		given := 0
		for p.left() > 0 {
			b := stream.Batch{MaxRecords: 3}
			p.fill(&b)
			for i := range b.Records {
				given += b.Records[i].Size()
			}
		}
		if given > len(frame) {
			t.Fatalf("%d bytes of records came out of %d", given, len(frame))
		}
		p.release()
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	const records = 256
	frame := bigFrame(records, 1<<10)
	scratch := make([]byte, len(frame))
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	var batch stream.Batch
	for b.Loop() {
		copy(scratch, frame)
		p, err := decodeFrame(scratch, false)
		if err != nil {
			b.Fatal(err)
		}
		batch.Reset()
		p.fill(&batch)
		p.release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}

// bigFrame is an event in CBOR with that many records of that size.
func bigFrame(records, size int) []byte {
	frame := wire.BeginFrame(nil, wire.Header{Name: ":message-type", Value: "event"}, wire.Header{Name: ":event-type", Value: "SubscribeToShardEvent"},
		wire.Header{Name: ":content-type", Value: mediaCBOR})
	frame = wire.BeginCBORMap(frame)
	frame = wire.BeginCBORArray(wire.AppendCBORText(frame, "Records"))
	for i := range records {
		number := stream.MakeSequence(1<<57, 0, uint64(i)).String()
		frame = wire.AppendCBORText(wire.AppendCBORText(wire.BeginCBORMap(frame), "SequenceNumber"), number)
		frame = wire.AppendCBORBytes(wire.AppendCBORText(frame, "Data"), make([]byte, size))
		frame = wire.AppendCBORMillis(wire.AppendCBORText(frame, "ApproximateArrivalTimestamp"), 1500)
		frame = wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(frame, "PartitionKey"), "customer-4711"))
	}
	frame = wire.EndCBOR(frame)
	return wire.EndFrame(wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(frame, "ContinuationSequenceNumber"), "7")), 0)
}
