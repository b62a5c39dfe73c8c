package kinesis

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"net/http"

	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/millrace/millrace/internal/wire"
)

// invitation is how one SubscribeToShard goes over the wire: in the SDK's
// protocol, but that it may ask in CBOR. The events come in the form that was
// asked in, and each says which one it is.
type invitation struct {
	sturdy // the SDK's own
	cbor   bool
}

// plug puts the invitation into the options of a request.
func (i *invitation) plug(o *sdk.Options) {
	i.sturdy = sturdy{o.Protocol}
	if o.Protocol.ID().Name != "awsJson1_1" {
		i.cbor = false // the user has chosen
	}
	o.Protocol = i
	once(o)
}

// SerializeRequest writes the request in CBOR, or lets the SDK do it in JSON.
func (i *invitation) SerializeRequest(ctx context.Context, op *smithy.OperationSchema, in smithy.Serializable, req *smithyhttp.Request) error {
	input, ok := in.(*sdk.SubscribeToShardInput)
	if !i.cbor || !ok {
		return i.sturdy.SerializeRequest(ctx, op, in, req)
	}
	req.Method = http.MethodPost
	if req.URL.Path == "" {
		req.URL.Path = "/"
	}
	req.Header.Set("Content-Type", mediaCBOR)
	req.Header.Set("X-Amz-Target", "Kinesis_20131202.SubscribeToShard")
	return setBody(req, bytes.NewReader(appendInvitation(nil, input)))
}

func appendInvitation(body []byte, in *sdk.SubscribeToShardInput) []byte {
	text := func(name string, value *string) {
		if value != nil {
			body = wire.AppendCBORText(wire.AppendCBORText(body, name), *value)
		}
	}
	body = wire.BeginCBORMap(body)
	text("ConsumerARN", in.ConsumerARN)
	text("ShardId", in.ShardId)
	if at := in.StartingPosition; at != nil {
		body = wire.BeginCBORMap(wire.AppendCBORText(body, "StartingPosition"))
		kind := string(at.Type)
		text("Type", &kind)
		text("SequenceNumber", at.SequenceNumber)
		if at.Timestamp != nil {
			body = wire.AppendCBORMillis(wire.AppendCBORText(body, "Timestamp"), at.Timestamp.UnixMilli())
		}
		body = wire.EndCBOR(body)
	}
	return wire.EndCBOR(body)
}

// DeserializeResponse reads what is no success, in the form that it comes in.
func (i *invitation) DeserializeResponse(ctx context.Context, op *smithy.OperationSchema, registry *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable) error {
	spoken, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300 && spoken != "application/vnd.amazon.eventstream":
		return &smithy.DeserializationError{Err: fmt.Errorf("%w: %q instead of an event stream", errAnswer, clip(spoken))}
	case spoken == mediaCBOR || spoken == mediaSmithyRPC:
		return rpcCBOR.DeserializeResponse(ctx, op, registry, resp, out)
	}
	return i.ClientProtocol.DeserializeResponse(ctx, op, registry, resp, out)
}

// subscribe begins a subscription, in CBOR where the endpoint speaks it: see
// [Stream.getRecords].
func (u *subscriber) subscribe(ctx context.Context, in *sdk.SubscribeToShardInput) (*subscription, error) {
	s := u.s
	state := s.form.cbor.Load()
	cbor := s.cfg.Encoding == CBOR || s.cfg.Encoding == Auto && state != refused && !s.form.toSDK.Load()
	c, cbor, err := u.invite(ctx, in, cbor)
	switch {
	case err == nil && cbor && state == untried:
		s.form.cbor.CompareAndSwap(untried, spoken)
	case err != nil && ctx.Err() == nil && cbor && s.cfg.Encoding == Auto && state == untried && !answered(err):
		why := err
		if c, _, err = u.invite(ctx, in, false); err == nil || answered(err) {
			if s.form.cbor.Swap(refused) != refused {
				s.cfg.Logger.InfoContext(ctx, "the endpoint does not speak CBOR, going on in JSON", "stream", s.target.text, "err", why)
			}
		}
	}
	return c, err
}

// invite calls SubscribeToShard once. It returns whether that was in CBOR.
func (u *subscriber) invite(ctx context.Context, in *sdk.SubscribeToShardInput, cbor bool) (*subscription, bool, error) {
	i := &invitation{cbor: cbor}
	c, err := u.s.begin(ctx, u.client, in, func(o *sdk.Options) {
		if u.http != nil {
			o.HTTPClient = u.http
		}
		i.plug(o)
	})
	return c, i.cbor, err
}

// answered reports whether an error shows that the endpoint has understood the
// request.
func answered(err error) bool { return understood[code(err)] || is[*types.ResourceInUseException](err) }
