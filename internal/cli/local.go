package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// local is a data directory, which this process has to itself.
type local struct{ engine *engine.Engine }

func newLocal(dir string, world IO, fresh bool) (source, error) {
	if !fresh && !isDir(dir) {
		return nil, fmt.Errorf("data directory %s: %w: \"millrace serve -data DIR\" or \"millrace stream create --data DIR\" makes one", dir, errNotFound)
	}
	e, err := openEngine(dir, engine.Config{Logger: complaints(world)})
	if err != nil {
		return nil, err
	}
	return &local{e}, nil
}

func (l *local) explain(_ string, err error) error { return err }

func (l *local) close() error { return l.engine.Close() }

func (l *local) list(ctx context.Context) ([]listed, error) {
	all := []listed{}
	for _, name := range l.engine.Streams() {
		d, err := l.describe(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, d.listed)
	}
	return all, nil
}

func (l *local) describe(ctx context.Context, name string) (described, error) {
	s, err := l.engine.Stream(name)
	if err != nil {
		return described{}, err
	}
	d, err := s.Describe()
	if err != nil {
		return described{}, err
	}
	shards, err := s.Shards(ctx)
	if err != nil {
		return described{}, err
	}
	out := described{listed: listed{name, "ACTIVE", d.Created}, Retention: d.Retention}
	out.finish(shards)
	return out, nil
}

func (l *local) create(ctx context.Context, name string, o createOptions) error {
	_, err := l.engine.CreateStream(ctx, name, engine.StreamConfig{Shards: o.shards, Retention: o.retention})
	if errors.Is(err, engine.ErrStreamExists) {
		return fmt.Errorf("stream %s: %w", name, errExists)
	}
	return err
}

func (l *local) remove(ctx context.Context, name string) error {
	return l.engine.DeleteStream(ctx, name)
}

func (l *local) open(_ context.Context, name string) (fullStream, error) {
	s, err := l.engine.Stream(name)
	return localStream{s}, err
}

type localStream struct{ *engine.Stream }

func (s localStream) ended(ctx context.Context, shardID string, from stream.Position) bool {
	b := stream.Batch{MaxRecords: 1}
	page, err := s.ReadDedicated(ctx, shardID, from, &b)
	return err == nil && len(b.Records) == 0 && page.End == nil
}
