package svg

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAChartIsWellFormedAndNamesItsLines(t *testing.T) {
	c := Chart{
		Title: `a < b & "c"`, X: "x", Y: "y", Ticks: []Tick{{0, "none"}, {1, "one"}},
		Lines: []Line{{Name: "first & foremost", Points: []Point{{0, 1}, {1, 1000}}, Main: true}, {Name: "second", Points: []Point{{0, 5}}}, {Name: "empty"}},
	}
	var out strings.Builder
	if err := c.Write(&out); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for d := xml.NewDecoder(strings.NewReader(out.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, &out)
		}
		if data, ok := token.(xml.CharData); ok {
			text.Write(data)
		}
	}
	for _, want := range []string{c.Title, "first & foremost", "second", "none", "one"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	if strings.Contains(text.String(), "empty") || strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Errorf("there is something to see of a line without points:\n%s", &out)
	}
}

func TestAChartWithoutLinesIsAnError(t *testing.T) {
	if err := (Chart{Ticks: []Tick{{0, ""}}, Lines: []Line{{Name: "empty"}}}).Write(io.Discard); err == nil {
		t.Error("it was drawn")
	}
}

func TestNoLabelCoversAnother(t *testing.T) {
	for _, ys := range [][]float64{{100, 100, 101}, {height, height, height - 1}, {10, 300, 20}, {50}} {
		var labels []label
		for _, y := range ys {
			labels = append(labels, label{y: y})
		}
		labels = spreadOut(labels)
		for i, l := range labels {
			if l.y > height || i > 0 && l.y < labels[i-1].y+labelHeight-1e-9 {
				t.Errorf("labels of lines that end at %v are at %+v", ys, labels)
			}
		}
	}
}
