package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/disk"
)

// benchmark is one scenario.
type benchmark struct {
	name    string
	about   string
	columns []string // the figures that its table shows
	run     func(ctx context.Context, b *bench) error
	// needs says, by an error, what is not there that it cannot do without; nil when
	// it needs nothing.
	needs func() error
}

// options are what the command line gives every benchmark.
type options struct {
	dir    string // where data goes
	rounds int
	quick  bool           // a small run that shows only that it works
	cases  *regexp.Regexp // the cases that are measured; nil for all
}

// bench is one benchmark while it runs.
type bench struct {
	options
	result   *result
	progress func(format string, args ...any)
	failed   int // who could not be measured
}

// contender is one of those who are compared; round measures it once, in a
// directory of its own that is empty and is removed after it.
type contender struct {
	who   string
	round func(ctx context.Context, dir string) (figures, error)
}

// compare measures what is compared in one case. Rounds take turns, and each
// begins with another contender, so that what disturbs the machine for a while
// disturbs all alike. Who fails is left out from then on, with the error in its
// row; only the end of ctx ends everything.
func (b *bench) compare(ctx context.Context, name string, who ...contender) error {
	if !b.wants(name) {
		return nil
	}
	begin := time.Now()
	rows := make([]row, len(who))
	for i := range who {
		rows[i] = row{Case: name, Who: who[i].who, Samples: map[string][]float64{}}
	}
	for round := range b.rounds {
		for turn := range who {
			i := (round + turn) % len(who)
			if rows[i].Error != "" {
				continue
			}
			f, err := b.round(ctx, who[i])
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				rows[i].Error = err.Error()
				b.failed++
				b.progress("%s: %s: %s: %v", b.result.Benchmark, name, who[i].who, err)
			}
			for figure, v := range f {
				rows[i].Samples[figure] = append(rows[i].Samples[figure], v)
			}
		}
	}
	b.result.Rows = append(b.result.Rows, rows...)
	b.progress("%s: %s (%.1f s)", b.result.Benchmark, name, time.Since(begin).Seconds())
	return nil
}

// wants reports whether a case is to be measured.
func (b *bench) wants(name string) bool { return b.cases == nil || b.cases.MatchString(name) }

func (b *bench) round(ctx context.Context, c contender) (figures, error) {
	dir, err := os.MkdirTemp(b.dir, b.result.Benchmark+"-")
	if err != nil {
		return nil, err
	}
	f, err := c.round(ctx, filepath.Join(dir, "data"))
	if gone := b.remove(dir); err == nil {
		err = gone
	}
	return f, err
}

// remove takes data away and waits until the file system is at rest again: the
// removal of large files holds up every sync for a while.
func (b *bench) remove(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return disk.Settle(b.dir)
}

// temp makes a directory for data that several rounds share; done removes it.
func (b *bench) temp() (dir string, done func(), err error) {
	dir, err = os.MkdirTemp(b.dir, b.result.Benchmark+"-")
	return dir, func() {
		if err := b.remove(dir); err != nil {
			b.progress("%s: cannot remove %s: %v", b.result.Benchmark, dir, err)
		}
	}, err
}

// note says once what a reader of the table must know.
func (b *bench) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(b.result.Notes, n) {
		b.result.Notes = append(b.result.Notes, n)
	}
}

// lasts is how long something is measured: short in a quick run.
func (b *bench) lasts(d time.Duration) time.Duration {
	if b.quick {
		return d / 50
	}
	return d
}

// amount is how much data something is measured on: little in a quick run.
func (b *bench) amount(bytes int) int {
	if b.quick {
		return bytes >> 6
	}
	return bytes
}
