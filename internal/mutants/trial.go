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
	root    string // of the module
	tmp     string // for patched files and test programs
	mutants []Mutant
	// patience is how long one test may take.
	patience time.Duration

	programs map[string]func() *program // the woven ones, by the folders of their packages

	mu    sync.Mutex              // guards sound
	sound map[string]func() error // what is known of tests without a mutant
}

func newLab(ctx context.Context, root, tmp string, patience time.Duration, mutants []Mutant) *lab {
	l := &lab{
		root: root, tmp: tmp, patience: patience, mutants: mutants,
		programs: map[string]func() *program{}, sound: map[string]func() error{},
	}
	for i := range mutants {
		if dir := mutants[i].dir(); l.programs[dir] == nil {
			l.programs[dir] = sync.OnceValue(func() *program { return l.weave(ctx, dir) })
		}
	}
	return l
}

// result is what became of one mutant: caught when err is nil.
type result struct {
	mutant Mutant
	took   time.Duration // of the test that failed
	err    error
}

// try finds out what becomes of the mutant with that number. Where it is woven into a
// program, and caught there, that is it; the last word has a program of its own.
func (l *lab) try(ctx context.Context, number int) result {
	m := &l.mutants[number]
	if err := m.validate(); err != nil {
		return result{*m, 0, err}
	}
	if p := l.programs[m.dir()](); p.holds(number) && l.passes(ctx, m) == nil {
		took, err := l.meet(ctx, p.path, m, fmt.Sprint(envMutant, "=", number))
		if err == nil {
			return result{*m, took, nil}
		}
	}
	took, err := l.alone(ctx, m)
	return result{*m, took, err}
}

// alone tries a mutant in a program of its own.
func (l *lab) alone(ctx context.Context, m *Mutant) (time.Duration, error) {
	dir, err := os.MkdirTemp(l.tmp, "mutant-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	source, err := os.ReadFile(l.file(m.File))
	if err != nil {
		return 0, err
	}
	mutated, err := m.patched(string(source))
	if err != nil {
		return 0, err
	}
	if err := l.passes(ctx, m); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, "test")
	if err := l.compile(ctx, dir, path, m.dir(), map[string]string{m.File: mutated}); err != nil {
		return 0, err
	}
	return l.meet(ctx, path, m)
}

// chances is how often a mutant may be met by its test before it counts as not
// noticed: some mechanisms matter only when others are in the middle of
// something, which on a loaded machine they may not be.
const chances = 3

// meet lets the test meet the mutant, and returns how long it took to fail.
func (l *lab) meet(ctx context.Context, program string, m *Mutant, env ...string) (time.Duration, error) {
	for range chances {
		began := time.Now()
		err := l.test(ctx, program, m, env...)
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

// program is a test program into which mutants are woven.
type program struct {
	path    string
	mutants map[int]bool
	err     error // it does not compile
}

func (p *program) holds(number int) bool { return p.err == nil && p.mutants[number] }

// makePrograms makes all programs into which mutants are woven, in the order in which
// they are asked for.
func (l *lab) makePrograms(ctx context.Context) {
	for i := range l.mutants {
		if ctx.Err() != nil {
			return
		}
		l.programs[l.mutants[i].dir()]()
	}
}

// weave makes the program of a package with all mutants that can be in it. One that
// does not compile spoils it for all; each is tried alone then.
func (l *lab) weave(ctx context.Context, dir string) *program {
	p := &program{path: filepath.Join(l.tmp, strings.ReplaceAll(dir, "/", "-")+".woven"), mutants: map[int]bool{}}
	patches := map[string][]variant{} // by file
	for i := range l.mutants {
		if m := &l.mutants[i]; m.dir() == dir && m.validate() == nil && strings.HasSuffix(m.File, ".go") {
			patches[m.File] = append(patches[m.File], variant{m, i})
		}
	}
	replaced := map[string]string{}
	for file, variants := range patches {
		source, err := os.ReadFile(l.file(file))
		if err != nil {
			p.err = err
			return p
		}
		fitting := variants[:0]
		for _, v := range variants {
			if _, err := v.patched(string(source)); err == nil {
				fitting = append(fitting, v)
			}
		}
		text, pkg, in, err := weave(string(source), fitting)
		if err != nil {
			p.err = fmt.Errorf("%s: %w", file, err)
			return p
		}
		if len(in) == 0 {
			continue
		}
		replaced[file] = text
		replaced[filepath.ToSlash(filepath.Join(filepath.Dir(file), switchFile))] = switchOf(pkg)
		for _, v := range in {
			p.mutants[v.number] = true
		}
	}
	made, err := os.MkdirTemp(l.tmp, "woven-")
	if err == nil {
		defer os.RemoveAll(made)
		err = l.compile(ctx, made, p.path, dir, replaced)
	}
	if p.err = err; err != nil && ctx.Err() == nil {
		fmt.Printf("the mutants of %s are tried one by one: %v\n", dir, err)
	}
	return p
}

// passes reports whether the mutant's test passes without it. Each test is run once
// for that.
func (l *lab) passes(ctx context.Context, m *Mutant) error {
	program := l.once("compile "+m.dir(), func() error { return l.compile(ctx, l.tmp, l.plain(m), m.dir(), nil) })
	test := l.once(fmt.Sprint("test ", m.dir(), m.Test, m.Args), func() error {
		if woven := l.programs[m.dir()](); woven.err == nil && l.test(ctx, woven.path, m) == nil {
			return nil
		}
		if err := program(); err != nil {
			return err
		}
		return l.test(ctx, l.plain(m), m)
	})
	if err := test(); err != nil {
		return fmt.Errorf("%w: %w", errRed, err)
	}
	return nil
}

// plain is where the test program of a package lies into which nothing is woven.
func (l *lab) plain(m *Mutant) string {
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

// file returns where a file of the module lies.
func (l *lab) file(name string) string { return filepath.Join(l.root, filepath.FromSlash(name)) }

// compile makes the test program of a package, with other texts in the place of some
// of the module's files: without optimization and symbols, which takes two thirds of
// the time.
func (l *lab) compile(ctx context.Context, tmp, program, dir string, replaced map[string]string) error {
	args := []string{"test", "-c", "-vet=off", "-gcflags=-N -l", "-ldflags=-s -w", "-o", program}
	if len(replaced) > 0 {
		overlay, err := l.overlay(tmp, replaced)
		if err != nil {
			return err
		}
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+dir)...)
	cmd.Dir = l.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %w\n%s", errCompile, err, out)
	}
	return nil
}

// overlay writes texts into tmp, and what tells the compiler of which files they are.
func (l *lab) overlay(tmp string, replaced map[string]string) (string, error) {
	places := map[string]string{}
	for name, text := range replaced {
		place := filepath.Join(tmp, fmt.Sprint(len(places), "-", filepath.Base(name)))
		if err := os.WriteFile(place, []byte(text), 0o600); err != nil {
			return "", err
		}
		places[l.file(name)] = place
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": places})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(tmp, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}

// errFailed says that a test failed by its own word.
var errFailed = errors.New("the test fails")

// test runs the mutant's test.
func (l *lab) test(ctx context.Context, program string, m *Mutant, env ...string) error {
	limited, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	args := append([]string{"-test.v", "-test.count=1", "-test.timeout=0", "-test.run=" + m.pattern()}, m.Args...)
	cmd := exec.CommandContext(limited, program, args...)
	cmd.Dir = l.file(m.dir())
	cmd.Env = append(os.Environ(), env...)
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
