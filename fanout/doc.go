// Package fanout reads a stream by push, with the face of a stream that is
// pulled: what takes a [stream.Stream] takes a fanned-out one.
//
//	Open ──► register the consumer (once, shared by all shards)
//	           │
//	           ▼                        one batch at a time
//	Subscriber.Subscribe ──► pump ──────────────────────► Reader.Next
//	  the stream pushes       │  ◄──── used up ──────────
//	                          └ waits for Next: so the subscription is not read,
//	                            and the stream holds what has not been asked for
//
// A stream that is polled answers when it is asked; one that pushes sends a
// record the moment it is there, and to each consumer at full speed. [Use] takes
// a stream that pushes to anybody ([stream.Subscriber]: the built-in engine) or
// to consumers that are registered by name ([stream.Registrar]: Kinesis Data
// Streams with enhanced fan-out).
//
//	s, err := fanout.Use(kinesisStream, "billing", fanout.Config{})
//	…
//	w, err := worker.New(worker.Config{Streams: []stream.Stream{s}, …})
//
// A consumer is registered when the first shard is opened, and stays so when the
// program ends: the fleet comes back to it, and others may be using it. It costs
// money at Amazon's, and one of the few places that a stream has for consumers;
// [Stream.Deregister] gives both back. Two applications need two names: a
// stream gives each shard to one subscription of a consumer at a time.
//
// How long a subscription may be silent, and when another one is begun, is a
// matter of the stream: see kinesis.Config. A shard that changes hands within five
// seconds after its subscription began is pushed to its next holder when these
// are over, for Kinesis refuses it before.
//
// Memory is bounded: a reader holds one pushed batch ([Config.BufferBytes]) and
// what the subscription itself has under way. When Next is not called, nothing
// more is taken from the subscription.
//
// Errors of the subscription come out of Next, which subscribes again behind the
// last record that it gave: nothing is lost, nothing comes twice.
package fanout
