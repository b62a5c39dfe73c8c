package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/stream"
)

func newPut(world IO) *cobra.Command {
	var (
		at  where
		out output
		p   putter
	)
	p.form = "lines"
	cmd := &cobra.Command{
		Use:   "put STREAM [FILE]",
		Short: "Put lines into a stream",
		Long: `Put the lines of a file, or of the standard input, into a stream: each line is
a record, and empty lines are left out. Records are stored in batches, as soon as
the input pauses, and retried while the stream is throttled.

Where a record goes is decided by its partition key: --key is that of all
records, --key-field the name of a field of lines that are JSON objects; else
each record gets a key of its own, so that they spread over all shards.

With --format ndjson each line is an object that tells all of it, as
"millrace tail -o json" writes it:

  {"partition_key": "user-1", "data": "text, or any JSON"}
  {"partition_key": "user-1", "explicit_hash_key": "42", "data_base64": "AAEC"}`,
		Example: `  seq 1000 | millrace put orders --data ./data
  millrace put orders orders.ndjson --key-field customer
  tail -f access.log | millrace put logs --endpoint http://127.0.0.1:4567 --key web-1
  millrace tail orders -o json | millrace put copy --format ndjson`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				args = args[:1]
			}
			return exactly("STREAM")(cmd, args)
		},
		RunE: at.withSource(world, false, func(cmd *cobra.Command, args []string, s source) error {
			if p.key != "" && p.keyField != "" {
				return usagef("--key and --key-field are both given: give one")
			}
			ctx := cmd.Context()
			st, err := s.open(ctx, args[0])
			if err != nil {
				return err
			}
			if _, err := st.Identity(ctx); err != nil { // before the first line is read
				return err
			}
			in := world.In
			if len(args) == 2 && args[1] != "-" {
				file, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			p.to, p.err = st, world.Err
			err = p.run(ctx, in)
			return errors.Join(err, out.print(cmd.OutOrStdout(), p.done, p.table))
		}),
	}
	at.flags(cmd)
	out.flag(cmd, "table", "json")
	cmd.Flags().Var(&choice{&p.form, []string{"lines", "ndjson"}}, "format", "form of the input: lines, ndjson")
	cmd.Flags().StringVar(&p.key, "key", "", "partition key of all records")
	cmd.Flags().StringVar(&p.keyField, "key-field", "", "field of each line, a JSON object, that is its partition key")
	return cmd
}

// putter puts lines into a stream, in batches.
type putter struct {
	form, key, keyField string
	to                  stream.Putter
	err                 io.Writer

	batch   []stream.Entry
	numbers []int // of the lines
	bytes   int
	done    putDone
	shards  map[string]bool
}

// putDone is what became of the lines.
type putDone struct {
	Stored  int   `json:"stored"`
	Refused int   `json:"refused"`
	Bytes   int64 `json:"bytes"`
	Shards  int   `json:"shards"`
}

// A batch is as large as Kinesis takes, and waits for more lines for putLinger.
const (
	putRecords = 500
	putBytes   = 4 << 20
	putLinger  = 20 * time.Millisecond
	putGrace   = 5 * time.Second // for what was read when the command is ended
)

func (p *putter) run(ctx context.Context, in io.Reader) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	lines := make(chan line)
	go readLines(reading, in, lines)
	p.shards = map[string]bool{}
	linger := time.NewTimer(0)
	defer linger.Stop()
	for {
		var due <-chan time.Time
		if len(p.batch) > 0 {
			due = linger.C
		}
		select {
		case l, more := <-lines:
			switch {
			case !more:
				return errors.Join(p.flush(ctx), p.verdict())
			case l.number == 0:
				return errors.Join(p.flush(ctx), l.err)
			}
			if len(p.batch) == 0 {
				linger.Reset(putLinger)
			}
			if err := p.add(ctx, l); err != nil {
				return err
			}
		case <-due:
			if err := p.flush(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), putGrace)
			defer cancel()
			return errors.Join(p.flush(grace), errInterrupted)
		}
	}
}

