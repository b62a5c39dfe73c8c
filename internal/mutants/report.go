package main

import (
	"fmt"
	"strings"
)

// markdown writes the results as a table.
func markdown(results []result) string {
	var b strings.Builder
	b.WriteString("| what is done for safety | promise | taken out | test that fails | seconds |\n|---|---|---|---|---|\n")
	for _, r := range results {
		seconds := ""
		switch {
		case r.err != nil:
			seconds = "**not caught**"
		case r.took > 0:
			seconds = fmt.Sprintf("%.1f", r.took.Seconds())
		}
		m := r.mutant
		fmt.Fprintf(&b, "| %s | %s | `%s`: %s | `%s`: `%s` | %s |\n",
			cell(m.Mechanism), cell(m.Promise), m.File, cell(m.Without), m.dir(), m.Test, seconds)
	}
	return b.String()
}

// cell keeps a text inside its column.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}

// untried are mutants of which nothing is known.
func untried(mutants []Mutant) []result {
	results := make([]result, len(mutants))
	for i, m := range mutants {
		results[i].mutant = m
	}
	return results
}
