// Package svg draws line charts that can be read on a light and on a dark page.
//
//	Chart ──► Write ──► <svg>: title, axes, lines, each line's name at its end
//
// The vertical axis is logarithmic. The horizontal one is as the caller has it:
// positions with names.
package svg

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
)

// Chart is a picture of some lines.
type Chart struct {
	Title string
	X, Y  string // what the axes count
	Ticks []Tick // of the horizontal axis, from left to right
	Lines []Line
}

// Tick is a place of the horizontal axis that has a name.
type Tick struct {
	At   float64
	Name string
}

// Line is one line with its name.
type Line struct {
	Name   string
	Points []Point
	Main   bool // the one that the chart is about
	Dashed bool // goes with the line before it, and has its color
}

// Point is a place of a line; Y is above 0.
type Point struct{ X, Y float64 }

const (
	width, height            = 860, 440
	left, right, top, bottom = 76, 250, 44, 52
	labelHeight              = 17
)

// colors are read on white as on black; the first is for the main line.
var colors = []string{"#2f7de1", "#d9822b", "#3a9a58", "#9b6bdf", "#d5504e", "#8a8f98", "#1aa3a3", "#b8569b"}

// style makes text and grid follow the page.
const style = `text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#3d434b}
.title{font-weight:600;font-size:15px}.grid{stroke:#8886;stroke-width:1}.line{fill:none;stroke-width:1.8}.main{stroke-width:3.4}.dashed{stroke-dasharray:5 4}
.key{font-weight:600}
@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}`

// Write draws the chart. Lines without points are left out.
func (c Chart) Write(out io.Writer) error {
	lines := slices.DeleteFunc(slices.Clone(c.Lines), func(l Line) bool { return len(l.Points) == 0 })
	if len(lines) == 0 || len(c.Ticks) == 0 {
		return fmt.Errorf("chart %q has nothing to draw", c.Title)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n<style>%s</style>\n",
		width, height, html.EscapeString(c.Title), style)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="22">%s</text>`+"\n", left, html.EscapeString(c.Title))
	s := c.scale(lines)
	c.axes(&b, s)
	ends := make([]label, len(lines))
	color := -1
	for i, l := range lines {
		if !l.Dashed || i == 0 {
			color++
		}
		ends[i] = s.line(&b, l, colors[color%len(colors)])
	}
	for _, e := range spreadOut(ends) {
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" style="fill:%s"%s>%s</text>`+"\n", width-right+12, e.y+4, e.color, e.class, html.EscapeString(e.name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// scale maps values to places of the picture.
type scale struct{ minX, maxX, minY, maxY float64 } // Y as logarithms

func (c Chart) scale(lines []Line) scale {
	s := scale{c.Ticks[0].At, c.Ticks[len(c.Ticks)-1].At, math.Inf(1), math.Inf(-1)}
	for _, l := range lines {
		for _, p := range l.Points {
			s.minY, s.maxY = min(s.minY, math.Log10(p.Y)), max(s.maxY, math.Log10(p.Y))
		}
	}
	s.minY, s.maxY = math.Floor(s.minY*2)/2, math.Ceil(s.maxY*2)/2
	if s.maxY == s.minY {
		s.maxY++
	}
	if s.maxX == s.minX {
		s.maxX++
	}
	return s
}

func (s scale) x(v float64) float64 {
	return left + (v-s.minX)/(s.maxX-s.minX)*(width-left-right)
}

func (s scale) y(v float64) float64 {
	return height - bottom - (math.Log10(v)-s.minY)/(s.maxY-s.minY)*(height-top-bottom)
}

func (c Chart) axes(b *strings.Builder, s scale) {
	for decade := math.Floor(s.minY); decade <= s.maxY; decade++ {
		for _, step := range []float64{1, 3} {
			v := step * math.Pow(10, decade)
			if l := math.Log10(v); l < s.minY-0.03 || l > s.maxY+0.03 {
				continue
			}
			y := s.y(v)
			fmt.Fprintf(b, `<path class="grid" d="M%d %.1fH%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
				left, y, width-right, left-8, y+4, count(v))
		}
	}
	for _, t := range c.Ticks {
		x := s.x(t.At)
		fmt.Fprintf(b, `<path class="grid" d="M%.1f %dV%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x, height-bottom, height-bottom+5, x, height-bottom+20, html.EscapeString(t.Name))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-10, html.EscapeString(c.X))
	fmt.Fprintf(b, `<text x="16" y="%d" text-anchor="middle" transform="rotate(-90 16 %d)">%s</text>`+"\n", height/2, height/2, html.EscapeString(c.Y))
}

// label is the name at a line's end.
type label struct {
	name, color, class string
	y                  float64
}

func (s scale) line(b *strings.Builder, l Line, color string) label {
	var path strings.Builder
	for i, p := range l.Points {
		move := "L"
		if i == 0 {
			move = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", move, s.x(p.X), s.y(p.Y))
	}
	class, key := "line", ""
	if l.Main {
		class, key = "line main", ` class="key"`
	}
	if l.Dashed {
		class += " dashed"
	}
	fmt.Fprintf(b, `<path class="%s" stroke="%s" d="%s"/>`+"\n", class, color, path.String())
	for _, p := range l.Points {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, s.x(p.X), s.y(p.Y), color)
	}
	b.WriteString("\n")
	return label{l.Name, color, key, s.y(l.Points[len(l.Points)-1].Y)}
}

// spreadOut moves labels apart so that none covers another.
func spreadOut(labels []label) []label {
	slices.SortFunc(labels, func(a, b label) int { return int(math.Copysign(1, a.y-b.y)) })
	for i := 1; i < len(labels); i++ {
		labels[i].y = max(labels[i].y, labels[i-1].y+labelHeight)
	}
	// What was pushed below the picture goes up again.
	most := float64(height - 8)
	for i := len(labels) - 1; i >= 0 && labels[i].y > most; i-- {
		labels[i].y, most = most, most-labelHeight
	}
	return labels
}

// count writes a round number.
func count(v float64) string {
	switch {
	case v >= 999_999:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 999:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}
