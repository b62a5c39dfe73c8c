package server

import (
	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

// The frames of an event stream that answers SubscribeToShard:
//
//	initial-response │ SubscribeToShardEvent │ SubscribeToShardEvent │ … │ end, or exception
//
// SDKs wait for the first one before they give their callers anything.

const eventStream = "application/vnd.amazon.eventstream"

// payloadType labels what is in the frames.
func (p protocol) payloadType() string {
	if p == json11 {
		return "application/json"
	}
	return p.contentType()
}

// frame appends a frame whose payload is written by f.
func frame(p protocol, dst []byte, kind, name string, f func(*document)) []byte {
	start := len(dst)
	dst = wire.BeginFrame(dst,
		wire.Header{Name: ":message-type", Value: kind},
		wire.Header{Name: ":" + kind + "-type", Value: name},
		wire.Header{Name: ":content-type", Value: p.payloadType()},
	)
	d := document{p: p, buf: dst}
	d.begin('{')
	f(&d)
	d.end('}')
	return wire.EndFrame(d.buf, start)
}

func appendInitialResponse(p protocol, dst []byte) []byte {
	return frame(p, dst, "event", "initial-response", func(*document) {})
}

func appendException(p protocol, dst []byte, f *fault) []byte {
	return frame(p, dst, "exception", f.name, func(d *document) {
		d.name("message")
		d.text(f.message)
	})
}

// event is one SubscribeToShardEvent.
type event struct {
	batch *stream.Batch
	// done is a sequence number up to which everything has been sent: where to
	// subscribe again behind.
	done stream.Sequence
	// end is set when the shard has ended. The event is the last one then, and
	// has no place to go on from.
	end       *stream.ShardEndError
	encrypted bool
}

func (e *event) append(p protocol, dst []byte) []byte {
	return frame(p, dst, "event", "SubscribeToShardEvent", func(d *document) {
		d.name("Records")
		d.begin('[')
		for i := range e.batch.Records {
			d.record(&e.batch.Records[i], e.encrypted)
		}
		d.end(']')
		if e.end != nil {
			d.children(e.end)
		} else {
			d.name("ContinuationSequenceNumber")
			d.sequence(e.done)
		}
		d.name("MillisBehindLatest")
		d.int(behind(e.batch))
	})
}
