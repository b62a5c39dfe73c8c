package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/millrace/millrace/internal/unset"
	"github.com/millrace/millrace/internal/wire"
)

// subscription is one answer of SubscribeToShard: a stream of events, which
// Kinesis ends after five minutes. It belongs to one goroutine; only cancel may
// be called by others.
type subscription struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	events *sdk.SubscribeToShardEventStream // instead of body: the SDK decodes
	begun  time.Time
	s      *Stream

	watchdog *time.Timer   // cancels while next waits for too long
	unwatch  func() bool   // undoes that the end of ctx lets go of the connection
	released chan struct{} // closed when that has been done

	came  int              // how many events
	small [smallFrame]byte // for frames that are
}

var (
	// errStalled says that a subscription gave no sign of life. Kinesis sends an
	// event every five seconds at least, with records or without.
	errStalled = errors.New("the subscription gave no sign of life")
	// errServed says that a subscription was served until its end.
	errServed = errors.New("the subscription has ended")
)

// begin calls SubscribeToShard. The SDK signs, sends, retries, and reads what is
// no success; what follows a success is read by next.
func (s *Stream) begin(ctx context.Context, client ConsumerClient, in *sdk.SubscribeToShardInput, options ...func(*sdk.Options)) (*subscription, error) {
	c := &subscription{s: s, released: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	slow := time.AfterFunc(s.cfg.Timeout, func() { c.cancel(fmt.Errorf("kinesis: no answer in %v (Config.Timeout)", s.cfg.Timeout)) })
	out, err := client.SubscribeToShard(c.ctx, in, append(options, sdk.WithAPIOptions(c.takeBody))...)
	slow.Stop()
	if err == nil && c.body == nil {
		if c.events = out.GetStream(); c.events == nil {
			err = fmt.Errorf("%w: no event stream in it", errAnswer)
		}
	}
	if c.ctx.Err() != nil {
		err = context.Cause(c.ctx)
	}
	if err != nil {
		c.cancel(err)
		c.release()
		return nil, err
	}
	c.begun = time.Now()
	c.watch()
	return c, nil
}

// watch makes the end of ctx let go of the connection, which ends a read, and
// silence end ctx.
func (c *subscription) watch() {
	c.unwatch = context.AfterFunc(c.ctx, func() {
		defer close(c.released)
		c.release()
	})
	stall := c.s.cfg.Stall
	c.watchdog = time.AfterFunc(stall, func() { c.cancel(fmt.Errorf("%w for %v (Config.Stall)", errStalled, stall)) })
	c.watchdog.Stop()
}

// takeBody puts itself in the place of the SDK's own reader of events, which
// decodes through several goroutines and channels, and at this version shares a
// codec between the subscriptions of a client that is not made for it.
func (c *subscription) takeBody(stack *middleware.Stack) error {
	const theirs = "OperationEventStreamDeserializer"
	if _, ok := stack.Deserialize.Get(theirs); !ok {
		return nil // another version, which decodes by itself
	}
	_, err := stack.Deserialize.Swap(theirs, middleware.DeserializeMiddlewareFunc("TakeEventStream",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
			out, metadata, err = next.HandleDeserialize(ctx, in)
			response, ok := out.RawResponse.(*smithyhttp.Response)
			switch {
			case err != nil && ok:
				response.Body.Close()
			case err == nil && ok:
				c.body = response.Body
			}
			return out, metadata, err
		}))
	return err
}

// close ends the subscription, and returns when the connection is let go of. The
// next call for its shard ends it on the server's side, which does not wait for
// ours.
func (c *subscription) close() {
	watched := c.unwatch()
	c.cancel(errServed)
	c.watchdog.Stop()
	if watched {
		c.release()
	} else {
		<-c.released
	}
}

// release lets go of the connection.
func (c *subscription) release() {
	if c.body != nil {
		c.body.Close()
	}
	if c.events != nil {
		c.events.Close()
	}
}

// next waits for the next event and returns its records; page.next is the
// sequence number behind which to go on, "" at the end of the shard. A clean end
// of the subscription is errServed.
func (c *subscription) next() (*page, error) {
	c.watchdog.Reset(c.s.cfg.Stall)
	var p *page
	var err error
	if c.events != nil {
		p, err = nextOf(c.ctx, c.events)
	} else {
		p, err = c.read()
	}
	c.watchdog.Stop()
	if err == nil {
		c.came++
	}
	if err != nil && c.ctx.Err() != nil {
		err = context.Cause(c.ctx)
	}
	return p, err
}

const (
	prelude = 12 // of a frame: its length, and what is needed to trust it
	// smallFrame is what an event without records fits in.
	smallFrame = 512
)

// frames are buffers for larger frames. They are needed while one is received
// and decoded, and not while its records are handled. Those of all subscriptions
// together take no more than Config.ReceiveBytes, which answers take from, too.
var frames sync.Pool

