package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/stream"
)

// pinWindow is how much of a shard's end is looked at for its last record. Half
// of it is what the clocks of the service may differ by, from one another and
// from the Date of its answers, which is cut to the second.
const pinWindow = 10 * time.Second

// Pin returns a position at the end of the shard that stays: see
// [stream.Stream]. It is behind the last record, or before the next one, by its
// number, where the shard had a record in the last ten seconds. Otherwise it is
// a time, five seconds ago by the service's clock: nothing arrived since then,
// and what comes will arrive later, as long as the service's clocks agree within
// five seconds. The clock of this machine does not matter.
func (s *Stream) Pin(ctx context.Context, shardID string) (stream.Position, error) {
	at, err := s.pin(ctx, shardID)
	if err != nil {
		return stream.Position{}, fmt.Errorf("pin: %w", err)
	}
	return at, nil
}

var errClock = errors.New("the service does not tell its time, and this machine's clock is ahead of it: set the clock")

// pin looks at the shard from ten seconds ago to its end. That may take long
// where much comes in: but then a record comes soon at the end, too.
//
//	    ─── ten seconds ───►│◄─ tip: an iterator at the end, of the moment of the call
//	▼ past                  ▼
//	■■  ■ ■■■    ■■   ■   ■■│■
//	                      ▲  ▲
//	         After(last) ─┘  └─ At(first)
func (s *Stream) pin(ctx context.Context, shardID string) (stream.Position, error) {
	tip := s.newFeed(shardID, stream.Latest)
	if err := tip.renew(ctx); err != nil {
		return stream.Position{}, err
	}
	now := tip.clock
	past := s.newFeed(shardID, stream.AtTime(now.Add(-pinWindow)))
	var last stream.Position
	for {
		p, err := past.next(ctx, s.cfg.PageBytes)
		if err != nil {
			return stream.Position{}, err
		}
		if past.since != 0 {
			return stream.Position{}, fmt.Errorf("kinesis: %s of %s: %w", shardID, s.target.text, errClock)
		}
		if n := len(p.entries); n > 0 {
			last = stream.After(p.entries[n-1].seq)
		}
		atEnd := p.behind == 0 || p.next == ""
		p.release()
		switch {
		case atEnd && last.IsZero():
			return stream.AtTime(now.Add(-pinWindow / 2)), nil
		case atEnd:
			return last, nil
		}
		if p, err = tip.next(ctx, 1); err != nil {
			return stream.Position{}, err
		}
		if len(p.entries) > 0 {
			return stream.At(p.entries[0].seq), nil
		}
	}
}
