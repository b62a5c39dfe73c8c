package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newDelete(world IO) *cobra.Command {
	var (
		at  where
		out output
		yes bool
	)
	cmd := &cobra.Command{
		Use:     "delete STREAM",
		Aliases: []string{"rm"},
		Short:   "Delete a stream and all of its records",
		Long: `Delete a stream and all of its records, and wait until it is gone. There is no
way back, so that a person is asked to type its name, and a script has to say
--yes.`,
		Example: `  millrace stream delete orders --data ./data
  millrace stream delete orders --endpoint http://127.0.0.1:4567 --yes`,
		Args: exactly("STREAM"),
		RunE: at.withSource(world, false, func(cmd *cobra.Command, args []string, s source) error {
			ctx, name := cmd.Context(), args[0]
			d, err := s.describe(ctx, name)
			if err != nil {
				return err
			}
			if !yes {
				if err := confirm(world, fmt.Sprintf("This deletes %s, %s and all of their records.", d.Name, count(len(d.Shards), "shard")), name); err != nil {
					return err
				}
			}
			if err := s.remove(ctx, name); err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), map[string]string{"deleted": d.Name}, func(t *table) { t.row("deleted " + d.Name) })
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirm asks a person to type a word.
func confirm(world IO, what, word string) error {
	if !world.Person {
		return fmt.Errorf("%w: nobody can be asked here, say --yes", errUnconfirmed)
	}
	fmt.Fprintf(world.Err, "%s\nType %q to go on: ", what, word)
	line, _ := bufio.NewReader(world.In).ReadString('\n')
	if strings.TrimSpace(line) != word {
		return errUnconfirmed
	}
	return nil
}
