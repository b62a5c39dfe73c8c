package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// Seeds are simulated by processes with one processor each: goroutines of one
// bubble that are spread over several spend most of their time waking them.
//
//	parallel ── seeds ──► children: TestInAProcessOfItsOwn ── outcomes ──► parallel
//
// A child that dies tells by that of its seed, and another one goes on.

// outcome is what became of one seed.
type outcome struct {
	Seed   uint64
	Report Report
	Err    string
}

// isChild is set in the environment of children.
const isChild = "MILLRACE_SIM_CHILD"

// TestInAProcessOfItsOwn is the child: it simulates the seeds that it reads, and
// writes what became of them.
func TestInAProcessOfItsOwn(t *testing.T) {
	if os.Getenv(isChild) == "" {
		t.Skip("it is run by others")
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.NewFile(3, "outcomes"))
	for {
		o := outcome{}
		if in.Decode(&o.Seed) != nil {
			return
		}
		report, err := simulate(t, o.Seed, nil)
		o.Report = report
		if err != nil {
			o.Err = err.Error()
		}
		if err := out.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
}

// parallel simulates the seeds from 1 on in that many processes, and calls take
// with one outcome after the other.
func parallel(t *testing.T, seeds, procs int, take func(outcome)) {
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-20*time.Second)) // to tell which seeds hang
		defer cancel()
	}
	todo := make(chan uint64, seeds)
	for n := range seeds {
		todo <- uint64(n + 1)
	}
	close(todo)
	outcomes := make(chan outcome)
	var children sync.WaitGroup
	for range procs {
		children.Go(func() {
			for child(ctx, t, todo, outcomes) {
			}
		})
	}
	go func() {
		children.Wait()
		close(outcomes)
	}()
	for o := range outcomes {
		take(o)
	}
}

// child runs one child until there is nothing to do, or it dies. It reports
// whether another one should go on.
func child(ctx context.Context, t *testing.T, todo <-chan uint64, outcomes chan<- outcome) (again bool) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestInAProcessOfItsOwn$", "-test.timeout=0", fmt.Sprint("-hours=", *hours))
	cmd.Env = append(os.Environ(), isChild+"=yes", "GOMAXPROCS=1", "GOGC=400")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Error(err)
		return false
	}
	answers, answering, err := os.Pipe()
	if err != nil {
		t.Error(err)
		return false
	}
	defer answers.Close()
	cmd.ExtraFiles = []*os.File{answering}
	err = cmd.Start()
	answering.Close()
	if err != nil {
		t.Error(err)
		return false
	}
	results := json.NewDecoder(answers)
	for n := range todo {
		o := outcome{Seed: n}
		if err = json.NewEncoder(in).Encode(n); err == nil {
			err = results.Decode(&o)
		}
		if err != nil {
			_ = cmd.Wait()
			o.Err = fmt.Sprintf("its process died (%v): %.5000s", context.Cause(ctx), said.String())
			outcomes <- o
			return ctx.Err() == nil
		}
		outcomes <- o
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("a child failed: %v: %.2000s", err, said.String())
	}
	return false
}
