package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

const (
	// mostMinutes is how many minutes of a format are shown one by one: the
	// last ones. Those before share a row, so that the sums stay whole.
	mostMinutes = 30
	// mostLabels is how many statuses or levels have a column of their own.
	mostLabels = 9
)

// headings name what the columns of a format are.
var headings = map[Format]string{
	Access: "access log: lines by minute and status",
	Syslog: "syslog: lines by minute and level",
	Dpkg:   "dpkg.log: lines by minute and action",
}

// writeTables writes a table for each format that has any lines, and then the
// lines of all formats. entries are sorted by format and minute.
func writeTables(w io.Writer, entries []entry) {
	total := map[Format]int64{}
	for len(entries) > 0 {
		format := entries[0].format
		n := slices.IndexFunc(entries, func(e entry) bool { return e.format != format })
		if n < 0 {
			n = len(entries)
		}
		if format != Unknown {
			writeTable(w, format, entries[:n])
		}
		for _, e := range entries[:n] {
			total[format] += e.lines
		}
		entries = entries[n:]
	}
	tw := newTable(w)
	fmt.Fprint(tw, "format\tlines\t\n")
	var sum int64
	for _, format := range []Format{Access, Syslog, Dpkg, Unknown} {
		fmt.Fprintf(tw, "%s\t%s\t\n", format, grouped(total[format]))
		sum += total[format]
	}
	fmt.Fprintf(tw, "total\t%s\t\n", grouped(sum))
	tw.Flush()
}

func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
}

func writeTable(w io.Writer, format Format, entries []entry) {
	columns := columnsOf(entries)
	cells := map[time.Time]map[string]int64{}
	for _, e := range entries {
		if cells[e.minute] == nil {
			cells[e.minute] = map[string]int64{}
		}
		label := e.label
		if !slices.Contains(columns, label) {
			label = "other"
		}
		cells[e.minute][label] += e.lines
	}
	var minutes []time.Time
	for minute := range cells {
		minutes = append(minutes, minute)
	}
	slices.SortFunc(minutes, time.Time.Compare)

	fmt.Fprintln(w, headings[format])
	tw := newTable(w)
	fmt.Fprint(tw, "minute\t")
	for _, c := range columns {
		fmt.Fprintf(tw, "%s\t", c)
	}
	fmt.Fprint(tw, "total\t\n")

	early, sums := map[string]int64{}, map[string]int64{}
	hidden := max(0, len(minutes)-mostMinutes)
	for i, minute := range minutes {
		for label, n := range cells[minute] {
			sums[label] += n
			if i < hidden {
				early[label] += n
			}
		}
		if hidden > 0 && i == hidden-1 {
			writeRow(tw, fmt.Sprintf("%d earlier", hidden), columns, early)
		}
		if i >= hidden {
			name := "no time"
			if !minute.IsZero() {
				name = minute.Format("2006-01-02 15:04")
			}
			writeRow(tw, name, columns, cells[minute])
		}
	}
	writeRow(tw, "total", columns, sums)
	tw.Flush()
	fmt.Fprintln(w)
}

func writeRow(w io.Writer, name string, columns []string, cells map[string]int64) {
	var sum int64
	fmt.Fprintf(w, "%s\t", name)
	for _, c := range columns {
		n := cells[c]
		sum += n
		if n == 0 {
			fmt.Fprint(w, "·\t")
		} else {
			fmt.Fprintf(w, "%s\t", grouped(n))
		}
	}
	fmt.Fprintf(w, "%s\t\n", grouped(sum))
}

// columnsOf returns the most frequent labels in their own order, and "other"
// when there are too many for a column each.
func columnsOf(entries []entry) []string {
	lines := map[string]int64{}
	var labels []string
	for _, e := range entries {
		if lines[e.label] == 0 {
			labels = append(labels, e.label)
		}
		lines[e.label] += e.lines
	}
	slices.SortFunc(labels, func(a, b string) int {
		return cmp.Or(cmp.Compare(lines[b], lines[a]), cmp.Compare(a, b))
	})
	many := len(labels) > mostLabels
	if many {
		labels = labels[:mostLabels]
	}
	slices.SortFunc(labels, func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(severities[:], a), slices.Index(severities[:], b)), cmp.Compare(a, b))
	})
	if many {
		labels = append(labels, "other")
	}
	return labels
}

// grouped writes a number with commas.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
