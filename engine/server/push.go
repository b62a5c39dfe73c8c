package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/millrace/millrace/stream"
)

// push is a subscription's way to its client. At rest it keeps no records and no
// buffer: only its goroutine, and what the connection has.
//
//	         ┌──────────────── 2 MiB a second, where limits are kept ◄─┐
//	         ▼                                                         │
//	read without waiting ─► records, or time for an event? ─► event ───┘
//	         ▲                        │ neither               the client takes it
//	         └── wait for either ◄────┘
type push struct {
	server   *Server
	call     *call
	control  *http.ResponseController
	timer    *time.Timer
	consumer consumerView
	shard    string
	from     stream.Position
	// due is when there has to be an event, be it without records; free is when
	// the consumer's throughput allows one with records; check is when the consumer
	// is looked at again.
	due, free, check time.Time
}

const (
	// heartbeat is how long there is no event at most. Clients of Java give up a
	// connection that is silent for 10 s, and are promised an event each 5 s.
	heartbeat = 4 * time.Second
	// eventBytes is how much one event has, in bytes of data and partition keys.
	eventBytes = 256 << 10
	// dedicatedBytes is what a consumer gets of a shard in a second.
	dedicatedBytes = 2 << 20
	// lastWrite is how long a client may take to read what is under way when its
	// subscription ends.
	lastWrite = 5 * time.Second
)

// Ends of a subscription that need no word.
var (
	errTimeOver   = errors.New("the five minutes are over")
	errShardEnded = errors.New("the shard has ended")
	errClientGone = errors.New("the client has gone")
)

// serve writes the event stream, until the time is over, the shard has ended, or
// something else has ended the subscription.
func (p *push) serve(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, subscriptionLife, errTimeOver)
	defer cancel()
	p.control = http.NewResponseController(p.call.w)
	unbound := p.boundWrites(ctx)
	defer unbound()
	p.timer = time.NewTimer(0)
	defer p.timer.Stop()
	p.call.label()
	p.call.w.Header().Set("Content-Type", eventStream)
	p.call.begin(http.StatusOK)
	err := p.send(appendInitialResponse(p.call.protocol, borrow(0)))
	if err == nil {
		err = p.run(ctx)
	}
	switch {
	case errors.Is(err, errTakenOver):
		err = subscribed(p.consumer.arn)
	case errors.Is(err, errTimeOver), errors.Is(err, errShardEnded), errors.Is(err, errClientGone), errors.Is(err, errDrained), p.call.ctx.Err() != nil:
		return
	}
	f := p.server.translate(err)
	p.send(appendException(p.call.protocol, borrow(0), f))
}

// boundWrites lets no client hold the subscription much beyond its end by not
// reading: what net/http writes behind the last event is bounded, too, once unbound
// is called. The server's own timeouts are not meant for it.
func (p *push) boundWrites(ctx context.Context) (unbound func()) {
	p.control.SetReadDeadline(time.Time{})
	p.control.SetWriteDeadline(time.Time{})
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.control.SetWriteDeadline(time.Now().Add(lastWrite))
		close(set)
	})
	return func() {
		if stop() {
			p.control.SetWriteDeadline(time.Now().Add(lastWrite))
			return
		}
		<-set
	}
}

// run sends events until the context ends, whose cause it returns, or another
// error.
func (p *push) run(ctx context.Context) error {
	for {
		p.wait(ctx, nil, p.free)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more, err := p.forward(ctx)
		if err != nil {
			return err
		}
		if more != nil {
			p.wait(ctx, more, p.due)
		}
	}
}

// wait returns when there is more, at a time, or when the context ends.
func (p *push) wait(ctx context.Context, more <-chan struct{}, until time.Time) {
	d := time.Until(until)
	if d <= 0 {
		return
	}
	p.timer.Reset(d)
	select {
	case <-more:
	case <-p.timer.C:
	case <-ctx.Done():
	}
}

// forward reads once, and sends an event when there are records or it is time.
// More is closed when there are more; nil when there may be some now.
func (p *push) forward(ctx context.Context) (more <-chan struct{}, err error) {
	var held share
	answers := p.server.budget.answers
	granted := answers.portion(eventBytes, leastRead)
	one, most := p.consumer.of.MaxRecordBytes(), granted/aroundRecord
	need := max(granted+bufferSize(1<<10+inBase64(granted)+granted), one+bufferSize(2<<10+inBase64(one)))
	if err := held.take(ctx, answers, need, 0); err != nil {
		return nil, err
	}
	defer held.release()
	b := batches.Get().(*stream.Batch)
	defer giveBatch(b)
	b.MaxRecords, b.MaxBytes, b.MaxFootprint = most, granted, 0
	page, err := p.server.read(ctx, p.consumer.of.ReadDedicated, p.consumer.of, p.shard, p.from, b)
	if err != nil {
		return nil, err
	}
	p.from = page.Next
	now := time.Now()
	if len(b.Records) == 0 && page.End == nil && now.Before(p.due) {
		return page.More, nil
	}
	if !now.Before(p.check) { // somebody may have deregistered the consumer meanwhile
		if p.consumer, err = p.server.activeConsumer(p.consumer.arn); err != nil {
			return nil, err
		}
		p.check = now.Add(heartbeat)
	}
	e := event{batch: b, done: page.Done, end: page.End, encrypted: p.consumer.of.known.KeyID != ""}
	size := b.Bytes
	frame := e.append(p.call.protocol, borrow(answerSize(b)))
	b.Reset() // the frame is all that is kept while the client is slow
	held.resize(cap(frame))
	held.move(p.call.w, false)
	err = p.send(frame)
	if held.rest() {
		p.server.tellSlow(p.call.request)
		err = errClientGone
	}
	if err != nil {
		return nil, err
	}
	if page.End != nil {
		return nil, errShardEnded
	}
	now = time.Now()
	p.due = now.Add(heartbeat)
	if p.server.limited() {
		if p.free.Before(now) {
			p.free = now
		}
		p.free = p.free.Add(time.Duration(size) * time.Second / dedicatedBytes)
	}
	return page.More, nil
}

// send writes a frame to the client, who has it when it returns, and gives its
// memory back.
func (p *push) send(frame []byte) error {
	_, err := p.call.w.Write(frame)
	if err == nil {
		err = p.control.Flush()
	}
	if err != nil {
		return errClientGone // HTTP/2 may still be reading from the frame
	}
	giveBack(frame)
	return nil
}
