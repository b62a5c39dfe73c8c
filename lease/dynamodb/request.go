package dynamodb

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

const (
	// attempts is how often a request is tried that is not answered: for some
	// seconds, which is more than a coordinator gives to a call.
	attempts = 8
	// patience is how long a request is tried that is throttled. A listing that is
	// short of capacity goes on from the page that it has come to; to begin again
	// would cost all of it a second time.
	patience = time.Minute
	// The pauses between them grow from firstPause to longestPause, and are
	// between half of that and all of it.
	firstPause, longestPause = 25 * time.Millisecond, time.Second
	// concurrency bounds the requests that one call of the store has under way.
	concurrency = 16
)

// once makes the SDK try a request once: its own second attempt would turn a
// write whose answer was lost into a conflict, and not say that there was a first.
func once(o *sdk.Options) { o.Retryer = aws.NopRetryer{} }

// request sends a request until it is answered, its attempts are over, or ctx
// is. unsure says that an attempt before the last one may have taken place. When
// ctx ends the error is why it was tried again, if it was.
func request[In, Out any](ctx context.Context, do func(context.Context, *In, ...func(*sdk.Options)) (*Out, error), in *In) (out *Out, unsure bool, err error) {
	began, unanswered := time.Now(), 0
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return nil, unsure, cmp.Or(err, context.Cause(ctx))
		}
		before := err
		if out, err = do(ctx, in, once); err == nil {
			return out, unsure, nil
		}
		switch fateOf(err) {
		case refused:
			return nil, unsure, err
		case deferred:
			if time.Since(began) > patience || !pause(ctx, attempt) {
				return nil, unsure, err
			}
		case unknown:
			if ctx.Err() != nil {
				return nil, unsure, cmp.Or(before, err)
			}
			if unanswered++; unanswered == attempts || !pause(ctx, attempt) {
				return nil, unsure, err
			}
			unsure = true
		}
	}
}

// pause waits before the next attempt, and reports whether there should be one.
func pause(ctx context.Context, attempt int) bool {
	longest := min(firstPause<<min(attempt-1, 10), longestPause)
	timer := time.NewTimer(longest/2 + rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// parallel calls f for 0 to n-1, some of them at the same time, and returns the
// first error when all have returned. After an error no more are begun.
func parallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tokens := make(chan struct{}, concurrency)
	var calls sync.WaitGroup
	for i := range n {
		tokens <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		calls.Go(func() {
			defer func() { <-tokens }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	calls.Wait()
	return context.Cause(ctx)
}
