// Command benchmarks measures Millrace, each figure beside something to hold it
// against, in one run:
//
//	go run . -list
//	go run . -run path
//	go run . -run latency -json
//
// Machines are noisy: every figure is the median of several rounds, with the
// spread beside it, and the rounds of what is compared take turns. CPU is the
// user and system time of this process, so it counts producer, engine and
// consumer together where they run together.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// benchmark is one scenario. run calls report once for each row.
type benchmark struct {
	about string
	run   func(ctx context.Context, o options, report func(row)) error
}

// options are what the command line gives every benchmark.
type options struct {
	dir    string // where data goes
	rounds int
	quick  bool // a small run that shows only that it works
}

// row is one figure of a benchmark.
type row struct {
	Case  string            `json:"case"`
	Units []string          `json:"-"` // the order of Values in a table
	Value map[string]spread `json:"values"`
}

// spread is what several rounds gave.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	slices.Sort(values)
	return spread{values[0], values[len(values)/2], values[len(values)-1]}
}

var benchmarks = map[string]benchmark{
	"path":    {"the whole worker path, engine to processor and checkpoints, beside a bare reader: records/s, CPU and allocations per record", runPath},
	"latency": {"put to processor, at a steady rate, beside the put's own answer: p50, p99, p99.9", runLatency},
}

func main() {
	list := flag.Bool("list", false, "list the benchmarks")
	name := flag.String("run", "", "the benchmark to run; several by commas; all of them by \"all\"")
	asJSON := flag.Bool("json", false, "print one JSON object a row")
	dir := flag.String("dir", "", "where data goes; it should be on the disk to be measured (default: a temporary directory, removed at the end)")
	rounds := flag.Int("rounds", 0, "rounds of each figure (default: 5; with -quick, 1)")
	quick := flag.Bool("quick", false, "small and fast, for a look whether it works")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *list || *name == "" {
		for _, n := range slices.Sorted(maps.Keys(benchmarks)) {
			fmt.Printf("%-10s %s\n", n, benchmarks[n].about)
		}
		return
	}
	if err := run(ctx, os.Stdout, *name, *asJSON, options{*dir, *rounds, *quick}); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// run runs the benchmarks with these names and prints what they report.
func run(ctx context.Context, out io.Writer, name string, asJSON bool, o options) error {
	names := strings.Split(name, ",")
	if name == "all" {
		names = slices.Sorted(maps.Keys(benchmarks))
	}
	for _, n := range names {
		if _, ok := benchmarks[n]; !ok {
			return fmt.Errorf("-run is %q: there is no benchmark %q; -list names them", name, n)
		}
	}
	switch {
	case o.rounds < 0:
		return fmt.Errorf("-rounds is %d: use at least 1, or 0 for the default", o.rounds)
	case o.rounds == 0 && o.quick:
		o.rounds = 1
	case o.rounds == 0:
		o.rounds = 5
	}
	if o.dir == "" {
		temp, err := os.MkdirTemp("", "millrace-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		o.dir = temp
	}
	print := printTable
	if asJSON {
		print = printJSON
	} else {
		fmt.Fprintln(out, machine())
	}
	for _, n := range names {
		if err := print(out, n, func(report func(row)) error { return benchmarks[n].run(ctx, o, report) }); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

// printJSON prints one object a row, each with the machine's name: lines of
// several runs may be mixed.
func printJSON(out io.Writer, name string, run func(report func(row)) error) error {
	encoder := json.NewEncoder(out)
	var failed error
	err := run(func(r row) {
		failed = errors.Join(failed, encoder.Encode(struct {
			Benchmark string `json:"benchmark"`
			Machine   string `json:"machine"`
			row
		}{name, machine(), r}))
	})
	return errors.Join(err, failed)
}

func printTable(out io.Writer, name string, run func(report func(row)) error) error {
	fmt.Fprintf(out, "\n%s: %s\n", name, benchmarks[name].about)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var header string
	err := run(func(r row) {
		if h := strings.Join(r.Units, "\t"); h != header {
			header = h
			fmt.Fprintf(table, "\t%s\t\n", h)
		}
		fmt.Fprintf(table, "%s\t", r.Case)
		for _, u := range r.Units {
			v := r.Value[u]
			fmt.Fprintf(table, "%s [%s..%s]\t", number(v.Median), number(v.Min), number(v.Max))
		}
		fmt.Fprintln(table)
	})
	return errors.Join(err, table.Flush())
}

// machine says where a figure was measured: without it, no figure means anything.
func machine() string {
	model := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func number(v float64) string {
	switch a := max(v, -v); {
	case a >= 10_000_000:
		return fmt.Sprintf("%.1fM", v/1e6)
	case a >= 10_000:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return strings.TrimSuffix(fmt.Sprintf("%.4f", v), "0")
	}
}

// percentile of sorted values.
func percentile[T cmp.Ordered](sorted []T, p float64) T {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
