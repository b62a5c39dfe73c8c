package main

import (
	"bytes"
	"fmt"
	"os"
)

// writeReport replaces the tables of a page by those of the saved results. A
// table lies between two markers:
//
//	<!-- results: put -->
//	<!-- end -->
//
// A table without results stays as it is.
func writeReport(page, dir string) error {
	rs, err := loadResults(dir)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for _, b := range benchmarks {
		if r := rs[b.name]; r != nil {
			var table bytes.Buffer
			writeMarkdown(&table, r)
			if text, err = replaceTable(text, b.name, table.Bytes()); err != nil {
				return fmt.Errorf("report: %s: %w", page, err)
			}
		}
	}
	if len(rs) > 0 {
		var table bytes.Buffer
		writeGoalsMarkdown(&table, rs)
		if text, err = replaceTable(text, goalsName, table.Bytes()); err != nil {
			return fmt.Errorf("report: %s: %w", page, err)
		}
	}
	return os.WriteFile(page, text, 0o644)
}

// replaceTable puts a table between the markers of that name.
func replaceTable(page []byte, name string, table []byte) ([]byte, error) {
	begin, end := []byte("<!-- results: "+name+" -->\n"), []byte("<!-- end -->")
	before, rest, found := bytes.Cut(page, begin)
	if !found {
		return nil, fmt.Errorf("there is no line %q", bytes.TrimSpace(begin))
	}
	_, after, found := bytes.Cut(rest, end)
	if !found {
		return nil, fmt.Errorf("after %q there is no line %q", bytes.TrimSpace(begin), end)
	}
	return bytes.Join([][]byte{before, begin, []byte("\n"), table, []byte("\n"), end, after}, nil), nil
}
