package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/fleet"
)

func TestMain(m *testing.M) {
	fleet.Main()
	playRole()
	os.Exit(m.Run())
}

func TestEveryBenchmarkRuns(t *testing.T) {
	saved, ran := t.TempDir(), 0
	for _, b := range benchmarks {
		t.Run(b.name, func(t *testing.T) {
			if b.needs != nil {
				if err := b.needs(); err != nil && os.Getenv("CI") == "" && os.Getenv("MILLRACE_NEED_SERVICES") == "" {
					t.Skipf("not measured: %v", err)
				}
			}
			ran++
			var out bytes.Buffer
			if err := run(t.Context(), &out, b.name, true, saved, options{dir: t.TempDir(), quick: true}); err != nil {
				t.Fatal(err)
			}
			var r result
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			checkSane(t, &r)
		})
	}
	rs, err := loadResults(saved)
	if err != nil || len(rs) != ran {
		t.Errorf("%d of %d results were saved: %v", len(rs), ran, err)
	}
	var table bytes.Buffer
	if err := writeGoals(&table, rs); err != nil || rs["put"] != nil && strings.Count(table.String(), "not measured") == len(goals) {
		t.Errorf("no goal was computed: %v\n%s", err, &table)
	}
}

// checkSane checks that a result says everything, and nothing impossible.
func checkSane(t *testing.T, r *result) {
	t.Helper()
	if r.Machine == "" || r.Commit == "" || r.Date == "" || r.Command == "" || len(r.Rows) == 0 || len(r.Columns) == 0 {
		t.Errorf("a result says too little: %+v", r)
	}
	type cell struct{ name, who string }
	seen := map[cell]bool{}
	for _, row := range r.Rows {
		if row.Case == "" || row.Who == "" || seen[cell{row.Case, row.Who}] {
			t.Errorf("a row has no name of its own: %+v", row)
		}
		seen[cell{row.Case, row.Who}] = true
		if !slices.ContainsFunc(r.Columns, func(c string) bool { return len(row.Samples[c]) > 0 }) {
			t.Errorf("%s, %s: no figure is shown: %+v", row.Case, row.Who, row.Samples)
		}
		for figure, samples := range row.Samples {
			if len(samples) != r.Rounds {
				t.Errorf("%s, %s: %s has %d samples of %d rounds", row.Case, row.Who, figure, len(samples), r.Rounds)
			}
			for _, v := range samples {
				if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("%s, %s: %s is %v", row.Case, row.Who, figure, v)
				}
			}
		}
		if low, high := row.Samples[latency("", 50)], row.Samples[latency("", 99)]; len(low) > 0 && low[0] > high[0] {
			t.Errorf("%s, %s: half take longer than %v µs, but one in a hundred only longer than %v", row.Case, row.Who, low, high)
		}
	}
}

func TestTheSavedResultsMeasureEveryGoal(t *testing.T) {
	rs, err := loadResults("results")
	if err != nil {
		t.Fatal(err)
	}
	if len(rs) < len(benchmarks) {
		t.Skipf("results of %d benchmarks of %d are saved", len(rs), len(benchmarks))
	}
	for _, g := range goals {
		if len(g.measured(rs)) == 0 {
			t.Errorf("%q is not measured: its case or contender is not in the results", g.what)
		}
	}
}

