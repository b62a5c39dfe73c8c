package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
	"github.com/millrace/millrace/stream/streamtest"
)

// reel is a stream in memory, and what was put there, as --output raw shows it.
type reel struct {
	*streamtest.Memory
	t *testing.T
	n int
}

func newReel(t *testing.T, shards int) *reel {
	return &reel{Memory: streamtest.NewMemory("orders", shards), t: t}
}

// put puts n records, numbered from 1 on, over ten keys.
func (r *reel) put(n int) {
	r.t.Helper()
	for range n {
		r.n++
		results, err := r.Put(r.t.Context(), stream.Entry{PartitionKey: fmt.Sprint("key-", r.n%10), Data: []byte(strconv.Itoa(r.n))})
		if err != nil || results[0].Err != nil {
			r.t.Fatal(err, results)
		}
	}
}

// ended does what fullStream says.
func (r *reel) ended(ctx context.Context, shardID string, from stream.Position) bool {
	reader, err := r.Open(ctx, shardID, from)
	if err != nil {
		return false
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	var b stream.Batch
	return errors.Is(reader.Next(ctx, &b), context.DeadlineExceeded)
}

// tailed runs a merger until it ends, and returns the records that it showed.
func (r *reel) tailed(m *merger, only ...string) (all []string) {
	r.t.Helper()
	var out bytes.Buffer
	if m.stream == nil {
		m.stream = r
	}
	m.ended, m.show, m.warn = r.ended, newRenderer("raw", &out), complaints(IO{Err: &out})
	if err := m.run(r.t.Context(), only); err != nil {
		r.t.Fatal(err)
	}
	return strings.Fields(out.String())
}

// upTo is the numbers from one to another.
func upTo(from, to int) (all []string) {
	for n := from; n <= to; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

func TestTheShardsOfAStreamAreShownInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReel(t, 4)
		for range 500 {
			r.put(3)
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		if got := r.tailed(&merger{from: stream.TrimHorizon}); !slices.Equal(got, upTo(1, 1500)) {
			t.Errorf("%d records, or in another order", len(got))
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end was noticed after %v", took)
		}
		if got := r.tailed(&merger{from: stream.TrimHorizon, most: 17}); !slices.Equal(got, upTo(1, 17)) {
			t.Errorf("-n 17 gives %v", got)
		}
		if got := r.tailed(&merger{from: stream.AtTime(began)}); len(got) != 0 {
			t.Errorf("from the end on: %v", got)
		}
	})
}

func TestParentsAreShownBeforeTheirChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReel(t, 3)
		var since time.Time
		for i := range 6 {
			if i == 3 {
				since = time.Now()
			}
			r.put(20)
			if err := r.UpdateShardCount(t.Context(), 1+i%4); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		r.put(20)
		// At one instant, ended parents and their children are in order, too.
		if got := r.tailed(&merger{from: stream.TrimHorizon}); !slices.Equal(got, upTo(1, 140)) {
			t.Errorf("%v", got)
		}
		if got := r.tailed(&merger{from: stream.AtTime(since)}); !slices.Equal(got, upTo(61, 140)) {
			t.Errorf("since then: %v", got)
		}
		if got := r.tailed(&merger{from: stream.TrimHorizon}, "shardId-000000000000"); len(got) == 0 || len(got) == 140 {
			t.Errorf("of one shard and its children: %d records", len(got))
		}
	})
}

func TestShardsThatHaveNothingHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReel(t, 50) // most of them empty
		r.put(10)
		began := time.Now()
		if got := r.tailed(&merger{from: stream.TrimHorizon}); !slices.Equal(got, upTo(1, 10)) {
			t.Errorf("%v", got)
		}
		if took := time.Since(began); took > patience {
			t.Errorf("it took %v", took)
		}
	})
}

// slowly is a stream of which one shard takes its time, and says that there is
// more to come when there is not.
type slowly struct {
	stream.Stream
	shard string
	takes time.Duration
}

func (s slowly) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	r, err := s.Stream.Open(ctx, shard, from)
	if err == nil && shard == s.shard {
		r = slowReader{r, s.takes}
	}
	return r, err
}

type slowReader struct {
	stream.Reader
	takes time.Duration
}

func (r slowReader) Next(ctx context.Context, b *stream.Batch) error {
	if err := pause(ctx, r.takes); err != nil {
		return err
	}
	err := r.Reader.Next(ctx, b)
	b.Behind = max(b.Behind, time.Millisecond)
	return err
}

func TestAShardThatIsSlowToAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReel(t, 3)
		for range 100 {
			r.put(3)
			time.Sleep(time.Millisecond)
		}
		if got := r.tailed(&merger{from: stream.TrimHorizon, stream: slowly{r, "shardId-000000000001", 7 * time.Second}}); !slices.Equal(got, upTo(1, 300)) {
			t.Errorf("%d records, or in another order: %v", len(got), got)
		}
		// Who follows sees what the others have after a while, and of a shard that has
		// nothing at once.
		for takes, most := range map[time.Duration]time.Duration{time.Second: 2 * time.Second, time.Hour: patience + time.Second} {
			began := time.Now()
			if got := r.tailed(&merger{from: stream.TrimHorizon, follow: true, most: 50, stream: slowly{r, "shardId-000000000001", takes}}); len(got) != 50 {
				t.Errorf("%v", got)
			}
			if took := time.Since(began); took > most {
				t.Errorf("a shard that takes %v held up the others for %v", takes, took)
			}
		}
	})
}

