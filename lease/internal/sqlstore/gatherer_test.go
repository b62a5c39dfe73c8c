package sqlstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// airline is a Gatherer whose flights take as long as is said, and that notes
// who was on which.
type airline struct {
	Gatherer[call]
	takes time.Duration
	fails func(all []int) error

	mu      sync.Mutex
	flights [][]int
	ended   int // flights
}

type call struct{ question, answer int }

func newAirline(takes time.Duration, most int) *airline {
	a := &airline{takes: takes}
	a.Gatherer = Gatherer[call]{Most: most, Fly: a.flight}
	return a
}

func (a *airline) ask(ctx context.Context, question int) (answer int, err error) {
	c := &call{question: question}
	if err := a.Do(ctx, c); err != nil {
		return 0, err
	}
	return c.answer, nil
}

func (a *airline) flight(ctx context.Context, calls []*call) error {
	all := make([]int, len(calls))
	for i, c := range calls {
		all[i] = c.question
	}
	a.mu.Lock()
	a.flights = append(a.flights, all)
	a.mu.Unlock()
	select {
	case <-time.After(a.takes):
	case <-ctx.Done():
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended++
		return ctx.Err()
	}
	if a.fails != nil {
		if err := a.fails(all); err != nil {
			return err
		}
	}
	for _, c := range calls {
		c.answer = -c.question
	}
	return nil
}

func TestALoneCallGoesAtOnceAndThoseThatWaitGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirline(time.Second, 4)
		began := time.Now()
		var wg sync.WaitGroup
		landed := make([]time.Duration, 8)
		for n := 1; n < 8; n++ {
			wg.Go(func() {
				answer, err := a.ask(t.Context(), n)
				if answer != -n || err != nil {
					t.Errorf("%d was answered %d, error %v", n, answer, err)
				}
				landed[n] = time.Since(began)
			})
			synctest.Wait()
		}
		wg.Wait()
		if want := [][]int{{1}, {2, 3, 4, 5}, {6, 7}}; !slices.EqualFunc(a.flights, want, slices.Equal) {
			t.Errorf("flights %v, want %v", a.flights, want)
		}
		want := []time.Duration{0, 1, 2, 2, 2, 2, 3, 3}
		for n := range landed {
			if landed[n] != want[n]*time.Second {
				t.Errorf("%d landed after %v, want %d s", n, landed[n], want[n])
			}
		}
		// And the next one is alone again.
		if _, err := a.ask(t.Context(), 9); err != nil || time.Since(began) != 4*time.Second {
			t.Errorf("a lone call landed after %v, error %v", time.Since(began), err)
		}
	})
}

func TestAFailedFlightIsUnknownToAllWhoWereAboardAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirline(time.Second, 10)
		var wg sync.WaitGroup
		call := func(n int, want error) {
			wg.Go(func() {
				if _, err := a.ask(t.Context(), n); !errors.Is(err, want) {
					t.Errorf("%d: got error %v, want %v", n, err, want)
				}
			})
			synctest.Wait()
		}
		storm := errors.New("storm")
		a.fails = func(all []int) error {
			if slices.Contains(all, 3) {
				return storm
			}
			return nil
		}
		call(1, nil)
		call(2, storm)
		call(3, storm)
		time.Sleep(time.Second)
		synctest.Wait()
		call(4, nil)
		wg.Wait()
	})
}

func TestWhoseContextEndsLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirline(time.Hour, 10)
		gone := errors.New("gone")
		began := time.Now()
		var wg sync.WaitGroup
		call := func(n int, patience time.Duration) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), patience, gone)
			wg.Go(func() {
				defer cancel()
				_, err := a.ask(ctx, n)
				if left := time.Since(began); errors.Is(err, gone) != (left == patience) || err == nil && left < time.Hour {
					t.Errorf("%d left after %v with error %v, its patience is %v", n, left, err, patience)
				}
			})
			synctest.Wait()
		}
		call(1, 3*time.Hour)
		call(2, time.Minute)    // waits for a flight that it will not be aboard of
		call(3, 3*time.Hour)    // takes it
		call(4, 90*time.Minute) // leaves it in the air
		wg.Wait()
		if want := [][]int{{1}, {3, 4}}; !slices.EqualFunc(a.flights, want, slices.Equal) {
			t.Errorf("flights %v, want %v", a.flights, want)
		}
		if a.ended > 0 {
			t.Errorf("%d flights were ended while somebody waited for them", a.ended)
		}
	})
}

func TestAFlightThatNobodyWaitsForIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirline(time.Hour, 10)
		began := time.Now()
		var wg sync.WaitGroup
		call := func(n int, patience time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			wg.Go(func() {
				defer cancel()
				if _, err := a.ask(ctx, n); err == nil {
					t.Errorf("%d was answered", n)
				}
			})
			synctest.Wait()
		}
		call(1, 3*time.Minute)
		call(2, time.Minute) // a group of two, whom nobody is left of when its turn comes
		call(3, 2*time.Minute)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		call(4, 5*time.Minute) // takes off when 1 has left, and is ended, too
		call(5, 10*time.Minute)
		wg.Wait()
		if want := [][]int{{1}, {4, 5}}; !slices.EqualFunc(a.flights, want, slices.Equal) || a.ended != 2 {
			t.Errorf("flights %v, of which %d were ended; want %v and both", a.flights, a.ended, want)
		}
		if over := time.Since(began); over != 12*time.Minute {
			t.Errorf("over after %v, want 12m0s: when the last one left", over)
		}
		// The airline goes on.
		if answer, err := a.ask(t.Context(), 6); answer != -6 || err != nil {
			t.Errorf("got %d, error %v", answer, err)
		}
	})
}

func TestManyCallsInAnyOrderGetTheirOwnAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirline(time.Millisecond, 7)
		var wg sync.WaitGroup
		for n := 1; n <= 2000; n++ {
			wg.Go(func() {
				time.Sleep(time.Duration(n*7919%5000) * time.Microsecond)
				ctx := t.Context()
				if n%3 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(n*31%400)*time.Millisecond)
					defer cancel()
				}
				if answer, err := a.ask(ctx, n); err == nil && answer != -n || err != nil && n%3 != 0 {
					t.Errorf("%d was answered %d, error %v", n, answer, err)
				}
			})
		}
		wg.Wait()
		if n := a.Waiting(); a.flying || n > 0 {
			t.Errorf("in the end: flying %v, %d calls wait", a.flying, n)
		}
	})
}
