package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newDescribe(world IO) *cobra.Command {
	var (
		at  where
		out output
	)
	cmd := &cobra.Command{
		Use:   "describe STREAM",
		Short: "Describe a stream and its shards",
		Long: `Describe a stream and all of its shards that can still be read: where they
come from, which part of the hash space they hold, and whether they are open.`,
		Example: `  millrace stream describe orders --data ./data
  millrace stream describe orders --endpoint http://127.0.0.1:4567 -o json`,
		Args: exactly("STREAM"),
		RunE: at.withSource(world, false, func(cmd *cobra.Command, args []string, s source) error {
			d, err := s.describe(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), d, func(t *table) { describe(t, &d) })
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json")
	return cmd
}

func describe(t *table, d *described) {
	t.row("Stream", d.Name)
	if d.ARN != "" {
		t.row("ARN", d.ARN)
	}
	t.row("Status", d.Status)
	t.row("Created", clock(d.Created))
	t.row("Retention", d.Retention)
	t.row("Shards", fmt.Sprintf("%d open, %d closed", d.Open, len(d.Shards)-d.Open))
	t.w.Flush() // the columns below have their own widths
	t.row()
	t.row("SHARD", "STATE", "PARENTS", "HASH KEYS FROM", "TO")
	for _, s := range d.Shards {
		state, parents := "open", strings.Join(s.Parents, " ")
		if s.Closed {
			state = "closed"
		}
		if parents == "" {
			parents = "-"
		}
		t.row(s.ID, state, parents, s.Start, s.End)
	}
}
