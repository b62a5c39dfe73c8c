package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/millrace/millrace/internal/proof"
)

// pageOf writes the page from what the steps found.
func pageOf(results map[string]result) []byte {
	var b bytes.Buffer
	b.WriteString("# Proofs\n\n" +
		"What was tried to break the promises of [DESIGN.md](DESIGN.md), how often, and what was found. " +
		"`make prove` writes this page; `make test` runs every proof in a short form. " +
		"Random choices follow from seeds: a failure prints what to run to see it again.\n")
	for _, s := range steps {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", s.title, s.says)
		r, ok := results[s.name]
		if !ok {
			fmt.Fprintf(&b, "*Not run yet at full length:* `go run ./internal/prove -run %s`\n", s.name)
			continue
		}
		if r.Failed != "" {
			fmt.Fprintf(&b, "**Failed:** %s\n\n", oneLine(r.Failed))
		}
		writeProofs(&b, r.Proofs)
		fmt.Fprintf(&b, "\n`%s`  \nCommit %s, %s, %s, on %s.\n", r.Command, r.Commit, r.Date, duration(r.Seconds), r.Machine)
	}
	return b.Bytes()
}

// writeProofs writes proofs with the same figures as the rows of one table.
func writeProofs(b *bytes.Buffer, proofs []proof.Proof) {
	head := ""
	for _, p := range proofs {
		if h := headOf(p); h != head {
			if head != "" {
				b.WriteByte('\n')
			}
			fmt.Fprintf(b, "%s\n|---|%s\n", h, strings.Repeat("---:|", len(p.Figures)))
			head = h
		}
		fmt.Fprintf(b, "| %s |", cell(p.Name))
		for _, f := range p.Figures {
			fmt.Fprintf(b, " %s |", cell(show(f.Value)))
		}
		b.WriteByte('\n')
	}
}

func headOf(p proof.Proof) string {
	head := "| |"
	for _, f := range p.Figures {
		head += " " + cell(f.Name) + " |"
	}
	return head
}

func cell(s string) string { return strings.ReplaceAll(oneLine(s), "|", `\|`) }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// show writes numbers with separators between thousands.
func show(v any) string {
	var n float64
	switch v := v.(type) {
	case int:
		n = float64(v)
	case float64: // all numbers of JSON
		n = v
	default:
		return fmt.Sprint(v)
	}
	if n != float64(int64(n)) {
		return fmt.Sprintf("%.3g", n)
	}
	digits := fmt.Sprint(int64(n))
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func duration(seconds int) string {
	switch {
	case seconds >= 5400:
		return fmt.Sprintf("%.1f h", float64(seconds)/3600)
	case seconds >= 120:
		return fmt.Sprintf("%d min", (seconds+30)/60)
	}
	return fmt.Sprintf("%d s", seconds)
}
