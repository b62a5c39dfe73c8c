package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

func newTail(world IO) *cobra.Command {
	var (
		at  where
		out output
		o   tailOptions
	)
	cmd := &cobra.Command{
		Use:   "tail STREAM",
		Short: "Show the records of a stream",
		Long: `Show the records of a stream, of all its shards, in the order of their arrival
as far as that is known; shards that were split or merged come before their
children. Without -f it ends when it has caught up.

--from says where to begin:

  horizon            with the oldest records (the default without -f)
  latest             with what comes from now on (the default with -f)
  5m, 2h30m          so long ago
  2026-11-23T10:00Z  at a time (RFC 3339; seconds and zone may be left out)
  4959033827149…     with the record of that sequence number, of one --shard

Records that a Kinesis Producer Library packed together are shown one by one.`,
		Example: `  millrace tail orders --data ./data
  millrace tail orders -f --endpoint http://127.0.0.1:4567
  millrace tail orders --from 10m -n 20 -o json
  millrace tail orders -o raw | jq .total`,
		Args: exactly("STREAM"),
		RunE: at.withSource(world, false, func(cmd *cobra.Command, args []string, s source) error {
			from, err := o.position(time.Now())
			if err != nil {
				return err
			}
			if o.most < 0 {
				return usagef("--number is %d: use at least 1, or 0 for no bound", o.most)
			}
			ctx := cmd.Context()
			st, err := s.open(ctx, args[0])
			if err != nil {
				return err
			}
			m := merger{
				stream: st, ended: st.ended, from: from, follow: o.follow, most: o.most, key: o.key,
				options: kpl.Options{Policy: o.policy()},
				show:    newRenderer(out.form, cmd.OutOrStdout()),
				warn:    complaints(world),
			}
			return m.run(ctx, o.shards)
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json", "raw")
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
	f.StringVar(&o.from, "from", "", "where to begin")
	f.IntVarP(&o.most, "number", "n", 0, "end after so many records")
	f.StringSliceVar(&o.shards, "shard", nil, "only these shards, and their children")
	f.StringVar(&o.key, "key", "", "only records with this partition key")
	f.BoolVar(&o.packed, "packed", false, "show aggregates of the Kinesis Producer Library as they are")
	return cmd
}

type tailOptions struct {
	follow, packed bool
	from, key      string
	most           int
	shards         []string
}

func (o *tailOptions) policy() kpl.Policy {
	if o.packed {
		return kpl.Keep
	}
	return kpl.Deliver
}

// position reads --from.
func (o *tailOptions) position(now time.Time) (stream.Position, error) {
	text := o.from
	switch strings.ToLower(text) {
	case "":
		if o.follow {
			return stream.Latest, nil
		}
		return stream.TrimHorizon, nil
	case "horizon", "trim_horizon":
		return stream.TrimHorizon, nil
	case "latest", "now":
		return stream.Latest, nil
	}
	if ago, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil {
		return stream.AtTime(now.Add(-ago)), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, text, time.UTC); err == nil {
			return stream.AtTime(t), nil
		}
	}
	seq, err := stream.ParseSequence(text)
	if err != nil {
		return stream.Position{}, usagef("--from is %q: use horizon, latest, a duration like 5m, a time like 2026-11-23T10:00Z, or a sequence number", text)
	}
	if len(o.shards) != 1 {
		return stream.Position{}, usagef("--from is a sequence number, which is that of one shard: name it by --shard")
	}
	return stream.At(seq), nil
}

// pause waits, or returns the cause of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
