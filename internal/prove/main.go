// Command prove runs the proofs at their full length, keeps what they found,
// and writes the page that shows it.
//
//	steps (a table) ──► go test -v … ──► proofs in its output ──► results/NAME.json ──► PROOFS.md
//
// From the root of the repository:
//
//	go run ./internal/prove               everything; takes hours
//	go run ./internal/prove -run crash,kill
//	go run ./internal/prove -list         what there is
//	go run ./internal/prove -render       the page again, of the results as they are
//
// Every step keeps its own result, with the commit and the machine, so that
// one that was interrupted or failed can be run again by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

const (
	resultsDir = "internal/prove/results"
	page       = "PROOFS.md"
)

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("prove", flag.ContinueOnError)
	only := flags.String("run", "", "the steps to run, separated by commas; all when empty")
	list := flags.Bool("list", false, "list the steps and end")
	render := flags.Bool("render", false, "run nothing: write "+page+" from the results that are there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, err := os.Stat("go.mod"); err != nil {
		return fmt.Errorf("run it in the root of the repository: %w", err)
	}
	if *list {
		for _, s := range steps {
			fmt.Fprintf(out, "%-10s %s\n", s.name, s.title)
		}
		return nil
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	var failed []error
	if !*render {
		for _, s := range chosen {
			if err := prove(ctx, s, out); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			}
			if ctx.Err() != nil {
				break
			}
		}
	}
	results, err := load(resultsDir)
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, pageOf(results), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(out, "wrote", page)
	return errors.Join(failed...)
}

func choose(only string) ([]step, error) {
	if only == "" {
		return steps, nil
	}
	var chosen []step
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(steps, func(s step) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no step %q: -list tells which there are", name)
		}
		chosen = append(chosen, steps[i])
	}
	return chosen, nil
}

// prove runs a step and keeps its result, be it a failure.
func prove(ctx context.Context, s step, out io.Writer) error {
	fmt.Fprintf(out, "== %s: %s\n", s.name, s.title)
	r, err := s.run(ctx, out)
	if ctx.Err() != nil {
		return context.Cause(ctx) // half a result is none
	}
	if err != nil {
		r.Failed = err.Error()
	}
	if e := save(filepath.Join(resultsDir, s.name+".json"), r); e != nil {
		return errors.Join(err, e)
	}
	return err
}
