package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// pipe is an output of which others may have had enough, as head has. An EPIPE
// from elsewhere, as from a connection, is a failure.
type pipe struct{ w io.Writer }

var errEnough = errors.New("nobody reads on")

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		err = errEnough
	}
	return n, err
}

// output is the form in which a command answers.
type output struct{ form string }

func (o *output) flag(cmd *cobra.Command, forms ...string) {
	o.form = forms[0]
	cmd.Flags().VarP(&choice{&o.form, forms}, "output", "o", "form of the answer: "+strings.Join(forms, ", "))
}

// choice is a flag whose value is one of some words.
type choice struct {
	value *string
	words []string
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return strings.Join(c.words, "|") }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return fmt.Errorf("use one of %s", strings.Join(c.words, ", "))
	}
	*c.value = word
	return nil
}

// print writes v as JSON, or fills a table.
func (o *output) print(w io.Writer, v any, fill func(t *table)) error {
	if o.form == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	fill(t)
	return t.w.Flush()
}

// table writes cells below each other.
type table struct{ w *tabwriter.Writer }

func (t *table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, c)
	}
	fmt.Fprintln(t.w)
}
