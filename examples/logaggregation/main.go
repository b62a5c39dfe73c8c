package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/stream"
)

// shards is into how many the stream is divided: enough for every worker to
// have some, and to take some over.
const shards = 12

type options struct {
	data  string
	kill  bool
	names []string
	log   *slog.Logger
}

func main() {
	if err := command(); err != nil {
		fmt.Fprintln(os.Stderr, "logaggregation:", err)
		os.Exit(1)
	}
}

func command() error {
	var o options
	var verbose bool
	flag.StringVar(&o.data, "data", "", "directory that survives: stream, leases and counts (default: millrace/logaggregation in your cache directory)")
	flag.BoolVar(&o.kill, "kill", false, "kill a worker half-way")
	flag.BoolVar(&verbose, "v", false, "show what the workers log")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: logaggregation [-kill] [-data DIR] [-v] [FILE… | -]\n\nCounts log lines per minute and status with a fleet of three workers.\nWithout a file it reads a sample log; - is standard input.")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.names = flag.Args()
	o.log = slog.New(slog.DiscardHandler)
	if verbose {
		o.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if o.data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find a place for the data: %w; say where with -data", err)
		}
		o.data = filepath.Join(cache, "millrace", "logaggregation")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, o, os.Stdout, newProgress(os.Stderr))
}

// run counts everything that is given, and what a former run left.
func run(ctx context.Context, o options, out io.Writer, p *progress) (err error) {
	if err := os.MkdirAll(o.data, 0o755); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	closing := func(close func() error) { err = errors.Join(err, close()) }

	e, err := engine.Open(filepath.Join(o.data, "stream"), engine.Config{Logger: o.log})
	if err != nil {
		return err
	}
	defer closing(e.Close)
	// Lines wait in the stream for as long as it takes until somebody runs the
	// example again.
	lines, err := e.EnsureStream(ctx, "logs", engine.StreamConfig{Shards: shards, Retention: 365 * 24 * time.Hour})
	if err != nil {
		return err
	}
	leases, err := sqlite.Open(ctx, filepath.Join(o.data, "leases.db"), sqlite.Config{Application: "logaggregation"})
	if err != nil {
		return err
	}
	defer closing(leases.Close)
	t, err := openTally(ctx, filepath.Join(o.data, "tally.db"))
	if err != nil {
		return err
	}
	defer closing(t.close)
	sources, err := openSources(ctx, t, o.data, o.names)
	if err != nil {
		return err
	}
	for _, s := range sources {
		defer closing(s.close)
	}
	f, err := newFleet(lines, leases, t, o.log)
	if err != nil {
		return err
	}
	if err := aggregate(ctx, f, sources, lines, o.kill, p); err != nil {
		return err
	}
	return report(ctx, f, out, o.data)
}

// aggregate runs the fleet, feeds it, and stops it when everything is counted.
func aggregate(ctx context.Context, f *fleet, sources []*source, to stream.Putter, kill bool, p *progress) error {
	in, before, err := f.tally.totals(ctx)
	if err != nil {
		return err
	}
	var left int64
	for _, s := range sources {
		p.say("%s", s.tell())
		left += max(s.left, 0)
	}
	if kill && !slices.ContainsFunc(sources, func(s *source) bool { return s.left != 0 }) {
		p.say("there is nothing to put, so nobody is killed half-way: give -data another directory, or a file that has grown")
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var put atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := f.run(ctx); err != nil {
			stop(err)
		}
	})
	fed := make(chan struct{})
	wg.Go(func() {
		defer close(fed)
		if err := feed(ctx, f, sources, to, kill, left, &put); err != nil {
			stop(err)
		}
	})

	interval := time.Second
	if p.terminal {
		interval = 100 * time.Millisecond
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	defer p.end()
	for allIn, mourned := false, false; ; {
		counted := before + f.counted.Load()
		if allIn && counted >= in+put.Load() { // more would be a fault, which the report finds
			p.show(describe(f, in+put.Load(), counted))
			stop(errDone)
			wg.Wait()
			return ended(ctx)
		}
		if dead := f.dead(); dead != nil && !mourned {
			mourned = true
			p.say("%s was killed after it counted %s lines and before its checkpoint; the others notice in about %v", dead.name, grouped(dead.unsaved.Load()), failover)
		}
		select {
		case <-tick.C:
			p.show(describe(f, in+put.Load(), counted))
		case <-f.news:
		case <-fed:
			allIn, fed = ctx.Err() == nil, nil
		case <-ctx.Done():
			wg.Wait()
			return ended(ctx)
		}
	}
}

// errDone is the cause of a stop because everything is counted.
var errDone = errors.New("everything is counted")

// ended returns why a run ended before it was done, or nil.
func ended(ctx context.Context) error {
	switch err := context.Cause(ctx); err {
	case errDone:
		return nil
	case context.Canceled:
		return errors.New("stopped half-way; the next run goes on from here")
	default:
		return err
	}
}

// feed puts the lines of all sources, one source after the other, once every
// worker is there. In the middle it has a worker killed, if that is wanted.
func feed(ctx context.Context, f *fleet, sources []*source, to stream.Putter, kill bool, left int64, put *atomic.Int64) error {
	if err := f.ready(ctx); err != nil {
		return err
	}
	group := int(min(1000, max(1, left/16))) // small enough for there to be a middle
	for _, s := range sources {
		err := s.feed(ctx, to, f.tally, group, func(lines int) {
			put.Add(int64(lines))
			f.tell()
			if kill && put.Load() >= left/2 {
				kill = false
				f.armed.Store(true)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// report writes the tables and the proof, from what is stored.
func report(ctx context.Context, f *fleet, out io.Writer, data string) error {
	entries, err := f.tally.entries(ctx)
	if err != nil {
		return err
	}
	writeTables(out, entries)
	in, counted, err := f.tally.totals(ctx)
	if err != nil {
		return err
	}
	if n := f.repeats.Load(); n > 0 {
		fmt.Fprintf(out, "\n%s lines came again and were not counted again.\n", grouped(n))
	}
	fmt.Fprintf(out, "\nlines in %s = lines counted %s\n", grouped(in), grouped(counted))
	fmt.Fprintf(out, "Everything is kept in %s; remove it to begin again.\n", data)
	if in != counted {
		return fmt.Errorf("%d lines are in, and %d are counted", in, counted)
	}
	return nil
}
