package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Listening sends nothing, so a connection that was cut off without a word is
// found only by asking: each askEvery, with answerWithin to answer.
const (
	askEvery     = 15 * time.Second
	answerWithin = 5 * time.Second
)

// asking is how often a connection is asked that is silent, and within what time it
// has to answer.
type asking struct{ every, within time.Duration }

// Changes implements [lease.Notifier]. It takes a connection out of the pool
// (which may open another one instead), listens on it, and closes it in the
// end. It wakes once at the beginning, because something may have changed
// before it began to listen. It returns the cause of ctx, or the error that
// ended its connection. With [Config.PollOnly] it only waits for ctx.
func (s *Store) Changes(ctx context.Context, wake func()) error {
	if s.channel == "" {
		<-ctx.Done()
		return failed(ctx, ctx.Err(), "listen for changes")
	}
	if err := s.listen(ctx, wake); err != nil {
		return failed(ctx, err, "listen for changes")
	}
	return nil
}

func (s *Store) listen(ctx context.Context, wake func()) error {
	conn, done, err := s.dedicated(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize())
		return err
	})
	if err != nil {
		return err
	}
	defer done()
	return relay(ctx, func(ctx context.Context) error { return nextNotification(ctx, conn, asking{askEvery, answerWithin}) }, wake)
}

// relay calls wake at once and then whenever next has returned, until next
// fails or ctx is done. wake may block: what comes meanwhile is one call.
func relay(ctx context.Context, next func(context.Context) error, wake func()) error {
	heard := make(chan struct{}, 1)
	heard <- struct{}{}
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil) // wake may panic
	wg.Go(func() {
		for {
			if err := next(ctx); err != nil {
				cancel(err)
				return
			}
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	})
	for {
		select {
		case <-heard:
			wake()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// nextNotification returns when there is one. It fails when the server does not
// answer in time. Nobody else uses the connection.
func nextNotification(ctx context.Context, conn *pgx.Conn, ask asking) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, ask.every)
		_, err := conn.WaitForNotification(waiting)
		quiet := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !quiet {
			return err
		}
		asking, cancel := context.WithTimeout(ctx, ask.within)
		err = conn.Ping(asking)
		cancel()
		if err != nil {
			return fmt.Errorf("the connection does not answer: %w", err)
		}
	}
}
