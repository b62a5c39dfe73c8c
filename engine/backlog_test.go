package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// slowReads is files that take their time to be read, or cannot be: in an engine
// without readers, that is the rewriter's business alone.
type slowReads struct {
	vfs.FS
	takes time.Duration
	fails atomic.Bool
}

type slowRead struct {
	vfs.File
	fs *slowReads
}

func (s *slowReads) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return slowRead{f, s}, nil
}

func (s *slowReads) Open(name string) (vfs.File, error)   { return s.file(s.FS.Open(name)) }
func (s *slowReads) Create(name string) (vfs.File, error) { return s.file(s.FS.Create(name)) }

func (f slowRead) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(f.fs.takes)
	if f.fs.fails.Load() {
		return 0, errors.New("this disk cannot be read")
	}
	return f.File.ReadAt(p, off)
}

func (f slowRead) Sync() error {
	time.Sleep(syncTime)
	return f.File.Sync()
}

// waiting is how many segments of the log are not rewritten.
func (e *Engine) waiting() int { return int(e.Stats().LogBytes / e.cfg.SegmentBytes) }

// putters is more than a step of the rewriter makes room for.
const putters = 24

// saturate puts from several sides for a time, and returns how much was put, how
// long a put took at most, and how many segments waited for the rewriter at most.
func saturate(t *testing.T, e *Engine, during time.Duration) (bytes int, slowest time.Duration, most int) {
	s := ensure(t, e, "orders", StreamConfig{Shards: 3})
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(during)
	for range putters {
		wg.Go(func() {
			for time.Now().Before(end) {
				begun := time.Now()
				if _, err := s.Put(t.Context(), entry("a", strings.Repeat("x", 4000)), entry("b", "x")); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				bytes += 4000
				slowest = max(slowest, time.Since(begun))
				most = max(most, e.waiting())
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return bytes, slowest, most
}

// A log that fills faster than it can be rewritten would take ever more memory
// for its index, and ever longer to open.
func TestPutsDoNotRunAwayFromTheRewriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const read = 20 * time.Millisecond
		e := mustOpen(t, rewriting(&slowReads{FS: vfs.Memory(), takes: read}))
		bytes, slowest, most := saturate(t, e, 10*time.Second)
		if most > 8+2 {
			t.Errorf("%d runs wait to be rewritten", most)
		}
		if bytes < 100*int(e.cfg.SegmentBytes) {
			t.Errorf("%d bytes were put: the rewriter could have done more", bytes)
		}
		// A step is half a segment, and lets half of it be put.
		if each := int(e.cfg.SegmentBytes) / 4 / 4000; slowest > time.Duration(2+putters/each)*read {
			t.Errorf("a put took %v, and %d could go on each %v", slowest, each, read)
		}
	})
}

func TestPutsGoOnWithoutARewriterAtWork(t *testing.T) {
	for what, chunkBytes := range map[string]int64{"it fails": 1, "it is off": -1} {
		synctest.Test(t, func(t *testing.T) {
			fs := &slowReads{FS: vfs.Memory()}
			cfg := rewriting(fs)
			cfg.ChunkBytes = chunkBytes
			e := mustOpen(t, cfg)
			fs.fails.Store(true)
			_, slowest, most := saturate(t, e, time.Second)
			if most < 50 || slowest > 10*time.Millisecond {
				t.Errorf("%s: %d segments wait, and the slowest put took %v", what, most, slowest)
			}
		})
	}
}

// Appends that were far ahead when the rewriter comes back, after a full disk or
// an opening, go on beside it.
func TestARewriterThatIsFarBehindCatchesUpBesidePuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const read = 5 * time.Millisecond
		fs := &slowReads{FS: vfs.Memory(), takes: read}
		e := mustOpen(t, rewriting(fs))
		fs.fails.Store(true)
		_, _, behind := saturate(t, e, time.Second)
		fs.fails.Store(false)
		time.Sleep(retryRewrite)
		_, slowest, _ := saturate(t, e, 5*time.Second)
		if now := e.waiting(); behind < 50 || now > 8+2 || slowest > 10*read {
			t.Errorf("%d segments waited, then %d; the slowest put took %v", behind, now, slowest)
		}
	})
}