func TestTailShowsRecordsInThreeForms(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	sh.env["MILLRACE_DATA"] = dir
	sh.ok("", "stream", "create", "s")
	sh.ok(`{"partition_key":"k","data":"plain <text>"}
{"partition_key":"k\u001b[31m","data":"clear\u001b[2J"}
{"partition_key":"k","data_base64":"/wA=","explicit_hash_key":"7"}
`, "put", "s", "--format", "ndjson")

	lines := strings.Split(sh.ok("", "tail", "s"), "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], "  shardId-000000000000  k  plain <text>") ||
		!strings.HasSuffix(lines[1], `  "k\x1b[31m"  "clear\x1b[2J"`) || !strings.HasSuffix(lines[2], `  "\xff\x00"`) {
		t.Errorf("for people: %q", lines)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", strings.Fields(lines[0])[0]); err != nil {
		t.Error(err)
	}
	if got := sh.ok("", "tail", "s", "-o", "raw"); got != "plain <text>\nclear\x1b[2J\n\xff\x00\n" {
		t.Errorf("raw: %q", got)
	}
	asJSON := sh.ok("", "tail", "s", "-ojson", "-n2")
	var one recordJSON
	if err := json.Unmarshal([]byte(strings.SplitAfter(asJSON, "\n")[0]), &one); err != nil || one.Shard != "shardId-000000000000" ||
		one.PartitionKey != "k" || string(one.Data) != `"plain <text>"` || one.Arrival == nil || strings.Count(asJSON, "\n") != 2 {
		t.Errorf("JSON: %s, %v", asJSON, err)
	}
	if got := sh.ok("", "tail", "s", "-o", "raw", "--key", "k\x1b[31m"); got != "clear\x1b[2J\n" {
		t.Errorf("of one key: %q", got)
	}
	if got := sh.ok("", "tail", "s", "-o", "raw", "--from", one.Sequence, "--shard", one.Shard, "-n", "1"); got != "plain <text>\n" {
		t.Errorf("from its sequence number on: %q", got)
	}

	// What is shown as JSON can be put elsewhere.
	sh.ok("", "stream", "create", "copy")
	sh.ok(sh.ok("", "tail", "s", "-o", "json"), "put", "copy", "--format", "ndjson")
	if got, want := sh.ok("", "tail", "copy", "-o", "raw"), sh.ok("", "tail", "s", "-o", "raw"); got != want {
		t.Errorf("the copy is %q, want %q", got, want)
	}
}

func TestTailShowsWhatIsInsideOfAggregates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReel(t, 1)
		var a kpl.Aggregator
		for _, n := range upTo(1, 5) {
			a.Add(stream.Entry{PartitionKey: "k", Data: []byte(n)})
		}
		e, _ := a.Take()
		if _, err := r.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got := r.tailed(&merger{from: stream.TrimHorizon}); !slices.Equal(got, upTo(1, 5)) {
			t.Errorf("%q", got)
		}
		if got := r.tailed(&merger{from: stream.TrimHorizon, options: kpl.Options{Policy: kpl.Keep}}); len(got) == 5 {
			t.Errorf("kept: %q", got)
		}
	})
}

// full is a pipe whose reader has left.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestThatNobodyReadsOnIsNoFailure(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	sh.ok("", "stream", "create", "s", "--data", dir)
	sh.ok("a\n", "put", "s", "--data", dir)
	for err, want := range map[error]int{syscall.EPIPE: exitOK, syscall.ENOSPC: exitFailed} {
		var told strings.Builder
		exit := Run(t.Context(), []string{"tail", "s", "--data", dir}, IO{Out: full{fmt.Errorf("write: %w", err)}, Err: &told})
		if exit != want || (told.Len() == 0) != (want == exitOK) {
			t.Errorf("%v: exit %d, %q", err, exit, told.String())
		}
	}
	if exit := exitCode(fmt.Errorf("write tcp: %w", syscall.EPIPE)); exit != exitFailed {
		t.Errorf("a connection that breaks is exit %d", exit)
	}
}

func TestTailBeginsWhereItIsTold(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	seq, _ := stream.ParseSequence("4959")
	for text, want := range map[string]stream.Position{
		"":                          stream.TrimHorizon,
		"horizon":                   stream.TrimHorizon,
		"TRIM_HORIZON":              stream.TrimHorizon,
		"latest":                    stream.Latest,
		"now":                       stream.Latest,
		"5m":                        stream.AtTime(now.Add(-5 * time.Minute)),
		"-1h30m":                    stream.AtTime(now.Add(-90 * time.Minute)),
		"2026-11-23":                stream.AtTime(now.Add(-12 * time.Hour)),
		"2026-11-23T10:00":          stream.AtTime(now.Add(-2 * time.Hour)),
		"2026-11-23T10:00Z":         stream.AtTime(now.Add(-2 * time.Hour)),
		"2026-11-23T10:00:00+01:00": stream.AtTime(now.Add(-3 * time.Hour)),
		"4959":                      stream.At(seq),
		"4959/3":                    stream.At(seq.WithSub(3)),
	} {
		o := tailOptions{from: text, shards: []string{"one"}}
		if got, err := o.position(now); err != nil || got != want {
			t.Errorf("--from %q is %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := (&tailOptions{follow: true}).position(now); err != nil || got != stream.Latest {
		t.Errorf("-f begins at %v, %v", got, err)
	}
}
