package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A module of a few lines, and mutants of it that end in every possible way.
var module = map[string]string{
	"go.mod":       "module example.org/door\n\ngo 1.26\n",
	"door/door.go": "package door\n\n// Opens reports whether the key fits.\nfunc Opens(key, lock int) bool {\n\tif key < 0 {\n\t\treturn false\n\t}\n\treturn key == lock\n}\n",
	"door/door_test.go": `package door

import "testing"

func TestAWrongKeyDoesNotOpen(t *testing.T) {
	if Opens(1, 2) {
		t.Error("it opens")
	}
}

func TestOnlySub(t *testing.T) {
	t.Run("right", func(t *testing.T) {
		if !Opens(2, 2) {
			t.Error("it does not open")
		}
	})
}

func TestThatIsRedAnyway(t *testing.T) { t.Error("red") }

func TestThatIsSkipped(t *testing.T) { t.Skip("not today") }
`,
}

func TestWhatBecomesOfAMutant(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program for each mutant")
	}
	root := t.TempDir()
	writeModule(t, root)
	tests := []struct {
		name string
		m    Mutant
		want error
	}{
		{"caught", Mutant{Old: "key == lock", New: "true", Test: "TestAWrongKeyDoesNotOpen"}, nil},
		{"caught by a part of a test", Mutant{Old: "key == lock", New: "false", Test: "TestOnlySub/right"}, nil},
		{"survives", Mutant{Old: "key < 0", New: "key < -1", Test: "TestAWrongKeyDoesNotOpen"}, errSurvived},
		{"the source has changed", Mutant{Old: "key != lock", New: "true", Test: "TestAWrongKeyDoesNotOpen"}, errMoved},
		{"the place is not certain", Mutant{Old: "return", New: "return !", Test: "TestAWrongKeyDoesNotOpen"}, errMoved},
		{"the test is red without it", Mutant{Old: "key == lock", New: "true", Test: "TestThatIsRedAnyway"}, errRed},
		{"there is no such test", Mutant{Old: "key == lock", New: "true", Test: "TestOfWindows"}, errMissing},
		{"the test is skipped", Mutant{Old: "key == lock", New: "true", Test: "TestThatIsSkipped"}, errMissing},
		{"panics", Mutant{Old: "key == lock", New: "[]bool{}[key]", Test: "TestAWrongKeyDoesNotOpen"}, errPanics},
		{"panics, as it is said to", Mutant{Old: "key == lock", New: "[]bool{}[key]", Test: "TestAWrongKeyDoesNotOpen", Panics: true}, nil},
	}
	var mutants []Mutant
	for _, test := range tests {
		test.m.Mechanism, test.m.Promise, test.m.Without, test.m.File = test.name, "P0", "x", "door/door.go"
		mutants = append(mutants, test.m)
	}
	lab := newLab(t.Context(), root, t.TempDir(), time.Minute, mutants)
	for i, test := range tests {
		if r := lab.try(t.Context(), i); !errors.Is(r.err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, r.err, test.want)
		}
	}
	source, err := os.ReadFile(filepath.Join(root, "door/door.go"))
	if err != nil || string(source) != module["door/door.go"] {
		t.Errorf("the source was changed: %v", err)
	}
}

func TestOnlyATestsOwnWordCounts(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, test := range []struct {
		name         string
		out          string
		code         int
		err, stopped error
		want         error
	}{
		{"passes", "--- PASS: TestX (0.00s)\n", 0, nil, nil, nil},
		{"fails", "--- FAIL: TestX (0.00s)\n", 1, failed, nil, errFailed},
		{"a part fails", "--- FAIL: TestX/part (0.00s)\n", 1, failed, nil, errPanics},
		{"another one fails", "--- FAIL: TestXY (0.00s)\n", 1, failed, nil, errPanics},
		{"leaks a goroutine", "--- PASS: TestX (0.00s)\ngoleak: …", 1, failed, nil, errPanics},
		{"panics", "--- FAIL: TestX (0.00s)\npanic: …", 2, failed, nil, errPanics},
		{"did not run", "testing: warning: no tests to run\nPASS\n", 0, nil, nil, errMissing},
		{"hangs", "", -1, failed, context.DeadlineExceeded, errHangs},
		{"is interrupted", "", -1, failed, context.Canceled, context.Canceled},
	} {
		if got := verdict("TestX", test.out, test.code, test.err, test.stopped); !errors.Is(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// The table itself, as far as it can be checked without a compiler: a mutant
// whose place has changed is found here first.
func TestEveryMutantFitsTheSource(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range table() {
		if err := m.validate(); err != nil {
			t.Error(err)
			continue
		}
		source, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(m.File)))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.patched(string(source)); err != nil {
			t.Errorf("%s: %s: %v", m.File, m.Mechanism, err)
		}
		if strings.HasSuffix(m.File, "_test.go") {
			t.Errorf("%s is a test, and keeps nothing safe", m.File)
		}
		if seen[m.Mechanism] {
			t.Errorf("two mutants are said to be of one mechanism: %s", m.Mechanism)
		}
		seen[m.Mechanism] = true
	}
}

func TestTheTableIsWrittenAsMarkdown(t *testing.T) {
	m := Mutant{Mechanism: "a | b", Promise: "P1", Without: "not", File: "door/door.go", Test: "TestX"}
	const want = "| a \\| b | P1 | `door/door.go`: not | `door`: `TestX` |\n"
	if got := page([]Mutant{m}); !strings.HasSuffix(got, "|\n"+want) {
		t.Errorf("%s\nlacks %s", got, want)
	}
}

func TestThePageIsThatOfTheTable(t *testing.T) {
	got, err := os.ReadFile("TABLE.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page(table()) {
		t.Error("TABLE.md is not what the table says: go run ./internal/mutants -o internal/mutants/TABLE.md")
	}
}

func TestASurvivorIsAnError(t *testing.T) {
	if err := judge([]result{{}, {err: errSurvived}}); err == nil {
		t.Error("no error")
	}
	if err := judge(nil); err == nil {
		t.Error("no error when nothing was tried")
	}
	if err := judge([]result{{}}); err != nil {
		t.Error(err)
	}
}

func TestTheRootOfTheModuleIsFound(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command")
	}
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Error(err)
	}
}
