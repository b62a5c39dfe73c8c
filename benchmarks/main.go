// Command benchmarks measures Millrace beside its rivals and beside what the
// machine can do at all, each case in one run:
//
//	go run . -list
//	go run . -run put,goals
//	go run . -run all -out results            # a file of figures for each benchmark
//	go run . -report -plot plots              # tables and pictures of README.md from these
//
//	contenders of a case ──rounds in turn──► samples ──► table · results/*.json
//	 Millrace, rivals,                          │
//	 bare disk                                  └──► goals, as ratios of one run
//
// Machines are noisy: every figure is the median of several rounds, with the
// least and the most beside it, and the rounds of what is compared take turns.
// CPU is the user and system time of this process, so it counts producer, log
// and consumer together where they run together.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/internal/machine"
)

// benchmarks are all of them, in the order in which they run.
var benchmarks = []benchmark{
	putBenchmark, readBenchmark, latencyBenchmark, pathBenchmark, idleBenchmark, leasesBenchmark, retentionBenchmark, rewriteBenchmark, recoveryBenchmark,
	failoverBenchmark, handoffBenchmark, joinBenchmark, plannerBenchmark,
	serverBenchmark, consumerBenchmark, pushBenchmark, subscriptionsBenchmark, pollingBenchmark,
}

// goalsName is what -run calls the goals: they are no benchmark of their own but
// ratios of the others' figures.
const goalsName = "goals"

func main() {
	fleet.Main() // this may be a worker process of a fleet that is measured
	playRole()   // or a server
	list := flag.Bool("list", false, "list the benchmarks")
	name := flag.String("run", "", "the benchmark to run; several by commas; all of them by \"all\"")
	asJSON := flag.Bool("json", false, "print results as JSON, one object a benchmark, in place of tables")
	dir := flag.String("dir", "", "where data goes; it should be on the disk to be measured (default: a temporary directory, removed at the end)")
	rounds := flag.Int("rounds", 0, "rounds of each figure (default: 3; with -quick, 1)")
	quick := flag.Bool("quick", false, "small and fast, for a look whether it works")
	cases := flag.String("case", "", "measure only the cases whose name matches this regular expression")
	out := flag.String("out", "", "where each benchmark's results are saved as JSON (default: nowhere; for -report and -plot, results)")
	report := flag.Bool("report", false, "write the tables of README.md from saved results")
	plots := flag.String("plot", "", "draw saved results as SVG files into this directory")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o := options{dir: *dir, rounds: *rounds, quick: *quick}
	var err error
	if *cases != "" {
		o.cases, err = regexp.Compile(*cases)
	}
	if err == nil && *name != "" {
		err = run(ctx, os.Stdout, *name, *asJSON, *out, o)
	}
	if *report {
		err = errors.Join(err, writeReport("README.md", cmp.Or(*out, "results")))
	}
	if *plots != "" {
		err = errors.Join(err, drawPlots(*plots, cmp.Or(*out, "results")))
	}
	if *list || flag.NFlag() == 0 {
		writeList(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func writeList(out io.Writer) {
	for _, b := range benchmarks {
		fmt.Fprintf(out, "%-13s %s\n", b.name, b.about)
	}
	fmt.Fprintf(out, "%-13s %s\n", goalsName, "what Millrace wants to reach, as ratios of the figures of one run, and whether it does; alone, it runs all benchmarks")
}

// run runs the benchmarks with these names, and prints and saves what they
// measure, each at once. One that fails hinders no other.
func run(ctx context.Context, out io.Writer, name string, asJSON bool, save string, o options) error {
	chosen, goals, err := choose(name)
	if err != nil {
		return err
	}
	switch {
	case o.rounds < 0:
		return fmt.Errorf("-rounds is %d: use at least 1, or 0 for the default", o.rounds)
	case o.cases != nil && save != "":
		return fmt.Errorf("-case is %q and -out %q: save whole benchmarks, or a part of one would stand for all of it", o.cases, save)
	case o.rounds == 0 && o.quick:
		o.rounds = 1
	case o.rounds == 0:
		o.rounds = 3
	}
	if o.dir == "" {
		temp, err := os.MkdirTemp("", "millrace-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		o.dir = temp
	}
	if save != "" { // a run of half an hour shall not find out at its end
		if err := os.MkdirAll(save, 0o755); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
	}
	about := result{Machine: machine.Name() + ", " + machine.Disk(o.dir), Commit: machine.Commit(), Command: command(name, o), Rounds: o.rounds}
	if !asJSON {
		fmt.Fprintf(out, "%s, commit %s, %s\n", about.Machine, about.Commit, time.Now().UTC().Format(time.DateOnly))
	}
	all := results{}
	var failed error
	for _, b := range chosen {
		r := measure(ctx, b, about, o)
		all[b.name] = r
		if r.Error != "" {
			failed = errors.Join(failed, fmt.Errorf("%s: %s", b.name, r.Error))
		}
		if save != "" {
			failed = errors.Join(failed, r.save(save))
		}
		if asJSON {
			err = json.NewEncoder(out).Encode(r)
		} else {
			err = writeText(out, r)
		}
		if failed = errors.Join(failed, err); ctx.Err() != nil {
			return failed
		}
	}
	if goals && !asJSON {
		failed = errors.Join(failed, writeGoals(out, all))
	}
	return failed
}

// measure runs one benchmark. What it measured before it failed is kept.
func measure(ctx context.Context, b benchmark, about result, o options) *result {
	r := &about
	r.Benchmark, r.About, r.Columns, r.Date = b.name, b.about, b.columns, time.Now().UTC().Format(time.DateTime)+" UTC"
	begin := time.Now()
	run := &bench{options: o, result: r, progress: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
	}}
	err := b.run(ctx, run)
	if err == nil && o.cases != nil && len(r.Rows) == 0 {
		err = fmt.Errorf("-case is %q: no case has such a name", o.cases)
	}
	if err == nil && run.failed > 0 {
		err = fmt.Errorf("%d could not be measured", run.failed)
	}
	if err != nil {
		r.Error = err.Error()
	}
	r.Seconds = time.Since(begin).Seconds()
	return r
}

// choose finds the benchmarks that were asked for, and whether the goals were.
func choose(name string) (chosen []benchmark, goals bool, err error) {
	if name == "all" || name == goalsName {
		return benchmarks, true, nil
	}
	for n := range strings.SplitSeq(name, ",") {
		if n == goalsName {
			goals = true
			continue
		}
		i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == n })
		if i < 0 {
			return nil, false, fmt.Errorf("-run is %q: there is no benchmark %q; -list names them", name, n)
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, goals, nil
}

// command is how to get the same figures again.
func command(name string, o options) string {
	c := fmt.Sprintf("go run . -run %s -rounds %d", name, o.rounds)
	if o.quick {
		c += " -quick"
	}
	if o.cases != nil {
		c += fmt.Sprintf(" -case %q", o.cases)
	}
	return c
}