func (c *subscription) read() (*page, error) {
	for {
		if _, err := io.ReadFull(c.body, c.small[:prelude]); err == io.EOF {
			return nil, errServed
		} else if err != nil {
			return nil, fmt.Errorf("read an event: %w", err)
		}
		size, err := wire.FrameSize(c.small[:prelude])
		if err != nil {
			return nil, err
		}
		p, err := c.receive(size)
		if p != nil || err != nil {
			return p, err
		}
	}
}

// receive reads the rest of a frame of that many bytes, and decodes it. What is
// no event gives nil.
func (c *subscription) receive(size int) (*page, error) {
	frame := c.small[:min(size, smallFrame)]
	if size > smallFrame {
		release, err := c.room(size)
		if err != nil {
			return nil, err
		}
		defer release()
		buf, _ := frames.Get().(*[]byte)
		if buf == nil || cap(*buf) < size {
			fresh := unset.Bytes(max(size, 64<<10))
			buf = &fresh
		}
		if cap(*buf) <= keptAnswer {
			defer frames.Put(buf)
		}
		frame = (*buf)[:size]
		copy(frame, c.small[:prelude])
	}
	if _, err := io.ReadFull(c.body, frame[prelude:]); err != nil {
		return nil, fmt.Errorf("read an event of %d bytes: %w", size, err)
	}
	p, err := decodeFrame(frame, c.s.form.toSDK.Load())
	if errors.Is(err, errUnusual) {
		// It has been rewritten: another subscription will be given it again.
		c.s.form.toSDK.Store(true)
	}
	return p, err
}

// room waits until a frame may be received. Meanwhile the service is not silent,
// but not listened to.
func (c *subscription) room(size int) (release func(), err error) {
	c.watchdog.Stop()
	defer c.watchdog.Reset(c.s.cfg.Stall)
	return c.s.room(c.ctx, int64(size))
}

// decodeFrame decodes a whole frame, and rewrites it meanwhile. It returns
// neither a page nor an error for what is no event, and the error that an
// exception tells of.
func decodeFrame(frame []byte, toSDK bool) (*page, error) {
	f, err := wire.ParseFrame(frame)
	if err != nil {
		return nil, err
	}
	form := string(f.Header(":content-type"))
	switch kind := f.Header(":message-type"); string(kind) {
	case "event":
	case "exception":
		return nil, exception(string(f.Header(":exception-type")), f.Payload, form)
	case "error":
		return nil, &smithy.GenericAPIError{Code: string(f.Header(":error-code")), Message: string(f.Header(":error-message"))}
	default:
		return nil, fmt.Errorf("%w: a message of the type %q", wire.ErrFrame, clip(string(kind)))
	}
	if string(f.Header(":event-type")) != "SubscribeToShardEvent" {
		return nil, nil // the initial response, and what may come to be
	}
	switch {
	case form == mediaCBOR:
		return decodeCBOR(f.Payload, time.Millisecond)
	case form == mediaSmithyRPC:
		return decodeCBOR(f.Payload, time.Second)
	case toSDK:
		return decodeBySDK(frame)
	}
	return decodeJSON(f.Payload)
}

// exception returns the error that an event stream ended with, as the SDK would.
func exception(kind string, payload []byte, form string) error {
	text := exceptionMessage(payload, form)
	message := &text
	switch kind {
	case "ResourceNotFoundException":
		return &types.ResourceNotFoundException{Message: message}
	case "ResourceInUseException":
		return &types.ResourceInUseException{Message: message}
	case "InternalFailureException":
		return &types.InternalFailureException{Message: message}
	case "KMSAccessDeniedException":
		return &types.KMSAccessDeniedException{Message: message}
	case "KMSDisabledException":
		return &types.KMSDisabledException{Message: message}
	case "KMSInvalidStateException":
		return &types.KMSInvalidStateException{Message: message}
	case "KMSNotFoundException":
		return &types.KMSNotFoundException{Message: message}
	case "KMSOptInRequired":
		return &types.KMSOptInRequired{Message: message}
	case "KMSThrottlingException":
		return &types.KMSThrottlingException{Message: message}
	}
	return &smithy.GenericAPIError{Code: kind, Message: text}
}

// exceptionMessage reads the message of an exception as far as it can be read.
func exceptionMessage(payload []byte, form string) (message string) {
	var r wire.Reader
	if form == mediaCBOR || form == mediaSmithyRPC {
		cbor := wire.NewCBOR(payload, time.Millisecond)
		r = &cbor
	} else {
		json := wire.NewJSON(payload)
		r = &json
	}
	for r.Object(); r.Member(); {
		switch string(r.Key()) {
		case "message", "Message":
			message = string(r.Text())
		default:
			r.Skip()
		}
	}
	return message
}
