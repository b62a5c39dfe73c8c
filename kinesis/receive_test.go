package kinesis

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/semaphore"

	"github.com/millrace/millrace/internal/wire"
)

// endless is a body without an end.
type endless struct {
	read   int
	closed bool
}

func (e *endless) Read(b []byte) (int, error) {
	clear(b)
	e.read += len(b)
	return len(b), nil
}

func (e *endless) Close() error {
	e.closed = true
	return nil
}

func TestAnAnswerThatDoesNotTellItsLengthTakesNoMoreThanItCountsFor(t *testing.T) {
	s, err := New(newService(t, 1), "orders", Config{})
	if err != nil {
		t.Fatal(err)
	}
	body := &endless{}
	resp := &smithyhttp.Response{Response: &http.Response{ContentLength: -1, Body: body}}
	if _, _, err := s.receive(t.Context(), resp, false); !errors.Is(err, errLonger) || !body.closed || body.read > unknownAnswer+1 {
		t.Errorf("%v; the body is closed: %v; %d bytes were read", err, body.closed, body.read)
	}
	for _, most := range []int{1, 1000, smallAnswer, unknownAnswer} {
		var buf []byte
		if err := readAll(&buf, &endless{}, most); !errors.Is(err, errTooMuch) || cap(buf) > max(most+1, smallAnswer) {
			t.Errorf("%d bytes for at most %d, %v", cap(buf), most, err)
		}
		buf = nil
		if err := readAll(&buf, io.LimitReader(&endless{}, int64(most)), most); err != nil || len(buf) != most {
			t.Errorf("%d bytes of %d, %v", len(buf), most, err)
		}
	}
	if !s.receiving.TryAcquire(int64(s.cfg.ReceiveBytes)) {
		t.Error("what came to nothing still counts")
	}
}

func TestALongAnswerThatDoesNotTellItsLengthIsAskedForAgain(t *testing.T) {
	out := answerOf(20, 1<<20)
	answer := inJSON(out)
	if len(answer) < unknownAnswer {
		t.Fatal("the answer is a usual one")
	}
	e := answering(t, Config{Encoding: JSON}, func(w http.ResponseWriter, n int, cbor bool) {
		w.Header().Set("Content-Type", mediaJSON)
		w.(http.Flusher).Flush()
		w.Write(answer)
	})
	wantPage(t, e.Stream, out)
	if len(e.forms) != 2 {
		t.Errorf("%d requests", len(e.forms))
	}
}

// trickle is a body that gives its second half when it is told to.
type trickle struct {
	*bytes.Reader
	half, goOn chan struct{}
}

func (b *trickle) Read(p []byte) (int, error) {
	if b.half != nil && b.Len() <= int(b.Size())/2 {
		close(b.half)
		b.half = nil
		<-b.goOn
	}
	return b.Reader.Read(p[:min(len(p), 100)])
}

func (b *trickle) Close() error { return nil }

func TestEventsCountAmongWhatIsReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1).stream(Config{Stall: 30 * time.Second})
		frame := wire.EndFrame(append(wire.BeginFrame(nil, wire.Header{Name: ":message-type", Value: "event"}, wire.Header{Name: ":event-type", Value: "SubscribeToShardEvent"},
			wire.Header{Name: ":content-type", Value: mediaCBOR}), inCBOR(answerOf(1000, 1000))...), 0)
		s.receiving = semaphore.NewWeighted(int64(len(frame)))
		body := &trickle{bytes.NewReader(frame), make(chan struct{}), make(chan struct{})}
		half := body.half
		c := &subscription{s: s, body: body, released: make(chan struct{})}
		c.ctx, c.cancel = context.WithCancelCause(t.Context())
		c.watch()
		defer c.close()
		if !s.receiving.TryAcquire(1) {
			t.Fatal("something is received already")
		}
		next := make(chan error, 1)
		go func() {
			p, err := c.next()
			if err == nil && p.left() != 1000 {
				err = errAnswer
			}
			next <- err
		}()
		// It waits for as long as others receive, and that is no silence.
		time.Sleep(time.Hour)
		select {
		case <-half:
			t.Fatal("an event is received without room for it")
		case err := <-next:
			t.Fatal(err)
		default:
		}
		s.receiving.Release(1)
		<-half
		if s.receiving.TryAcquire(1) {
			t.Error("an event that is received does not count")
		}
		close(body.goOn)
		if err := <-next; err != nil {
			t.Error(err)
		}
		if !s.receiving.TryAcquire(int64(len(frame))) {
			t.Error("an event that was received still counts")
		}
	})
}

// slowly is a body that takes its time to be let go of.
type slowly struct{ gone bool }

func (s *slowly) Read([]byte) (int, error) { return 0, io.EOF }

func (s *slowly) Close() error {
	time.Sleep(time.Second)
	s.gone = true
	return nil
}

func TestAClosedSubscriptionHasLetGoOfItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cancelled := range []bool{false, true} {
			body := &slowly{}
			c := &subscription{s: newService(t, 1).stream(Config{}), body: body, released: make(chan struct{})}
			c.ctx, c.cancel = context.WithCancelCause(t.Context())
			c.watch()
			if cancelled {
				c.cancel(errServed)
			}
			c.close()
			if !body.gone {
				t.Errorf("cancelled before: %v; the connection is still held", cancelled)
			}
		}
	})
}
