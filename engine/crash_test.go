package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// crashImages is how many images of a cut disk the crash tests look at; the
// environment variable MILLRACE_CRASH_IMAGES says otherwise.
func crashImages(t testing.TB) int {
	if text := os.Getenv("MILLRACE_CRASH_IMAGES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 300
	}
	return 2000
}

// history is what a workload knows for certain, with the number of changes
// that the disk had seen by then.
type history struct {
	fs *vfs.Crash

	mu     sync.Mutex
	acked  []happened
	seen   []happened // by readers
	states []state
}

// happened is a record that was acknowledged, or seen, before change number at.
type happened struct {
	at      int
	created int64 // of the stream
	shard   string
	seq     stream.Sequence
	data    string
}

// state is what the control plane was asked for: begun before change number
// begun, answered before change number done.
type state struct {
	begun, done int
	what        string
}

func (h *history) ack(s *Stream, entries []stream.Entry, results []stream.PutResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.fs.Ops()
	for i, r := range results {
		h.acked = append(h.acked, happened{at, s.created, r.Shard, r.Sequence, string(entries[i].Data)})
	}
}

// control does one call of the control plane and notes what came of it.
func (h *history) control(t testing.TB, e *Engine, f func() error) {
	t.Helper()
	begun := h.fs.Ops()
	if err := f(); err != nil {
		t.Error(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states = append(h.states, state{begun, h.fs.Ops(), describeAll(e)})
}

// describeAll writes down everything that the manifest keeps, but for what
// time alone changes.
func describeAll(e *Engine) string {
	var b strings.Builder
	for _, name := range e.Streams() {
		s, err := e.Stream(name)
		if err != nil {
			continue
		}
		d, _ := s.Describe()
		fmt.Fprintf(&b, "%s %d %v %v\n", name, s.created, d.Retention, d.Tags)
		for _, m := range s.topology.Load().all {
			fmt.Fprintf(&b, "  %s %v %v %v\n", m.id, m.parents, m.hash, m.closed != 0)
		}
	}
	return b.String()
}

// workload does everything an engine can do, on a disk that records it: puts
// from several goroutines, readers at their heels, and all of the control plane.
func workload(t *testing.T, seed uint64, cfg Config) *history {
	h := &history{fs: vfs.NewCrash()}
	cfg.fs = h.fs
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 3 {
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.states = append(h.states, state{h.fs.Ops(), h.fs.Ops(), describeAll(e)})
		var s *Stream
		h.control(t, e, func() (err error) {
			s, err = e.EnsureStream(t.Context(), "main", StreamConfig{Shards: 2})
			return err
		})
		var wg sync.WaitGroup
		for w := range 3 {
			rng := rand.New(rand.NewPCG(seed, uint64(100+w)))
			wg.Go(func() {
				for i := range 25 {
					entries := make([]stream.Entry, 1+rng.IntN(4)*rng.IntN(4))
					for j := range entries {
						size := rng.IntN(60)
						if rng.IntN(40) == 0 {
							size = 3000
						}
						entries[j] = entry(fmt.Sprint(rng.IntN(50)), fmt.Sprintf("%d-%d-%d-%d-%s", round, w, i, j, strings.Repeat("x", size)))
					}
					results, err := s.Put(t.Context(), entries...)
					if err != nil {
						t.Error(err)
						return
					}
					h.ack(s, entries, results)
				}
			})
		}
		stop := make(chan struct{})
		var readers sync.WaitGroup
		readers.Go(func() {
			for done := false; !done; {
				select {
				case <-stop:
					done = true
				default:
				}
				h.look(t, s)
			}
		})
		for i := range 6 {
			h.control(t, e, func() error { return randomControl(t, rng, e, s, i) })
		}
		wg.Wait()
		close(stop)
		readers.Wait()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// look reads all there is and notes it.
func (h *history) look(t testing.TB, s *Stream) {
	shards, err := s.Shards(t.Context())
	if err != nil {
		return
	}
	for _, sh := range shards {
		records, err := readNow(s, sh.ID, stream.TrimHorizon)
		var end *stream.ShardEndError
		if err != nil && !errors.As(err, &end) {
			t.Errorf("read: %v", err)
			return
		}
		h.mu.Lock()
		at := h.fs.Ops()
		for _, r := range records {
			h.seen = append(h.seen, happened{at, s.created, sh.ID, r.Sequence, string(r.Data)})
		}
		h.mu.Unlock()
	}
}

func randomControl(t testing.TB, rng *rand.Rand, e *Engine, s *Stream, i int) error {
	ctx := t.Context()
	open := s.topology.Load().open
	switch rng.IntN(6) {
	case 0:
		sh := open[rng.IntN(len(open))]
		return s.Split(ctx, sh.id, sh.hash.Middle())
	case 1:
		if len(open) > 1 {
			k := rng.IntN(len(open) - 1)
			return s.Merge(ctx, open[k].id, open[k+1].id)
		}
		return s.UpdateShardCount(ctx, 3)
	case 2:
		return s.UpdateShardCount(ctx, 1+rng.IntN(4))
	case 3:
		return s.Tag(ctx, map[string]string{"turn": fmt.Sprint(i)})
	case 4:
		if _, err := e.Stream("other"); err == nil {
			return e.DeleteStream(ctx, "other")
		}
		_, err := e.CreateStream(ctx, "other", StreamConfig{})
		return err
	default:
		return s.SetRetention(ctx, time.Duration(24+rng.IntN(100))*time.Hour)
	}
}

// judge has what is needed to check images.
type judge struct {
	h     *history
	order map[string][]happened // all records of a shard, in order
}

func newJudge(h *history) *judge {
	j := &judge{h: h, order: map[string][]happened{}}
	for _, a := range h.acked {
		j.order[j.key(a)] = append(j.order[j.key(a)], a)
	}
	for _, all := range j.order {
		slices.SortFunc(all, func(a, b happened) int { return a.seq.Compare(b.seq) })
	}
	return j
}

func (j *judge) key(a happened) string { return fmt.Sprint(a.created, " ", a.shard) }

// check opens an image of the disk after change number at, and holds it
// against what had happened by then.
func (j *judge) check(cfg Config, image *vfs.Crash, at int) error {
	cfg.fs = image
	e, err := Open("", cfg)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer e.Close()
	if d := e.Damage(); len(d) > 0 {
		return fmt.Errorf("an unfinished write was taken for damage: %v", d)
	}
	if err := j.checkControl(e, at); err != nil {
		return err
	}
	have := map[string]int{} // how many records of each shard
	for _, name := range e.Streams() {
		s, _ := e.Stream(name)
		for _, m := range s.topology.Load().all {
			key := fmt.Sprint(s.created, " ", m.id)
			records, err := readNow(s, m.id, stream.TrimHorizon)
			var end *stream.ShardEndError
			if err != nil && !errors.As(err, &end) {
				return fmt.Errorf("read %s: %w", m.id, err)
			}
			all := j.order[key]
			if len(records) > len(all) {
				return fmt.Errorf("%s has %d records, and only %d were put", m.id, len(records), len(all))
			}
			for i, r := range records {
				if r.Sequence != all[i].seq || string(r.Data) != all[i].data {
					return fmt.Errorf("%s: record %d is not the one that was put there: a hole, or an invention", m.id, i)
				}
			}
			have[key] = len(records)
		}
		// No number is given twice.
		if name == "main" {
			results, err := s.Put(context.Background(), number(0, 20)...)
			if err != nil {
				return fmt.Errorf("put after recovery: %w", err)
			}
			for _, r := range results {
				for _, old := range j.order[fmt.Sprint(s.created, " ", r.Shard)] {
					if old.at <= at && !old.seq.Less(r.Sequence) {
						return fmt.Errorf("%s: %v was given before", r.Shard, r.Sequence)
					}
				}
			}
		}
	}
	if cfg.Durability != Durable {
		return nil
	}
	for what, list := range map[string][]happened{"acknowledged": j.h.acked, "seen": j.h.seen} {
		for _, a := range list {
			if a.at > at {
				continue
			}
			all := j.order[j.key(a)]
			i, _ := slices.BinarySearchFunc(all, a.seq, func(x happened, seq stream.Sequence) int { return x.seq.Compare(seq) })
			if have[j.key(a)] <= i {
				return fmt.Errorf("a record that was %s is lost: %s %v", what, a.shard, a.seq)
			}
		}
	}
	return nil
}

func (j *judge) checkControl(e *Engine, at int) error {
	var last state
	var allowed []string
	for _, s := range j.h.states {
		if s.done <= at {
			last = s
		} else if s.begun <= at {
			allowed = append(allowed, s.what)
			break
		}
	}
	allowed = append(allowed, last.what)
	if have := describeAll(e); !slices.Contains(allowed, have) {
		return fmt.Errorf("streams and shards are\n%swant\n%s", have, strings.Join(allowed, "or\n"))
	}
	return nil
}

func TestAPowerCutAtAnyMomentLosesNothingAcknowledged(t *testing.T) {
	cutEverywhere(t, small(), crashImages(t))
}

// What is lost is lost at the end of the log, and no number is given again.
func TestAPowerCutInTheRelaxedModeLeavesAPrefix(t *testing.T) {
	cfg := small()
	cfg.Durability = LoseOnPowerFailure
	cfg.SyncEvery = time.Millisecond
	cutEverywhere(t, cfg, crashImages(t)/4)
}

func cutEverywhere(t *testing.T, cfg Config, images int) {
	for seed, done := uint64(1), 0; done < images; seed++ {
		h := workload(t, seed, cfg)
		if t.Failed() {
			return
		}
		j := newJudge(h)
		r := h.fs.Replay()
		each := max(1, images/(3*h.fs.Ops()))
		rng := rand.New(rand.NewPCG(seed, 2))
		for r.Step() && done < images {
			if images < 2*h.fs.Ops() && rng.IntN(2*h.fs.Ops()) > images {
				continue // a sample
			}
			for k := range each {
				done++
				image := r.Image(seed*1000 + uint64(k))
				if err := j.check(cfg, image, r.At()); err != nil {
					t.Fatalf("seed %d, cut after change %d, image %d: %v", seed, r.At(), k, err)
				}
				if rng.IntN(4) > 0 {
					continue
				}
				done++
				again, err := j.cutRecovery(cfg, r.Image(seed*1000+uint64(k)), rng)
				if err == nil {
					err = j.check(cfg, again, r.At())
				}
				if err != nil {
					t.Fatalf("seed %d, cut after change %d, image %d, and again while recovering: %v", seed, r.At(), k, err)
				}
			}
		}
		t.Logf("seed %d: %d changes, %d records, %d seen, %d control calls; %d images so far",
			seed, h.fs.Ops(), len(h.acked), len(h.seen), len(h.states), done)
	}
}

// cutRecovery opens an image, and returns what a second cut at any moment of
// that may have left.
func (j *judge) cutRecovery(cfg Config, image *vfs.Crash, rng *rand.Rand) (*vfs.Crash, error) {
	before := image.Ops()
	cfg.fs = image
	e, err := Open("", cfg)
	if err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	again := image.Replay()
	for range before + rng.IntN(image.Ops()-before+1) {
		again.Step()
	}
	return again.Image(rng.Uint64()), nil
}

// Log files go round while the disk is cut: neither old blocks come back nor
// are new ones taken for damage.
func TestAPowerCutWhileLogFilesAreRecycled(t *testing.T) {
	cfg := small()
	h := &history{fs: vfs.NewCrash()}
	cfg.fs = h.fs
	for range 3 {
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "brief", StreamConfig{Shards: 2, Retention: time.Millisecond})
		for i := range 60 {
			entries := number(i*10, 10)
			entries[3].Data = append(entries[3].Data, make([]byte, 5000)...)
			h.ack(s, entries, mustPut(t, s, entries...))
			if i%5 == 4 {
				expireAll(t, s)
				if err := e.sweep(); err != nil {
					t.Fatal(err)
				}
				if err := s.SetRetention(t.Context(), time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
		}
		if e.log.Files().First < 3 {
			t.Fatalf("the log has not gone round: first segment %d", e.log.Files().First)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j := newJudge(h)
	r := h.fs.Replay()
	images := 0
	for seed := uint64(0); r.Step(); seed++ {
		if testing.Short() && seed%5 != 0 {
			continue
		}
		images++
		if err := j.checkBrief(cfg, r.Image(seed), r.At()); err != nil {
			t.Fatalf("cut after change %d: %v", r.At(), err)
		}
	}
	t.Logf("%d images", images)
}

// checkBrief is check for a stream whose records may have left.
func (j *judge) checkBrief(cfg Config, image *vfs.Crash, at int) error {
	cfg.fs = image
	e, err := Open("", cfg)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer e.Close()
	if d := e.Damage(); len(d) > 0 {
		return fmt.Errorf("taken for damage: %v", d)
	}
	s, err := e.Stream("brief")
	if err != nil {
		return nil
	}
	for _, m := range s.topology.Load().all {
		records, err := readNow(s, m.id, stream.TrimHorizon)
		if err != nil {
			return err
		}
		all := j.order[fmt.Sprint(s.created, " ", m.id)]
		for _, r := range records {
			i, ok := slices.BinarySearchFunc(all, r.Sequence, func(x happened, seq stream.Sequence) int { return x.seq.Compare(seq) })
			if !ok || all[i].data != string(r.Data) {
				return fmt.Errorf("%s: %v was never put", m.id, r.Sequence)
			}
		}
	}
	results, err := s.Put(context.Background(), number(0, 5)...)
	if err != nil {
		return err
	}
	for _, r := range results {
		for _, old := range j.order[fmt.Sprint(s.created, " ", r.Shard)] {
			if old.at <= at && !old.seq.Less(r.Sequence) {
				return fmt.Errorf("%s: %v was given before", r.Shard, r.Sequence)
			}
		}
	}
	return nil
}
