package kinesis

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/millrace/millrace/stream"
)

func pinned(t testing.TB, s *Stream) stream.Position {
	t.Helper()
	at, err := s.Pin(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	back, err := stream.ParsePosition(at.String())
	if err != nil || back != at {
		t.Fatalf("%v is read back as %v, %v", at, back, err)
	}
	return at
}

func TestAPinStaysBetweenWhatWasPutBeforeAndAfter(t *testing.T) {
	for name, c := range map[string]struct {
		quiet time.Duration // before the pin
		clock time.Duration // of the service
	}{
		"at once":                      {},
		"after a moment":               {quiet: 9 * time.Second},
		"after some time":              {quiet: 11 * time.Second},
		"after long":                   {quiet: time.Hour},
		"the service is ahead":         {quiet: time.Minute, clock: time.Hour},
		"the service is ahead, busy":   {clock: time.Hour},
		"the service is behind":        {quiet: time.Minute, clock: -time.Hour},
		"the service is behind, busy":  {clock: -time.Hour},
		"the service is a year behind": {quiet: time.Minute, clock: -365 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, 1)
				s.clock = c.clock
				s.tellsTime = true
				st := s.stream(Config{})
				empty := pinned(t, st)
				s.put(0, 5, 10)
				time.Sleep(c.quiet)
				at := pinned(t, st)
				s.put(0, 5, 10)
				time.Sleep(time.Hour) // and much later, after a restart
				st = s.stream(Config{})
				read(t, openAt(t, st, first, at), 5, 5)
				read(t, openAt(t, st, first, empty), 0, 10)
			})
		})
	}
}

func TestAPinOfABusyShardDoesNotReadAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		st := s.stream(Config{})
		// More than two records of 1 MiB a second: the past is never at its end.
		stop := make(chan struct{})
		done := make(chan struct{})
		s.put(0, 30, 1<<20)
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
					s.put(0, 1, 1<<20)
				}
			}
		}()
		before := len(s.shards[0].records)
		at := pinned(t, st)
		after := len(s.shards[0].records)
		close(stop)
		<-done
		seq, _, ok := at.Sequence()
		if !ok || seq.Less(mustParse(t, s.number(0, before-1))) || mustParse(t, s.number(0, after)).Less(seq) {
			t.Errorf("the pin is %v, want a number from %s to %s", at, s.number(0, before), s.number(0, after))
		}
		if n := s.count("GetRecords"); n > 6 {
			t.Errorf("%d reads", n)
		}
	})
}

func TestAPinOfAClosedShardIsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, quiet := range []time.Duration{0, time.Hour} {
			s := newService(t, 1)
			s.put(0, 5, 10)
			s.split(0)
			time.Sleep(quiet)
			st := s.stream(Config{})
			r := openAt(t, st, first, pinned(t, st))
			if end, ok := errors.AsType[*stream.ShardEndError](r.Next(t.Context(), &stream.Batch{})); !ok || len(end.Children) != 2 {
				t.Errorf("quiet for %v: no end with two children", quiet)
			}
		}
	})
}

func TestAPinIsRefusedWhereNoClockCanBeTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.clock = -time.Minute // and it does not tell
		if at, err := s.stream(Config{}).Pin(t.Context(), first); !errors.Is(err, errClock) {
			t.Errorf("pin: %v, %v", at, err)
		}
	})
}

// dated returns metadata as of an answer with that Date, cut to the second.
func dated(t testing.TB, now time.Time) (m smithymiddleware.Metadata) {
	record := middleware.RecordResponseTiming{}
	_, m, err := record.HandleDeserialize(t.Context(), smithymiddleware.DeserializeInput{}, respondAt(now))
	if err != nil {
		t.Error(err)
	}
	return m
}

// respondAt is a handler whose answer has that Date.
func respondAt(now time.Time) smithymiddleware.DeserializeHandler {
	return smithymiddleware.DeserializeHandlerFunc(func(context.Context, smithymiddleware.DeserializeInput) (smithymiddleware.DeserializeOutput, smithymiddleware.Metadata, error) {
		header := http.Header{"Date": {now.UTC().Format(http.TimeFormat)}}
		return smithymiddleware.DeserializeOutput{RawResponse: &smithyhttp.Response{Response: &http.Response{Header: header}}}, smithymiddleware.Metadata{}, nil
	})
}