// A disk may take minutes to fail. Puts wait a moment for it once, and the disk is
// asked again ever more rarely.
func TestPutsGoOnWhileADiskTakesItsTimeToFail(t *testing.T) {
	for _, delay := range []time.Duration{2 * time.Second, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			d := vfs.Scratch(vfs.Memory())
			e := mustOpen(t, rewriting(d))
			s := ensure(t, e, "orders", StreamConfig{})
			putN(t, s, 30, 1000)
			d.Delay(delay)
			d.Spoil(firstLog, 5*vfs.PageSize, 6*vfs.PageSize)
			var slowest, all time.Duration
			for begun := time.Now(); time.Since(begun) < 5*time.Minute; time.Sleep(50 * time.Millisecond) {
				at := time.Now()
				putN(t, s, 1, 1000)
				slowest, all = max(slowest, time.Since(at)), all+time.Since(at)
			}
			if slowest > time.Second || all > 2*time.Second {
				t.Errorf("a disk that fails after %v: the slowest put took %v, %v in sum", delay, slowest, all)
			}
			if n := d.Failures(); n < 3 || n > 12 {
				t.Errorf("in 5 minutes the disk was asked %d times for what it cannot read", n)
			}
			if blocks := len(s.Losses()); blocks < 4 {
				t.Errorf("%d blocks in the page are told of", blocks)
			}
			d.Heal(true)
			time.Sleep(6 * time.Minute)
			if l := s.Losses(); len(l) > 0 || e.waiting() > 2 {
				t.Errorf("the disk can read again; lost is %v, and %d segments wait", l, e.waiting())
			}
			e.Close()
		})
	}
}

func TestAPutThatWaitsForTheRewriterCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := mustOpen(t, rewriting(&slowReads{FS: vfs.Memory(), takes: 900 * time.Millisecond}))
		s := ensure(t, e, "orders", StreamConfig{})
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, enough)
		defer cancel()
		var err error
		for err == nil {
			_, err = s.Put(ctx, entry("a", strings.Repeat("x", 4000)))
		}
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			// The rewriter ends first, and then the log: either lets the put go.
			if _, err := s.Put(t.Context(), entry("a", strings.Repeat("x", 4000))); err != nil && !errors.Is(err, stream.ErrClosed) {
				t.Errorf("a put that waits when the engine is closed: %v", err)
			}
		})
		synctest.Wait()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

// What is put is in the log first, and in one of the two kinds of closed files
// at last.
func TestStatsTellWhereTheDataIs(t *testing.T) {
	for what, size := range map[string]int{"small blocks are rewritten": 100, "large ones are adopted": 12_000} {
		synctest.Test(t, func(t *testing.T) {
			e := mustOpen(t, rewriting(vfs.Memory()))
			s := ensure(t, e, "orders", StreamConfig{})
			if st := e.Stats(); st.LogBytes > 10_000 || st.RewrittenFiles+st.AdoptedFiles > 0 {
				t.Errorf("at first: %+v", st)
			}
			put := 0
			for put < 10*int(e.cfg.SegmentBytes) {
				mustPut(t, s, entry("a", strings.Repeat("x", size)))
				put += size
				synctest.Wait()
			}
			st := e.Stats()
			closed, files, others := st.RewrittenBytes, st.RewrittenFiles, st.AdoptedFiles
			if size > 1000 {
				closed, files, others = st.AdoptedBytes, st.AdoptedFiles, st.RewrittenFiles
			}
			if files < 5 || others > 0 || st.LogBytes > 3*e.cfg.SegmentBytes || closed+st.LogBytes < int64(put) {
				t.Errorf("%s: %+v after %d bytes", what, st, put)
			}
		})
	}
}
