package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/proof"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// parallel is how many mutants are tried at a time, while the programs of the next
// ones are made.
const parallel = 2

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	var (
		only     = flags.String("run", "", "try only mutants whose mechanism, file or test matches this regular expression")
		list     = flags.Bool("list", false, "list them, and try none")
		out      = flags.String("o", "", "write the table to this file, when all are caught")
		patience = flags.Duration("patience", time.Minute, "how long one test may take")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	mutants := selected(table(), match)
	if *list {
		fmt.Print(page(mutants))
		return nil
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	results, err := tryAll(ctx, root, mutants, *patience)
	if err != nil {
		return err
	}
	if err := judge(results); err != nil {
		return err
	}
	line, err := proof.Line("mechanisms taken out of the source", "mechanisms", len(results), "noticed by the test that names them", len(results))
	if err != nil {
		return err
	}
	fmt.Println(line)
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, []byte(page(mutants)), 0o644)
}

func selected(all []Mutant, match *regexp.Regexp) (mutants []Mutant) {
	for _, m := range all {
		if match.MatchString(m.Mechanism) || match.MatchString(m.File) || match.MatchString(m.Test) {
			mutants = append(mutants, m)
		}
	}
	return mutants
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}

// tryAll tries the mutants, telling of each, and returns the results in the
// order of the mutants.
func tryAll(ctx context.Context, root string, mutants []Mutant, patience time.Duration) ([]result, error) {
	tmp, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	lab := newLab(ctx, root, tmp, patience, mutants)
	results := make([]result, len(mutants))
	turns := make(chan struct{}, parallel)
	var tries sync.WaitGroup
	tries.Go(func() { lab.makePrograms(ctx) })
	for i := range mutants {
		turns <- struct{}{}
		tries.Go(func() {
			defer func() { <-turns }()
			if results[i] = lab.try(ctx, i); ctx.Err() == nil {
				fmt.Println(line(results[i]))
			}
		})
	}
	tries.Wait()
	return results, ctx.Err()
}

// line is what the screen shows of a result.
func line(r result) string {
	if r.err == nil {
		return fmt.Sprintf("caught  %5.1fs  %s  %s", r.took.Seconds(), r.mutant.File, r.mutant.Test)
	}
	return fmt.Sprintf("FAULT          %s  %s\n    %s\n    %s", r.mutant.File, r.mutant.Test, r.mutant.Without,
		strings.ReplaceAll(strings.TrimSpace(r.err.Error()), "\n", "\n    "))
}

// judge returns an error unless all were caught. It names those that were not:
// their lines are far above by then.
func judge(results []result) error {
	var faults []string
	for _, r := range results {
		if r.err != nil {
			faults = append(faults, fmt.Sprintf("%s (%s): %s", r.mutant.Test, r.mutant.File, r.mutant.Mechanism))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d of %d mutants were not caught:\n    %s", len(faults), len(results), strings.Join(faults, "\n    "))
	}
	if len(results) == 0 {
		return errors.New("no mutant matches")
	}
	return nil
}
