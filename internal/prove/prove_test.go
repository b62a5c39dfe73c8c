package main

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/proof"
)

func TestThePageIsThatOfTheResults(t *testing.T) {
	results, err := load("results")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, pageOf(results)) {
		t.Errorf("%s is not what the results say: go run ./internal/prove -render", page)
	}
	for name, r := range results {
		if r.Failed != "" {
			t.Errorf("%s has failed: %s", name, r.Failed)
		}
	}
}

func TestProofsOfAKindShareATable(t *testing.T) {
	figures := func(n any) []proof.Figure {
		return []proof.Figure{{Name: "images", Value: n}, {Name: "lost", Value: 0.0}}
	}
	var b bytes.Buffer
	writeProofs(&b, []proof.Proof{
		{Name: "durable", Figures: figures(1234567.0)},
		{Name: "relaxed", Figures: figures(12.0)},
		{Name: "flips", Figures: []proof.Figure{{Name: "noticed", Value: "all | of them"}}},
	})
	const want = `| | images | lost |
|---|---:|---:|
| durable | 1,234,567 | 0 |
| relaxed | 12 | 0 |

| | noticed |
|---|---:|
| flips | all \| of them |
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestTheEndOfAFuzzersRunIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		line string
		want execs
		ok   bool
	}{
		{"fuzz: elapsed: 1m3s, execs: 10000000 (158730/sec), new interesting: 4 (total: 29)", execs{10_000_000, 29}, true},
		{"fuzz: elapsed: 0s, gathering baseline coverage: 0/29 completed", execs{}, false},
		{"PASS", execs{}, false},
	} {
		if got, ok := parseFuzz(c.line); got != c.want || ok != c.ok {
			t.Errorf("%q gives %+v, %v", c.line, got, ok)
		}
	}
}

func TestEveryFuzzTargetOfAListingBecomesACommand(t *testing.T) {
	const listing = `ok  	github.com/millrace/millrace	0.01s
FuzzA
FuzzB
ok  	github.com/millrace/millrace/stream	0.02s
?   	github.com/millrace/millrace/internal/proof	[no test files]
FuzzC
ok  	github.com/millrace/millrace/engine/internal/wal	0.02s
`
	var got []string
	for _, c := range parseTargets(listing, 1234) {
		got = append(got, c.fuzzed)
		if !strings.Contains(c.String(), "-fuzztime 1234x") {
			t.Errorf("%s does not say how often", c)
		}
	}
	if want := "stream.FuzzA stream.FuzzB engine/internal/wal.FuzzC"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestStepsAreChosenByName(t *testing.T) {
	chosen, err := choose("kill,crash")
	if err != nil || len(chosen) != 2 || chosen[0].name != "kill" {
		t.Errorf("got %+v, %v", chosen, err)
	}
	if _, err := choose("killl"); err == nil || !strings.Contains(err.Error(), `"killl"`) {
		t.Errorf("an unknown step gives %v", err)
	}
}

func TestNumbersAreEasyToRead(t *testing.T) {
	for v, want := range map[any]string{0: "0", 999: "999", 1000.0: "1,000", -1234567: "-1,234,567", 0.5: "0.5", "x": "x", true: "true"} {
		if got := show(v); got != want {
			t.Errorf("%v is shown as %s, not %s", v, got, want)
		}
	}
}

func TestACommandTellsItsProofsAndItsFailure(t *testing.T) {
	var out bytes.Buffer
	c := test("../proof", "TestWhatIsReported", "1m")
	if _, err := c.run(t.Context(), &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if _, err := test("./nowhere", ".", "1m").run(t.Context(), &out); err == nil {
		t.Error("a command that cannot run gives no error")
	}
}

func TestEveryFuzzTargetIsInOneStep(t *testing.T) {
	root := os.DirFS("../..")
	targets := regexp.MustCompile(`(?m)^func Fuzz`)
	err := fs.WalkDir(root, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		source, err := fs.ReadFile(root, file)
		if err != nil || !targets.Match(source) {
			return err
		}
		var in []string
		for _, s := range steps {
			if slices.ContainsFunc(s.fuzz, func(pattern string) bool { return covers(pattern, path.Dir(file)) }) {
				in = append(in, s.name)
			}
			if (s.fuzz != nil) != (s.executions > 0) {
				t.Errorf("step %s fuzzes %v, %d times each", s.name, s.fuzz, s.executions)
			}
		}
		if len(in) != 1 {
			t.Errorf("the fuzz targets of %s are in the steps %q, want one", file, in)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// covers reports whether a pattern of packages stands for the package in a folder.
func covers(pattern, dir string) bool {
	pattern = strings.TrimPrefix(pattern, "./")
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == tree || strings.HasPrefix(dir, tree+"/")
	}
	return dir == pattern
}
