package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// lab is where mutants are tried. Its methods may be called at the same time.
type lab struct {
	root string // of the module
	tmp  string // for patched files and test programs
	// patience is how long one test may take.
	patience time.Duration

	mu    sync.Mutex              // guards sound
	sound map[string]func() error // what is known of tests without a mutant
}

func newLab(root, tmp string, patience time.Duration) *lab {
	return &lab{root: root, tmp: tmp, patience: patience, sound: map[string]func() error{}}
}

// result is what became of one mutant: caught when err is nil.
type result struct {
	mutant Mutant
	took   time.Duration // of the test that failed
	err    error
}

// try finds out what becomes of a mutant.
func (l *lab) try(ctx context.Context, m Mutant) result {
	took, err := l.trial(ctx, &m)
	return result{m, took, err}
}

func (l *lab) trial(ctx context.Context, m *Mutant) (time.Duration, error) {
	if err := m.validate(); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(l.tmp, "mutant-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	overlay, err := l.overlay(dir, m)
	if err != nil {
		return 0, err
	}
	if err := l.passes(ctx, m); err != nil {
		return 0, err
	}
	program := filepath.Join(dir, "test")
	if err := l.compile(ctx, program, m.dir(), "-overlay="+overlay); err != nil {
		return 0, err
	}
	for range chances {
		began := time.Now()
		err = l.test(ctx, program, m)
		took := time.Since(began)
		switch {
		case errors.Is(err, errFailed):
			return took, nil
		case err != nil:
			return took, err
		}
	}
	return 0, errSurvived
}

// chances is how often a mutant may be met by its test before it counts as not
// noticed: some mechanisms matter only when others are in the middle of
// something, which on a loaded machine they may not be.
const chances = 3

// overlay writes the patched file, and what tells the compiler of it.
func (l *lab) overlay(dir string, m *Mutant) (string, error) {
	file := filepath.Join(l.root, filepath.FromSlash(m.File))
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	mutated, err := m.patched(string(source))
	if err != nil {
		return "", err
	}
	patched := filepath.Join(dir, filepath.Base(file))
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: patched}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(os.WriteFile(patched, []byte(mutated), 0o600), os.WriteFile(overlay, replace, 0o600))
}

// passes reports whether the mutant's test passes without it. Each package is
// compiled once for that, and each test run once.
func (l *lab) passes(ctx context.Context, m *Mutant) error {
	program := l.once("compile "+m.dir(), func() error {
		return l.compile(ctx, l.program(m), m.dir())
	})
	test := l.once(fmt.Sprint("test ", m.dir(), m.Test, m.Args), func() error {
		if err := program(); err != nil {
			return err
		}
		return l.test(ctx, l.program(m), m)
	})
	if err := test(); err != nil {
		return fmt.Errorf("%w: %w", errRed, err)
	}
	return nil
}

// program is where the test program of a package without mutants lies.
func (l *lab) program(m *Mutant) string {
	return filepath.Join(l.tmp, strings.ReplaceAll(m.dir(), "/", "-")+".test")
}

// once returns a function that does something the first time that anybody calls
// it by that name.
func (l *lab) once(name string, f func() error) func() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sound[name] == nil {
		l.sound[name] = sync.OnceValue(f)
	}
	return l.sound[name]
}

// compile makes the test program of a package: without optimization and symbols,
// which takes two thirds of the time.
func (l *lab) compile(ctx context.Context, program, dir string, args ...string) error {
	args = append([]string{"test", "-c", "-gcflags=-N -l", "-ldflags=-s -w", "-o", program}, args...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+dir)...)
	cmd.Dir = l.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %w\n%s", errCompile, err, out)
	}
	return nil
}

// errFailed says that a test failed by its own word.
var errFailed = errors.New("the test fails")

// test runs the mutant's test.
func (l *lab) test(ctx context.Context, program string, m *Mutant) error {
	limited, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	args := append([]string{"-test.v", "-test.count=1", "-test.timeout=0", "-test.run=" + m.pattern()}, m.Args...)
	cmd := exec.CommandContext(limited, program, args...)
	cmd.Dir = filepath.Join(l.root, filepath.FromSlash(m.dir()))
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	code := cmd.ProcessState.ExitCode()
	if code == codePanic && m.Panics {
		code = codeFailed
	}
	return verdict(m.Test, string(out), code, err, errors.Join(ctx.Err(), limited.Err()))
}

// How a test program ends that does not pass: by its own word, or by a panic.
const (
	codeFailed = 1
	codePanic  = 2
)

// verdict reads what a test program said, and how it ended.
func verdict(test, out string, code int, err, stopped error) error {
	said := func(word string) bool {
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "---" && fields[1] == word+":" && fields[2] == test {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(stopped, context.Canceled):
		return stopped
	case stopped != nil:
		return errHangs
	case code == 0 && err == nil && said("PASS"):
		return nil
	case code == 0 && err == nil:
		return errMissing
	case code == codeFailed && said("FAIL"):
		return fmt.Errorf("%w:\n%s", errFailed, out)
	default:
		return fmt.Errorf("%w: %w\n%s", errPanics, err, tail(out))
	}
}

// tail returns the end of a long text.
func tail(text string) string {
	const most = 4000
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}
