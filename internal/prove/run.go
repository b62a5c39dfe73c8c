package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/machine"
	"github.com/millrace/millrace/internal/proof"
)

// result is what one run of a step found.
type result struct {
	Name    string        `json:"name"`
	Commit  string        `json:"commit"`
	Machine string        `json:"machine"`
	Date    string        `json:"date"`
	Command string        `json:"command"` // as a person would type it
	Seconds int           `json:"seconds"`
	Proofs  []proof.Proof `json:"proofs"`
	// Failed says why the step failed, "" when it did not.
	Failed string `json:"failed,omitempty"`
}

var errNothing = errors.New("it ran, and told no figures: was the test skipped or renamed?")

// run does all commands of the step, one after the other, and gathers what they tell.
func (s step) run(ctx context.Context, out io.Writer) (result, error) {
	began := time.Now()
	r := result{
		Name: s.name, Commit: machine.Commit(), Machine: machine.Name(),
		Date: began.UTC().Format(time.DateOnly), Command: s.typed(),
	}
	var failed []error
	commands := s.commands
	if s.fuzz != nil {
		var err error
		if commands, err = s.fuzzCommands(ctx); err != nil {
			return r, err
		}
	}
	for _, c := range commands {
		proofs, err := c.run(ctx, out)
		r.Proofs = append(r.Proofs, proofs...)
		if err == nil && len(proofs) == 0 {
			err = errNothing
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c, err))
		}
	}
	r.Seconds = int(time.Since(began).Seconds())
	return r, errors.Join(failed...)
}

// command is one go test.
type command struct {
	env  []string // MILLRACE_…=…
	args []string // behind "go"
	// fuzzed names the fuzz target that this runs; "" when it is none.
	fuzzed string
}

func (c command) String() string {
	return strings.Join(append(append([]string(nil), c.env...), append([]string{"go"}, c.args...)...), " ")
}

// run passes the command's output on, and finds the proofs in it.
func (c command) run(ctx context.Context, out io.Writer) ([]proof.Proof, error) {
	fmt.Fprintln(out, "$", c)
	cmd := exec.CommandContext(ctx, "go", c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	// The test's own children end with it, if it is asked and not killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	ended := make(chan error, 1)
	go func() {
		err := cmd.Run()
		writer.Close()
		ended <- err
	}()
	var proofs []proof.Proof
	var last execs
	lines := bufio.NewReader(reader)
	for {
		line, err := lines.ReadString('\n')
		if text := strings.TrimRight(line, "\n"); text != "" {
			if p, ok := proof.Parse(text); ok {
				proofs = append(proofs, p)
			}
			if e, ok := parseFuzz(text); ok {
				last = e
			}
			fmt.Fprintln(out, text)
		}
		if err != nil {
			break
		}
	}
	err := <-ended
	if c.fuzzed != "" && last.n > 0 {
		proofs = append(proofs, proof.Proof{Name: c.fuzzed, Figures: []proof.Figure{
			{Name: "executions", Value: last.n}, {Name: "inputs kept", Value: last.kept}, {Name: "failures", Value: failures(err)},
		}})
	}
	return proofs, err
}

func failures(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// execs is what a fuzzer says of its progress.
type execs struct{ n, kept int }

var fuzzLine = regexp.MustCompile(`^fuzz: elapsed: .*, execs: (\d+) .*\(total: (\d+)\)`)

func parseFuzz(line string) (execs, bool) {
	m := fuzzLine.FindStringSubmatch(line)
	if m == nil {
		return execs{}, false
	}
	n, err := strconv.Atoi(m[1])
	kept, err2 := strconv.Atoi(m[2])
	return execs{n, kept}, err == nil && err2 == nil
}

// fuzzCommands finds every fuzz target of the step's packages.
func (s step) fuzzCommands(ctx context.Context) ([]command, error) {
	out, err := exec.CommandContext(ctx, "go", append([]string{"test", "-list", "^Fuzz"}, s.fuzz...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("list the fuzz targets: %w", err)
	}
	return parseTargets(string(out), s.executions), nil
}

// parseTargets reads what go test -list prints: the targets of a package, and
// then the package.
func parseTargets(listing string, executions int) (all []command) {
	var targets []string
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Fuzz") {
			targets = append(targets, line)
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "ok" {
			continue
		}
		for _, target := range targets {
			all = append(all, command{
				args: []string{"test", "-run", "^$", "-fuzz", "^" + target + "$",
					"-fuzztime", fmt.Sprint(executions, "x"), "-fuzzminimizetime", "10x", fields[1]},
				fuzzed: strings.TrimPrefix(fields[1], "github.com/millrace/millrace/") + "." + target,
			})
		}
		targets = nil
	}
	return all
}

func save(file string, r result) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// load reads the results that are there, by the names of their steps.
func load(dir string) (map[string]result, error) {
	results := map[string]result{}
	for _, s := range steps {
		text, err := os.ReadFile(filepath.Join(dir, s.name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var r result
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s.json: %w", s.name, err)
		}
		results[s.name] = r
	}
	return results, nil
}
