package main

import (
	"errors"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAFunctionBecomesASwitchBetweenItsMutants(t *testing.T) {
	const source = `package door

const tries = 3

// Opens reports whether a key fits.
func (d *Door[K]) Opens(_ int, keys ...K) (ok bool, err error) {
	return keys[0] == d.lock && tries > 0, nil
}

func slam[T any](door, wall T) { door.meet(wall) }

func safely(f func()) {
	defer func() { recover() }()
	f()
}

func caught() { _ = recover() }
`
	m := func(old, with string) *Mutant { return &Mutant{Old: old, New: with} }
	text, pkg, in, err := weave(source, []variant{
		{m("tries = 3", "tries = 4"), 1}, {m("keys[0] == d.lock", "true"), 2}, {m(", nil", ", errStuck"), 3}, {m("door.meet(wall)", ""), 4},
		{m("f()\n}", "}"), 5}, {m("_ = recover()", ""), 6},
	})
	if err != nil || pkg != "door" {
		t.Fatal(pkg, err)
	}
	var numbers []int
	for _, v := range in {
		numbers = append(numbers, v.number)
	}
	const want = `package door

const tries = 3

// Opens reports whether a key fits.
func (self *Door[K]) Opens(p0 int, p1 ...K) (bool, error) {
	switch millraceMutant {
	case "2":
		return self.Opens_mutant2(p0, p1...)
	case "3":
		return self.Opens_mutant3(p0, p1...)
	}
	return self.Opens_asItIs(p0, p1...)
}

func (d *Door[K]) Opens_asItIs(_ int, keys ...K) (ok bool, err error) {
	return keys[0] == d.lock && tries > 0, nil
}

func (d *Door[K]) Opens_mutant2(_ int, keys ...K) (ok bool, err error) {
	return true && tries > 0, nil
}

func (d *Door[K]) Opens_mutant3(_ int, keys ...K) (ok bool, err error) {
	return keys[0] == d.lock && tries > 0, errStuck
}

func slam[T any](p0 T, p1 T) {
	switch millraceMutant {
	case "4":
		slam_mutant4[T](p0, p1)
		return
	}
	slam_asItIs[T](p0, p1)
}

func slam_asItIs[T any](door, wall T) { door.meet(wall) }

func slam_mutant4[T any](door, wall T) {}

func safely(p0 func()) {
	switch millraceMutant {
	case "5":
		safely_mutant5(p0)
		return
	}
	safely_asItIs(p0)
}

func safely_asItIs(f func()) {
	defer func() { recover() }()
	f()
}

func safely_mutant5(f func()) {
	defer func() { recover() }()
	}

func caught() { _ = recover() }
`
	tidy := func(text string) string {
		out, err := format.Source([]byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return string(out)
	}
	if got := tidy(text); got != tidy(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(in) != 4 || numbers[0] != 2 || numbers[3] != 5 {
		t.Errorf("woven are %v, want 2 to 5", numbers)
	}
}

// Else each of them takes its own two seconds of a linker.
func TestNearlyAllMutantsCanBeWoven(t *testing.T) {
	files := map[string][]variant{}
	all := table()
	for i := range all {
		files[all[i].File] = append(files[all[i].File], variant{&all[i], i})
	}
	woven := 0
	for file, variants := range files {
		source, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		text, _, in, err := weave(string(source), variants)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution); err != nil {
			t.Errorf("%s cannot be read any more: %v", file, err)
		}
		woven += len(in)
	}
	if len(all)-woven > len(all)/8 {
		t.Errorf("only %d of %d mutants can be woven", woven, len(all))
	}
}

func TestAWovenProgramIsWhatItsEnvironmentSays(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles programs")
	}
	root := t.TempDir()
	writeModule(t, root)
	m := func(old, with, test string) Mutant {
		return Mutant{Mechanism: old, Promise: "P0", Without: "x", File: "door/door.go", Old: old, New: with, Test: test}
	}
	mutants := []Mutant{
		m("key == lock", "true", "TestAWrongKeyDoesNotOpen"), m("key == lock", "false", "TestOnlySub/right"),
		m("key < 0", "key < -1", "TestAWrongKeyDoesNotOpen"),
	}
	lab := newLab(t.Context(), root, t.TempDir(), time.Minute, mutants)
	p := lab.programs["door"]()
	if p.err != nil || len(p.mutants) != len(mutants) {
		t.Fatalf("woven are %v, error %v", p.mutants, p.err)
	}
	if err := lab.test(t.Context(), p.path, &mutants[0]); err != nil {
		t.Errorf("without a mutant: %v", err)
	}
	for number, want := range []error{nil, nil, errSurvived} {
		if _, err := lab.meet(t.Context(), p.path, &mutants[number], fmt.Sprint(envMutant, "=", number)); !errors.Is(err, want) {
			t.Errorf("mutant %d: %v, want %v", number, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "door", switchFile)); err == nil {
		t.Error("a file was left in the source")
	}
}

func TestAMutantThatDoesNotCompileSpoilsNoOther(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles programs")
	}
	root := t.TempDir()
	writeModule(t, root)
	fine := Mutant{Mechanism: "fine", Promise: "P0", Without: "x", File: "door/door.go", Old: "key == lock", New: "true", Test: "TestAWrongKeyDoesNotOpen"}
	bad := fine
	bad.New = "key == door"
	lab := newLab(t.Context(), root, t.TempDir(), time.Minute, []Mutant{bad, fine})
	if r := lab.try(t.Context(), 1); r.err != nil {
		t.Error(r.err)
	}
	if r := lab.try(t.Context(), 0); !errors.Is(r.err, errCompile) {
		t.Errorf("got %v, want %v", r.err, errCompile)
	}
}

func writeModule(t *testing.T, root string) {
	t.Helper()
	for name, text := range module {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