func TestThePageShowsTheSavedResults(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(again, page, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeReport(again, "results"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(again); err != nil || !bytes.Equal(got, page) {
		t.Errorf("README.md is not what `go run . -report` writes: %v", err)
	}
}

func TestWhoFailsHindersNoOther(t *testing.T) {
	b := &bench{options: options{dir: t.TempDir(), rounds: 2}, result: &result{}, progress: func(string, ...any) {}}
	err := b.compare(t.Context(), "case",
		contender{"broken", func(context.Context, string) (figures, error) { return nil, io.ErrUnexpectedEOF }},
		contender{"sound", func(context.Context, string) (figures, error) { return figures{recordRate: 1}, nil }},
	)
	if err != nil || b.failed != 1 || len(b.result.Rows) != 2 {
		t.Fatalf("error %v, %d failed, rows %+v", err, b.failed, b.result.Rows)
	}
	if broken := b.result.Rows[0]; broken.Error == "" || len(broken.Samples) > 0 {
		t.Errorf("who failed has the row %+v", broken)
	}
	if sound := b.result.Rows[1]; len(sound.Samples[recordRate]) != 2 {
		t.Errorf("who did not fail has the row %+v", sound)
	}
}

func TestContendersTakeTurns(t *testing.T) {
	b := &bench{options: options{dir: t.TempDir(), rounds: 3}, result: &result{}, progress: func(string, ...any) {}}
	var order strings.Builder
	var who []contender
	for _, name := range []string{"a", "b", "c"} {
		who = append(who, contender{name, func(context.Context, string) (figures, error) { order.WriteString(name); return nil, nil }})
	}
	if err := b.compare(t.Context(), "case", who...); err != nil || order.String() != "abcbcacab" {
		t.Errorf("the order is %s, error %v", &order, err)
	}
}

func TestTablesNameACaseOnce(t *testing.T) {
	r := &result{Columns: []string{recordRate}, Rows: []row{
		{Case: "one", Who: "a", Samples: map[string][]float64{recordRate: {3, 1, 2}}},
		{Case: "one", Who: "b", Error: "no disk"},
	}}
	var text, page strings.Builder
	if err := writeText(&text, r); err != nil {
		t.Fatal(err)
	}
	writeMarkdown(&page, r)
	for _, table := range []string{text.String(), page.String()} {
		if strings.Count(table, "one") != 1 || !strings.Contains(table, "2.00 [1.00..3.00]") || !strings.Contains(table, "failed: no disk") {
			t.Errorf("the table is\n%s", table)
		}
	}
}

func TestAGoalIsMetByTheMedianOfItsRounds(t *testing.T) {
	rs := results{"x": &result{Rows: []row{
		{Case: "c", Who: "a", Samples: map[string][]float64{recordRate: {10, 30, 20}}},
		{Case: "c", Who: "b", Samples: map[string][]float64{recordRate: {10, 10, 10}}},
	}}}
	ratio := quantity{"x", "c", "a", recordRate}.over(quantity{"x", "c", "b", recordRate})
	for _, c := range []struct {
		measured expression
		bound
		prototype  float64
		shown, met string
	}{
		{ratio, atLeast(2), 0, "2.00 [1.00..3.00]", "met"},
		{ratio, atLeast(2.1), 1, "2.00 [1.00..3.00]", "**not met**"},
		{ratio, atMost(2), 2, "2.00 [1.00..3.00]", "met"},
		{ratio, atLeast(2), 2.5, "2.00 [1.00..3.00]", "met; the prototype was better"},
		{ratio, atMost(2), 1.5, "2.00 [1.00..3.00]", "met; the prototype was better"},
		{ratio, atMost(1.9), 0, "2.00 [1.00..3.00]", "**not met**"},
		{quantity{"x", "c", "nobody", recordRate}.only(), atMost(2), 1, "–", "not measured"},
	} {
		cells := goal{"goal", c.measured, c.bound, c.prototype}.cells(rs)
		if cells[2] != c.shown || cells[4] != c.met {
			t.Errorf("%v: %q", c.bound, cells)
		}
	}
}

func TestNumbersHaveThreeDigitsThatCount(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "0.001": 0.001, "0.123": 0.1234, "1.23": 1.234, "12.3": 12.34, "123": 123.4, "9994": 9994, "10.0k": 9999,
		"123k": 123456, "1.00M": 999_999, "12.3M": 12_345_678, "-2.50": -2.5, "1.2e-05": 0.0000123,
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestATableIsReplacedBetweenItsMarkers(t *testing.T) {
	page := []byte("a\n<!-- results: x -->\nold\n<!-- end -->\nb\n<!-- results: y -->\nkept\n<!-- end -->\n")
	got, err := replaceTable(page, "x", []byte("new\n"))
	if want := "a\n<!-- results: x -->\n\nnew\n\n<!-- end -->\nb\n<!-- results: y -->\nkept\n<!-- end -->\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := replaceTable(page, "z", nil); err == nil || !strings.Contains(err.Error(), "results: z") {
		t.Errorf("no marker: error %v", err)
	}
}

func TestResultsThatCannotBeKeptAreNotMeasured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := run(t.Context(), &out, "path", false, file, options{rounds: 1, quick: true})
	if err == nil || !strings.Contains(err.Error(), "-out") || out.Len() > 0 {
		t.Errorf("error %v, printed %q", err, &out)
	}
}

func TestBadFlagsAreNamed(t *testing.T) {
	for want, o := range map[string]struct {
		name   string
		rounds int
	}{
		"there is no benchmark \"nonsense\"": {"path,nonsense", 1},
		"-rounds is -1: use at least 1":      {"path", -1},
	} {
		err := run(t.Context(), io.Discard, o.name, false, "", options{rounds: o.rounds, quick: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
