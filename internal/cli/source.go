package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// source is where streams are: a data directory, or an endpoint.
type source interface {
	list(ctx context.Context) ([]listed, error)
	describe(ctx context.Context, name string) (described, error)
	// create returns when the stream can be used. errInTheWay when it exists.
	create(ctx context.Context, name string, o createOptions) error
	// remove returns when the stream is gone.
	remove(ctx context.Context, name string) error
	// open returns a stream with all seams that commands use.
	open(ctx context.Context, name string) (fullStream, error)
	// explain says in the words of a shell what hinders the work on a stream.
	explain(name string, err error) error
	close() error
}

// fullStream is a stream that can be read, written to and resharded.
type fullStream interface {
	stream.Stream
	stream.Putter
	stream.Resharder
	// ended reports whether an open shard has nothing from a position on. It
	// does not wait, and says false when it cannot know.
	ended(ctx context.Context, shardID string, from stream.Position) bool
}

// listed is a line of "stream ls".
type listed struct {
	Name    string    `json:"name"`
	Status  string    `json:"status"`
	Created time.Time `json:"created"`
}

// described is what "stream describe" tells.
type described struct {
	listed
	ARN       string           `json:"arn,omitempty"`
	Retention time.Duration    `json:"-"`
	Hours     float64          `json:"retention_hours"`
	Open      int              `json:"open_shards"`
	Shards    []describedShard `json:"shards"`
}

type describedShard struct {
	ID      string           `json:"id"`
	Parents []string         `json:"parents,omitempty"`
	Hash    stream.HashRange `json:"-"`
	Start   stream.Hash      `json:"starting_hash_key"`
	End     stream.Hash      `json:"ending_hash_key"`
	Closed  bool             `json:"closed"`
}

type createOptions struct {
	shards    int
	retention time.Duration
}

// finish fills in what follows from the rest.
func (d *described) finish(shards []stream.Shard) {
	d.Hours = d.Retention.Hours()
	for _, s := range shards {
		d.Shards = append(d.Shards, describedShard{s.ID, s.Parents, s.Hash, s.Hash.Start, s.Hash.End, s.Closed})
		if !s.Closed {
			d.Open++
		}
	}
}

// where is what a user says of where the streams are.
type where struct{ data, endpoint, region, accessKey string }

const whereHelp = `
Where the streams are is told by one of

  --data DIR        a data directory that no server has open
  --endpoint URL    a server: "millrace serve", or any other of Kinesis' API
  --endpoint aws    Kinesis Data Streams, with region and credentials from the
                    environment and the files of the AWS CLI

or by MILLRACE_DATA or MILLRACE_ENDPOINT in the environment.`

func (w *where) flags(cmd *cobra.Command) {
	cmd.Long += "\n" + whereHelp
	f := cmd.Flags()
	f.StringVar(&w.data, "data", "", "data directory of the streams")
	f.StringVar(&w.endpoint, "endpoint", "", `URL of the server, or "aws"`)
	f.StringVar(&w.region, "region", "", "region of the endpoint (default: as the AWS CLI would take it, else us-east-1)")
	f.StringVar(&w.accessKey, "access-key", "", "ID:SECRET for the endpoint (default: as the AWS CLI would take it)")
}

// connect opens the source. A data directory is made only if fresh says so.
func (w where) connect(ctx context.Context, world IO, fresh bool) (source, error) {
	if w.data == "" && w.endpoint == "" {
		w.data, w.endpoint = world.Getenv("MILLRACE_DATA"), world.Getenv("MILLRACE_ENDPOINT")
	}
	switch {
	case w.data != "" && w.endpoint != "":
		return nil, usagef("there is a data directory, %s, and an endpoint, %s: give one of --data and --endpoint, or set one of MILLRACE_DATA and MILLRACE_ENDPOINT", w.data, w.endpoint)
	case w.endpoint != "":
		return newRemote(ctx, w, world)
	case w.data != "":
		return newLocal(w.data, world, fresh)
	}
	return nil, usagef("where are the streams? Give --data DIR or --endpoint URL, or set MILLRACE_ENDPOINT")
}

// openEngine opens a data directory, and says in the words of a shell what
// hinders it.
func openEngine(dir string, cfg engine.Config) (*engine.Engine, error) {
	e, err := engine.Open(dir, cfg)
	switch {
	case errors.Is(err, engine.ErrLocked):
		return nil, fmt.Errorf("the data directory %s is in use by another process: if that is a server, give --endpoint with its URL: %w", dir, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the data directory %s cannot be written: give another one, or mend its permissions: %w", dir, err)
	}
	return e, err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
