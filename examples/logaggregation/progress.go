package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// progress shows one line that changes, on a terminal, or line after line.
type progress struct {
	w        io.Writer
	terminal bool
	last     string
}

func newProgress(f *os.File) *progress {
	info, err := f.Stat()
	return &progress{w: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// show replaces the line.
func (p *progress) show(line string) {
	if line == p.last {
		return
	}
	p.last = line
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	if p.terminal && p.last != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, format+"\n", args...)
	if p.terminal && p.last != "" {
		fmt.Fprint(p.w, p.last)
	}
}

// end ends the line that changes.
func (p *progress) end() {
	if p.terminal && p.last != "" {
		fmt.Fprintln(p.w)
	}
	p.last = ""
}

// describe tells how far the fleet is.
func describe(f *fleet, in, counted int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s lines counted", grouped(counted), grouped(in))
	for _, m := range f.members {
		if m.life.ended() {
			fmt.Fprintf(&b, " · %s is dead", m.name)
		} else {
			fmt.Fprintf(&b, " · %s: %d shards, %s lines", m.name, m.shards.Load(), grouped(m.lines.Load()))
		}
	}
	return b.String()
}
