package lease

import (
	"context"
	"log/slog"
	"time"
)

// remindEvery is how often a person is told of trouble that lasts, or that
// comes and goes. Of trouble that lasts the first reminders come sooner, each
// after twice the time: the first error is often not the one that stays, as when
// a server is still starting that will then refuse what it is asked. And trouble
// that comes back is told of at once when it has lasted for remindFirst.
const (
	remindEvery = 10 * time.Minute
	remindFirst = 5 * time.Second
)

// trouble is something that is tried again until it works. It is told of when
// it begins, now and then while it lasts, and when it is over: an hour without
// a store is a few lines of log, not thousands. It belongs to one goroutine.
type trouble struct {
	what  string
	since time.Time // of the first failure in a row; zero when all is well
	told  time.Time // when a person was last told
	open  bool      // a person was told of this row of failures
}

// met takes note of a failure.
func (t *trouble) met(ctx context.Context, log *slog.Logger, err error) {
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	if t.quiet(now) {
		log.DebugContext(ctx, t.what+" failed, trying again", "err", err)
		return
	}
	t.told, t.open = now, true
	log.WarnContext(ctx, t.what+" failed, trying again", "err", err, "failing_for", now.Sub(t.since))
}

// quiet reports whether a person knows enough for now.
func (t *trouble) quiet(now time.Time) bool {
	switch {
	case t.told.IsZero():
		return false
	case t.open:
		return now.Sub(t.told) < reminder(t.told.Sub(t.since))
	default: // it was told of, and that it was over
		return now.Sub(t.told) < remindEvery && now.Sub(t.since) < remindFirst
	}
}

// reminder returns how long after a person was told the next reminder comes, of
// what had lasted for so long by then.
func reminder(lasted time.Duration) time.Duration {
	return min(remindEvery, max(remindFirst, lasted))
}

// over takes note of a success.
func (t *trouble) over(ctx context.Context, log *slog.Logger) {
	if t.open {
		log.InfoContext(ctx, t.what+" works again", "failed_for", time.Since(t.since))
	}
	t.since, t.open = time.Time{}, false
}
