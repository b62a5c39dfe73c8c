package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/stream"
)

func newReshard(world IO) *cobra.Command {
	var (
		at           where
		out          output
		shards       int
		split, merge string
		point        string
	)
	cmd := &cobra.Command{
		Use:   "reshard STREAM (--shards N | --split SHARD [--at HASH] | --merge SHARD,SHARD)",
		Short: "Split and merge shards",
		Long: `Change the shards of a stream, and wait until that is done: to a number of
equal shards, by splitting one, or by merging two whose hash keys lie side by
side. Records stay where they are, in closed shards; consumers go on from those
to their children.`,
		Example: `  millrace stream reshard orders --data ./data --shards 8
  millrace stream reshard orders --split shardId-000000000003
  millrace stream reshard orders --merge shardId-000000000004,shardId-000000000005`,
		Args: exactly("STREAM"),
		RunE: at.withSource(world, false, func(cmd *cobra.Command, args []string, s source) error {
			ctx, f := cmd.Context(), cmd.Flags()
			given := 0
			for _, name := range []string{"shards", "split", "merge"} {
				if f.Changed(name) {
					given++
				}
			}
			switch {
			case given != 1:
				return usagef("give one of --shards, --split and --merge")
			case f.Changed("at") && !f.Changed("split"):
				return usagef("--at says where to split: give it with --split")
			case f.Changed("shards") && shards < 1:
				return usagef("--shards is %d: use at least 1", shards)
			}
			st, err := s.open(ctx, args[0])
			if err != nil {
				return err
			}
			switch {
			case f.Changed("shards"):
				err = st.UpdateShardCount(ctx, shards)
			case f.Changed("split"):
				err = splitAt(ctx, st, split, point)
			default:
				one, other, two := strings.Cut(merge, ",")
				if !two || one == "" || other == "" {
					return usagef("--merge is %q: give two shards, with a comma between them", merge)
				}
				err = st.Merge(ctx, one, other)
			}
			if err != nil {
				return err
			}
			d, err := s.describe(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), d, func(t *table) {
				t.row(fmt.Sprintf("%s has %s", d.Name, count(d.Open, "open shard")))
				for _, s := range d.Shards {
					if !s.Closed {
						t.row("  " + s.ID)
					}
				}
			})
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json")
	cmd.Flags().IntVar(&shards, "shards", 0, "split and merge until there are so many open shards, of equal size")
	cmd.Flags().StringVar(&split, "split", "", "split this shard")
	cmd.Flags().StringVar(&point, "at", "", "hash key with which the second part begins (default: the middle)")
	cmd.Flags().StringVar(&merge, "merge", "", "merge these two shards, written with a comma between them")
	return cmd
}

func splitAt(ctx context.Context, s fullStream, shardID, point string) error {
	if point != "" {
		at, err := stream.ParseHash(point)
		if err != nil {
			return usagef("--at: %w", err)
		}
		return s.Split(ctx, shardID, at)
	}
	shards, err := s.Shards(ctx)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		if shard.ID == shardID {
			return s.Split(ctx, shardID, shard.Hash.Middle())
		}
	}
	return fmt.Errorf("shard %s: %w", shardID, stream.ErrShardNotFound)
}
