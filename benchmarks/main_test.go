package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestEveryBenchmarkRuns(t *testing.T) {
	for name := range benchmarks {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), &out, name, true, options{dir: t.TempDir(), quick: true}); err != nil {
				t.Fatal(err)
			}
			rows := 0
			for lines := json.NewDecoder(&out); lines.More(); rows++ {
				var r struct {
					Benchmark, Machine, Case string
					Values                   map[string]spread
				}
				if err := lines.Decode(&r); err != nil {
					t.Fatal(err)
				}
				if r.Benchmark != name || r.Machine == "" || r.Case == "" || len(r.Values) == 0 {
					t.Errorf("a row says too little: %+v", r)
				}
				for unit, v := range r.Values {
					if v.Min < 0 || v.Median < v.Min || v.Max < v.Median {
						t.Errorf("%s: %s is %+v", r.Case, unit, v)
					}
				}
			}
			if rows == 0 {
				t.Error("nothing was reported")
			}
		})
	}
}

func TestATableHasTheUnitsOnceAndARowForEachCase(t *testing.T) {
	name := slices.Sorted(maps.Keys(benchmarks))[0]
	var out strings.Builder
	err := printTable(&out, name, func(report func(row)) error {
		for _, c := range []string{"one", "two"} {
			report(row{Case: c, Units: []string{"rec/s"}, Value: map[string]spread{"rec/s": spreadOf([]float64{3, 1, 2})}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, times := range map[string]int{"rec/s\n": 1, "one  2.00 [1.00..3.00]": 1, "two  2.00 [1.00..3.00]": 1} {
		if n := strings.Count(out.String(), text); n != times {
			t.Errorf("%q is there %d times, want %d:\n%s", text, n, times, &out)
		}
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
		err := run(context.Background(), io.Discard, o.name, false, options{rounds: o.rounds, quick: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
