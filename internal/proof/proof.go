// Package proof is how the long tests tell their figures: how much was tried,
// and what was found.
//
//	long test ── Report ──► "proof: {…}" in its log ──► the page of figures
//
// A figure is told whatever the length of the run; a reader of the page sees
// what that run did, not what it could have done.
package proof

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// prefix begins the line of a log that holds a proof.
const prefix = "proof: "

// Proof is what one run of one proof has found.
type Proof struct {
	// Name is the proof's: "crash images of the log, durable".
	Name string `json:"name"`
	// Figures are in the order in which a person wants to read them.
	Figures []Figure `json:"figures"`
}

// Figure is one of a proof's numbers, or a word about it.
type Figure struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // a number, a string or a boolean
}

// Report tells a proof's figures, given as names and values in turn:
//
//	proof.Report(t, "crash images of the log", "images", n, "seed", seed, "records lost", 0)
//
// Values are numbers, strings and booleans; give times as numbers, with their
// unit in the name.
func Report(tb testing.TB, name string, figures ...any) {
	tb.Helper()
	line, err := Line(name, figures...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Log(line)
}

// Line returns what [Report] would log, for programs that are no tests.
func Line(name string, figures ...any) (string, error) {
	if len(figures)%2 != 0 {
		return "", fmt.Errorf("proof %s: %d names and values are not pairs", name, len(figures))
	}
	p := Proof{Name: name}
	for i := 0; i < len(figures); i += 2 {
		p.Figures = append(p.Figures, Figure{Name: fmt.Sprint(figures[i]), Value: figures[i+1]})
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("proof %s: %w", name, err)
	}
	return prefix + string(text), nil
}

// Parse finds the proof in a line of a test's output, if there is one.
func Parse(line string) (p Proof, ok bool) {
	_, text, found := strings.Cut(line, prefix)
	if !found || json.Unmarshal([]byte(text), &p) != nil || p.Name == "" {
		return Proof{}, false
	}
	return p, true
}
