package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func newList(world IO) *cobra.Command {
	var (
		at  where
		out output
	)
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List streams",
		Long:    "List the streams, with their status and the time of their creation.",
		Example: `  millrace stream ls --data ./data
  millrace stream ls --endpoint aws --region eu-west-1 -o json`,
		Args: exactly(),
		RunE: at.withSource(world, false, func(cmd *cobra.Command, _ []string, s source) error {
			all, err := s.list(cmd.Context())
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), all, func(t *table) {
				t.row("STREAM", "STATUS", "CREATED")
				for _, l := range all {
					t.row(l.Name, l.Status, clock(l.Created))
				}
			})
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json")
	return cmd
}

// clock writes a time for people.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
