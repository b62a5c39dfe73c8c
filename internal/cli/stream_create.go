package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newCreate(world IO) *cobra.Command {
	var (
		at       where
		out      output
		o        createOptions
		ifAbsent bool
	)
	cmd := &cobra.Command{
		Use:   "create STREAM",
		Short: "Create a stream",
		Long:  "Create a stream, and wait until it can be used. A data directory that does not exist is made.",
		Example: `  millrace stream create orders --data ./data --shards 4
  millrace stream create orders --endpoint http://127.0.0.1:4567 --retention 168h --if-not-exists`,
		Args: exactly("STREAM"),
		RunE: at.withSource(world, true, func(cmd *cobra.Command, args []string, s source) error {
			if o.shards < 1 {
				return usagef("--shards is %d: use at least 1", o.shards)
			}
			if o.retention < 24*time.Hour || o.retention%time.Hour != 0 {
				return usagef("--retention is %v: use whole hours, at least 24h", o.retention)
			}
			ctx, name := cmd.Context(), args[0]
			err := s.create(ctx, name, o)
			existed := ifAbsent && errors.Is(err, errExists)
			if err != nil && !existed {
				return err
			}
			d, err := s.describe(ctx, name)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), d, func(t *table) {
				verb := "created"
				if existed {
					verb = "exists already:"
				}
				t.row(fmt.Sprintf("%s %s, %s", verb, d.Name, count(d.Open, "shard")))
			})
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json")
	cmd.Flags().IntVar(&o.shards, "shards", 1, "number of shards")
	cmd.Flags().DurationVar(&o.retention, "retention", 24*time.Hour, "how long records can be read, in hours")
	cmd.Flags().BoolVar(&ifAbsent, "if-not-exists", false, "a stream that exists is left as it is, and that is no error")
	return cmd
}

// count writes a number of things: "1 shard", "2 shards".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