// add takes a line into the batch, and stores that when it is full.
func (p *putter) add(ctx context.Context, l line) error {
	e, err := p.entry(l)
	if err != nil {
		p.refuse(l.number, err)
		return nil
	}
	if len(p.batch) > 0 && p.bytes+e.Size() > putBytes {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.batch, p.numbers, p.bytes = append(p.batch, e), append(p.numbers, l.number), p.bytes+e.Size()
	if len(p.batch) == putRecords {
		return p.flush(ctx)
	}
	return nil
}

func (p *putter) entry(l line) (e stream.Entry, err error) {
	switch {
	case l.err != nil:
		return e, l.err
	case p.form == "ndjson":
		e, err = fromJSON(l.text)
	case p.keyField != "":
		e.Data = l.text
		e.PartitionKey, err = keyField(l.text, p.keyField)
	default:
		e.Data = l.text
	}
	if e.PartitionKey == "" && err == nil {
		e.PartitionKey = p.key
		if p.key == "" {
			e.PartitionKey = strconv.FormatUint(rand.Uint64(), 36)
		}
	}
	return e, err
}

// mostTold is how many refused lines are told of one by one.
const mostTold = 10

func (p *putter) refuse(number int, err error) {
	p.done.Refused++
	switch {
	case p.done.Refused <= mostTold:
		fmt.Fprintf(p.err, "line %d is not stored: %v\n", number, err)
	case p.done.Refused == mostTold+1:
		fmt.Fprintln(p.err, "further lines are not stored, for reasons like these")
	}
}

// The waits between attempts while the stream is throttled.
const (
	putRetryMin = 50 * time.Millisecond
	putRetryMax = time.Second
)

// flush stores the batch. What is throttled is tried again until ctx is done.
func (p *putter) flush(ctx context.Context) error {
	for wait := putRetryMin; len(p.batch) > 0; wait = min(2*wait, putRetryMax) {
		results, err := p.to.Put(ctx, p.batch...)
		switch {
		case errors.Is(err, stream.ErrThrottled):
		case err != nil:
			fmt.Fprintf(p.err, "lines %d to %d may not be stored\n", p.numbers[0], p.numbers[len(p.numbers)-1])
			return err
		default:
			if p.settle(results); len(p.batch) == 0 {
				return nil
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			fmt.Fprintf(p.err, "%s not stored, from line %d on\n", count(len(p.batch), "record"), p.numbers[0])
			return errInterrupted
		}
	}
	return nil
}

// settle counts what was stored and what was refused, and leaves in the batch
// what is to be tried again.
func (p *putter) settle(results []stream.PutResult) {
	again := 0
	p.bytes = 0
	for i := range results {
		e, err := p.batch[i], results[i].Err
		switch {
		case err == nil:
			p.done.Stored++
			p.done.Bytes += int64(e.Size())
			p.shards[results[i].Shard] = true
			p.done.Shards = len(p.shards)
		case errors.Is(err, stream.ErrThrottled):
			p.batch[again], p.numbers[again] = e, p.numbers[i]
			p.bytes += e.Size()
			again++
		default:
			p.refuse(p.numbers[i], err)
		}
	}
	clear(p.batch[again:])
	p.batch, p.numbers = p.batch[:again], p.numbers[:again]
}

func (p *putter) verdict() error {
	if p.done.Refused > 0 {
		return fmt.Errorf("%w: %d of %d were refused", errPartly, p.done.Refused, p.done.Refused+p.done.Stored)
	}
	return nil
}

func (p *putter) table(t *table) {
	text := fmt.Sprintf("stored %s, %d bytes, in %s", count(p.done.Stored, "record"), p.done.Bytes, count(p.done.Shards, "shard"))
	if p.done.Refused > 0 {
		text += fmt.Sprintf("; refused %d", p.done.Refused)
	}
	t.row(text)
}
