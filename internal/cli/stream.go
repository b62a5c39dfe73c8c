package cli

import (
	"github.com/spf13/cobra"
)

func newStream(world IO) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "stream",
		Short:   "Create, list, describe, reshard and delete streams",
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
		Aliases: []string{"streams"},
	}
	cmd.AddCommand(newCreate(world), newList(world), newDescribe(world), newReshard(world), newDelete(world))
	return cmd
}

// withSource runs an action on the source, which it opens and closes.
func (w *where) withSource(world IO, fresh bool, act func(cmd *cobra.Command, args []string, s source) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		s, err := w.connect(cmd.Context(), world, fresh)
		if err != nil {
			return err
		}
		defer func() {
			if closeErr := s.close(); err == nil {
				err = closeErr
			}
		}()
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		return s.explain(name, act(cmd, args, s))
	}
}
