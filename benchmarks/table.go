package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeText writes a result as a table for a terminal.
func writeText(out io.Writer, r *result) error {
	fmt.Fprintf(out, "\n%s: %s\n\n", r.Benchmark, r.About)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\t%s\t\n", strings.Join(r.Columns, "\t"))
	last := ""
	for _, row := range r.Rows {
		if row.Case != last {
			fmt.Fprintf(table, "%s\n", row.Case)
			last = row.Case
		}
		fmt.Fprintf(table, "  %s\t%s\t\n", row.Who, strings.Join(row.cells(r.Columns), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "-", n)
	}
	return nil
}

// writeMarkdown writes a result as a table for a page.
func writeMarkdown(out io.Writer, r *result) {
	fmt.Fprintf(out, "`%s`, rounds: %d, %.0f s, %s, commit %s\n\n%s\n\n", r.Command, r.Rounds, r.Seconds, r.Date, r.Commit, r.Machine)
	fmt.Fprintf(out, "| | | %s |\n|---|---|%s\n", strings.Join(r.Columns, " | "), strings.Repeat("--:|", len(r.Columns)))
	last := ""
	for _, row := range r.Rows {
		name := row.Case
		if name == last {
			name = ""
		}
		last = row.Case
		fmt.Fprintf(out, "| %s | %s | %s |\n", name, row.Who, strings.Join(row.cells(r.Columns), " | "))
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(out)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(out, "- %s\n", n)
	}
	if r.Error != "" {
		fmt.Fprintf(out, "\nIncomplete: %s\n", r.Error)
	}
}

// cells are a row's figures as text. Who failed has the error in place of them.
func (r row) cells(columns []string) []string {
	cells := make([]string, len(columns))
	for i, figure := range columns {
		switch samples := r.Samples[figure]; {
		case len(samples) > 0:
			cells[i] = spreadOf(samples).String()
		case i == 0 && r.Error != "":
			cells[i] = "failed: " + r.Error
		default:
			cells[i] = "–"
		}
	}
	return cells
}
