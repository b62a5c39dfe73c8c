package kinesis

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/internal/wire"
)

const (
	mediaCBOR      = "application/x-amz-cbor-1.1" // times in milliseconds
	mediaSmithyRPC = "application/cbor"           // times in seconds
)

// exchange is how one GetRecords goes over the wire: in the SDK's protocol, but
// that it may ask in CBOR, and that it decodes what Kinesis usually answers by
// itself. Everything else of a request (endpoint, signature, attempts) is the
// SDK's.
type exchange struct {
	sturdy
	s    *Stream
	cbor bool
	any  bool // length will do, of an answer that does not tell it

	// page is what was decoded; nil where the SDK decoded.
	page *page
	// spoken is the form of the answer: mediaCBOR, …
	spoken string
}

func (x *exchange) answeredCBOR() bool { return x.spoken == mediaCBOR || x.spoken == mediaSmithyRPC }

// plug puts the exchange into the options of a request.
func (x *exchange) plug(o *sdk.Options) {
	x.sturdy = sturdy{o.Protocol}
	if o.Protocol.ID().Name != "awsJson1_1" {
		x.cbor = false // the user has chosen
	}
	o.Protocol = x
	once(o)
}

// rpcCBOR is the SDK's protocol for CBOR. Errors in AWS' older form of CBOR look
// like those of this one.
var rpcCBOR = rpcv2.NewCBOR(schemas.Kinesis_20131202)

// SerializeRequest writes the request in CBOR, or lets the SDK do it in JSON.
func (x *exchange) SerializeRequest(ctx context.Context, op *smithy.OperationSchema, in smithy.Serializable, req *smithyhttp.Request) error {
	input, ok := in.(*sdk.GetRecordsInput)
	if !x.cbor || !ok {
		return x.sturdy.SerializeRequest(ctx, op, in, req)
	}
	req.Method = http.MethodPost
	if req.URL.Path == "" {
		req.URL.Path = "/"
	}
	req.Header.Set("Content-Type", mediaCBOR)
	req.Header.Set("X-Amz-Target", "Kinesis_20131202.GetRecords")
	body := wire.BeginCBORMap(nil)
	for name, value := range map[string]*string{"ShardIterator": input.ShardIterator, "StreamARN": input.StreamARN} {
		if value != nil {
			body = wire.AppendCBORText(wire.AppendCBORText(body, name), *value)
		}
	}
	if input.Limit != nil {
		body = wire.AppendCBORInt(wire.AppendCBORText(body, "Limit"), int64(*input.Limit))
	}
	return setBody(req, bytes.NewReader(wire.EndCBOR(body)))
}

// DeserializeResponse decodes what GetRecords gave. It leaves everything else to
// the SDK.
func (x *exchange) DeserializeResponse(ctx context.Context, op *smithy.OperationSchema, types *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable) error {
	x.page = nil
	x.spoken, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		if x.answeredCBOR() {
			return rpcCBOR.DeserializeResponse(ctx, op, types, resp, out)
		}
		return x.ClientProtocol.DeserializeResponse(ctx, op, types, resp, out)
	}
	answer, release, err := x.s.receive(ctx, resp, x.any)
	if err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	defer release()
	switch {
	case x.s.form.toSDK.Load():
		err = x.leave(ctx, op, types, resp, answer, out)
	case x.spoken == mediaCBOR:
		x.page, err = decodeMillis(answer)
	case x.spoken == mediaSmithyRPC:
		x.page, err = decodeCBOR(answer, time.Second)
	default:
		x.page, err = decodeJSON(answer)
	}
	if err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	return nil
}

// leave lets the SDK decode an answer.
func (x *exchange) leave(ctx context.Context, op *smithy.OperationSchema, types *smithy.TypeRegistry, resp *smithyhttp.Response, answer []byte, out smithy.Deserializable) error {
	by := x.ClientProtocol
	if x.answeredCBOR() {
		by = rpcCBOR
	}
	again := *resp.Response
	again.Body = io.NopCloser(bytes.NewReader(answer))
	if err := by.DeserializeResponse(ctx, op, types, &smithyhttp.Response{Response: &again}, out); err != nil {
		return err
	}
	if records, ok := out.(*sdk.GetRecordsOutput); ok && x.spoken == mediaCBOR {
		for i := range records.Records {
			if t := records.Records[i].ApproximateArrivalTimestamp; t != nil {
				*t = time.UnixMilli(t.Unix()) // it took milliseconds for seconds
			}
		}
	}
	return nil
}

// sturdy is a protocol of the SDK whose requests stand fast answers. The SDK
// closes a request's body when the answer begins. If net/http is just then
// looking whether the body has an end, as it does after the last byte, it takes
// the io.EOF that the closed body's WriteTo gives for a failed request, and
// closes the connection on which the answer comes. Bodies without a WriteTo are
// read instead, where io.EOF is no error.
type sturdy struct{ smithyhttp.ClientProtocol }

// sturdily makes an operation's requests sturdy.
func sturdily(o *sdk.Options) { o.Protocol = sturdy{o.Protocol} }

// SerializeRequest writes the request, and a body that can only be read.
func (p sturdy) SerializeRequest(ctx context.Context, op *smithy.OperationSchema, in smithy.Serializable, req *smithyhttp.Request) error {
	if err := p.ClientProtocol.SerializeRequest(ctx, op, in, req); err != nil {
		return err
	}
	if body, ok := req.GetStream().(io.ReadSeeker); ok {
		return setBody(req, body)
	}
	return nil
}

func setBody(req *smithyhttp.Request, body io.ReadSeeker) error {
	with, err := req.SetStream(struct{ io.ReadSeeker }{body})
	if err != nil {
		return fmt.Errorf("kinesis: the body of a request: %w", err)
	}
	*req = *with
	return nil
}

// once lets the SDK try again what failed on its way, and not what was refused
// because too much was asked: that is a matter of the reader's pace.
func once(o *sdk.Options) {
	if o.Retryer != nil {
		o.Retryer = calm{o.Retryer}
	}
}

type calm struct{ aws.Retryer }

func (r calm) IsErrorRetryable(err error) bool {
	return throttles.IsErrorThrottle(err) != aws.TrueTernary && r.Retryer.IsErrorRetryable(err)
}

// GetAttemptToken implements [aws.RetryerV2].
func (r calm) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if v2, ok := r.Retryer.(aws.RetryerV2); ok {
		return v2.GetAttemptToken(ctx)
	}
	return r.Retryer.GetInitialToken(), nil
}
