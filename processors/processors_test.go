package processors

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
)

type panicking struct {
	Base
	value any
}

func (p panicking) Initialize(context.Context, Start) error                          { panic(p.value) }
func (p panicking) ProcessRecords(context.Context, *Batch) error                     { panic(p.value) }
func (p panicking) ShutdownRequested(context.Context, checkpoint.Checkpointer) error { panic(p.value) }
func (p panicking) ShardEnded(context.Context, checkpoint.Checkpointer) error        { panic(p.value) }
func (p panicking) LeaseLost(context.Context, error)                                 { panic(p.value) }

func TestAPanicInAnyCallbackBecomesAnError(t *testing.T) {
	cause := errors.New("index out of range, say")
	p := Recover(panicking{value: cause})
	ctx := t.Context()
	for name, err := range map[string]error{
		"Initialize":        p.Initialize(ctx, Start{}),
		"ProcessRecords":    p.ProcessRecords(ctx, &Batch{}),
		"ShutdownRequested": p.ShutdownRequested(ctx, nil),
		"ShardEnded":        p.ShardEnded(ctx, nil),
	} {
		var pe *PanicError
		if !errors.As(err, &pe) {
			t.Errorf("%s: error %v is no *PanicError", name, err)
			continue
		}
		if !errors.Is(err, cause) {
			t.Errorf("%s: the panic's value is not in the chain", name)
		}
		if !strings.Contains(string(pe.Stack), "panicking") {
			t.Errorf("%s: the stack does not show where:\n%s", name, pe.Stack)
		}
	}
	p.LeaseLost(ctx, cause)
}

func TestAnErrorPassesUnchanged(t *testing.T) {
	want := errors.New("no")
	if err := Try(func() error { return want }); err != want {
		t.Fatal(err)
	}
	if err := Try(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// Whoever tells of it would else end the process, and the next one with it.
func TestANilPointerInTheGuiseOfAnErrorIsAPanicOfTheCallback(t *testing.T) {
	err := Try(func() error {
		var nothing *nilError
		return nothing
	})
	var pe *PanicError
	if !errors.As(err, &pe) || !strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("got %v", err)
	}
}

func TestAFunctionIsAProcessor(t *testing.T) {
	want := errors.New("no")
	var p RecordProcessor = Func(func(context.Context, *Batch) error { return want })
	if err := p.ProcessRecords(t.Context(), nil); err != want {
		t.Fatal(err)
	}
	if err := errors.Join(p.Initialize(t.Context(), Start{}), p.ShutdownRequested(t.Context(), nil), p.ShardEnded(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	p.LeaseLost(t.Context(), nil)
}

func TestAFunctionThatIsMissingIsNamedBeforeTheFirstRecord(t *testing.T) {
	err := Func(nil).Initialize(t.Context(), Start{})
	if err == nil || !strings.Contains(err.Error(), "processors.Func is nil: give a function") {
		t.Errorf("error %v", err)
	}
}

func TestRecoverWithoutAProcessorIsAMistakeOfTheProgram(t *testing.T) {
	err := Try(func() error {
		Recover(nil)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "Recover was given no RecordProcessor") {
		t.Errorf("error %v", err)
	}
}

func TestAnyBackoffGivesAWaitWithinItsBounds(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, test := range []struct {
		Backoff
		last        time.Duration
		least, most time.Duration
	}{
		{Backoff{}, 0, 100 * time.Millisecond, 300 * time.Millisecond},
		{Backoff{}, longest, 100 * time.Millisecond, 30 * time.Second},
		{Backoff{}, -time.Second, 100 * time.Millisecond, 300 * time.Millisecond},
		{Backoff{Min: -1, Max: -1}, 0, 100 * time.Millisecond, 300 * time.Millisecond},
		{Backoff{Max: 50 * time.Millisecond}, 0, 50 * time.Millisecond, 50 * time.Millisecond},
		{Backoff{Min: time.Hour}, 0, time.Hour, time.Hour},
		{Backoff{Min: time.Hour, Max: time.Second}, 0, time.Second, time.Second},
		{Backoff{Min: longest, Max: longest}, longest, 0, longest},
		{Backoff{Min: 1, Max: longest}, longest, 1, longest},
	} {
		for range 100 {
			if wait := test.Next(nil, test.last); wait < test.least || wait > test.most {
				t.Fatalf("%+v waits %v after %v, want %v to %v", test.Backoff, wait, test.last, test.least, test.most)
			}
		}
	}
}

func TestBackoffGrowsWithJitterAndStaysWithinItsBounds(t *testing.T) {
	for _, b := range []Backoff{{}, {Min: time.Millisecond, Max: time.Second}, {Min: time.Second, Max: time.Second}} {
		least, most := b.Min, b.Max
		if least == 0 {
			least, most = 100*time.Millisecond, 30*time.Second
		}
		reached := false
		distinct := map[time.Duration]bool{}
		for range 50 {
			var wait time.Duration
			for range 40 {
				last := wait
				wait = b.Next(nil, last)
				distinct[wait] = true
				if wait < least || wait > most {
					t.Fatalf("%+v: waits %v after %v", b, wait, last)
				}
				if wait > 3*max(last, least) {
					t.Fatalf("%+v: waits %v after %v, more than three times", b, wait, last)
				}
				reached = reached || wait > most*9/10
			}
		}
		if !reached {
			t.Errorf("%+v never comes near its longest wait", b)
		}
		if least != most && len(distinct) < 100 {
			t.Errorf("%+v gives %d different waits: where is the jitter?", b, len(distinct))
		}
	}
}
