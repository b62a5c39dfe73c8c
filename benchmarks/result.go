package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// result is everything that one benchmark has measured in one run.
type result struct {
	Benchmark string   `json:"benchmark"`
	About     string   `json:"about"`
	Machine   string   `json:"machine"`
	Commit    string   `json:"commit"`
	Date      string   `json:"date"`
	Command   string   `json:"command"`
	Rounds    int      `json:"rounds"`
	Seconds   float64  `json:"seconds"` // that all of it took
	Columns   []string `json:"columns"` // the figures of a table, in order
	Notes     []string `json:"notes,omitempty"`
	Rows      []row    `json:"rows"`
	Error     string   `json:"error,omitempty"` // why it is incomplete
}

// row is one of those who are compared in one case.
type row struct {
	Case    string               `json:"case"`
	Who     string               `json:"who"`
	Samples map[string][]float64 `json:"samples"` // of each figure, round by round
	Error   string               `json:"error,omitempty"`
}

// figures are what one round gives, by name; the name tells the unit.
type figures map[string]float64

// Figures that several benchmarks have.
const (
	recordRate   = "records/s"
	byteRate     = "MB/s"
	cpuPerRecord = "CPU ns/record"
	allocs       = "allocations/record"
	openTime     = "open s"
)

// results are those of one run, by benchmark.
type results map[string]*result

// samples returns what each round gave, or nil.
func (rs results) samples(benchmark, name, who, figure string) []float64 {
	r := rs[benchmark]
	if r == nil {
		return nil
	}
	for _, row := range r.Rows {
		if row.Case == name && row.Who == who {
			return row.Samples[figure]
		}
	}
	return nil
}

// spread is what several rounds gave together.
type spread struct{ min, median, max float64 }

func spreadOf(values []float64) spread {
	v := slices.Clone(values)
	slices.Sort(v)
	n := len(v)
	return spread{v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1]}
}

func (s spread) String() string {
	if s.min == s.max {
		return number(s.median)
	}
	return fmt.Sprintf("%s [%s..%s]", number(s.median), number(s.min), number(s.max))
}

// number writes three digits that count, or the two that a very small number has.
func number(v float64) string {
	a, unit := max(v, -v), ""
	switch {
	case a >= 999_500:
		v, a, unit = v/1e6, a/1e6, "M"
	case a >= 9_995:
		v, a, unit = v/1e3, a/1e3, "k"
	}
	if a > 0 && a < 0.00095 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	decimals := 0
	for limit := 99.95; a < limit && a > 0 && decimals < 4; limit /= 10 {
		decimals++
	}
	text := fmt.Sprintf("%.*f", decimals, v)
	if decimals > 2 {
		text = strings.TrimRight(text, "0")
		text = strings.TrimSuffix(text, ".")
	}
	return text + unit
}

// save writes the result to a file of its name, at once as a whole.
func (r *result) save(dir string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, r.Benchmark+".json")
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// loadResults reads the results that are in a directory.
func loadResults(dir string) (results, error) {
	rs := results{}
	for _, b := range benchmarks {
		text, err := os.ReadFile(filepath.Join(dir, b.name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := new(result)
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("results of %s: %w", b.name, err)
		}
		rs[b.name] = r
	}
	return rs, nil
}
