package leasetest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/lease"
)

// trial is a test that may fail without its own test failing.
type trial struct {
	testing.TB
	mu     sync.Mutex
	failed bool
	first  string // message
}

func (t *trial) note(message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.failed {
		t.failed, t.first = true, strings.TrimSpace(message)
	}
}

func (t *trial) Fail()                             { t.note("failed") }
func (t *trial) FailNow()                          { t.note("failed"); runtime.Goexit() }
func (t *trial) Error(args ...any)                 { t.note(fmt.Sprintln(args...)) }
func (t *trial) Errorf(format string, args ...any) { t.note(fmt.Sprintf(format, args...)) }
func (t *trial) Fatal(args ...any)                 { t.note(fmt.Sprintln(args...)); runtime.Goexit() }
func (t *trial) Fatalf(format string, args ...any) {
	t.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
func (t *trial) Skip(...any)         { runtime.Goexit() }
func (t *trial) Log(...any)          {}
func (t *trial) Logf(string, ...any) {}
func (t *trial) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// try checks one clause, and returns its first complaint.
func try(t *testing.T, c clause, open func(testing.TB) lease.Store, o Options) (failed bool, message string) {
	tr := &trial{TB: t}
	ended := make(chan struct{})
	go func() { // of its own, because a test that fails ends its goroutine
		defer close(ended)
		defer func() {
			if r := recover(); r != nil {
				tr.note(fmt.Sprintf("panic: %v", r))
			}
		}()
		c.check(tr, open, o)
	}()
	<-ended
	return tr.failed, tr.first
}
