package main

import (
	"fmt"
	"strings"
)

// page is the table as a page for people.
func page(mutants []Mutant) string {
	var b strings.Builder
	b.WriteString("# What is done for safety, and how its absence is noticed\n\n" +
		"Each line is one mechanism, what the code does when it is taken out of the source, and the test that then fails. " +
		"`go run ./internal/mutants` tries them all, and so does `make test`; with `-o` it writes this page once all are caught.\n\n" +
		"| what is done for safety | promise | taken out | test that fails |\n|---|---|---|---|\n")
	for _, m := range mutants {
		fmt.Fprintf(&b, "| %s | %s | `%s`: %s | `%s`: `%s` |\n",
			cell(m.Mechanism), cell(m.Promise), m.File, cell(m.Without), m.dir(), m.Test)
	}
	return b.String()
}

// cell keeps a text inside its column.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
