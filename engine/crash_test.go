package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/internal/proof"
)

// The crash tests live a life, cut the disk after every change of it, and open
// an engine on what that has left. A failure tells how to see it alone.
const (
	// imagesVariable says how many images all crash tests look at together.
	imagesVariable = "MILLRACE_CRASH_IMAGES"
	// oneVariable names a single image: seed/life/cut/number, as failures tell it.
	oneVariable = "MILLRACE_CRASH_IMAGE"
)

// way is a way of living: what an engine is tried with.
type way struct {
	share     int // of all images, percent
	config    func(rng *rand.Rand) Config
	retention time.Duration
	puts      int // of each writer
	controls  int
	lives     int // how often the engine is opened again on what a cut has left
	fault     fault
	damages   bool // between lives, bytes are flipped
	lies      bool // the disk may lose what it said it has
}

const longRetention = 24 * time.Hour

func someConfig(rng *rand.Rand) Config {
	cfg := small()
	cfg.MinRetention = 100 * time.Millisecond
	cfg.CacheBytes = []int{1, 0}[rng.IntN(2)]
	if rng.IntN(6) == 0 {
		cfg.PendingBytes = 4 << 10
	}
	cfg.ChunkBytes = []int64{-1, -1, 64 << 10, 128 << 10}[rng.IntN(4)]
	return cfg
}

// rewritingConfig rewrites every log file as soon as it is full.
func rewritingConfig(rng *rand.Rand) Config {
	cfg := someConfig(rng)
	cfg.ChunkBytes = 64 << 10
	return cfg
}

func relaxedConfig(rng *rand.Rand) Config {
	cfg := someConfig(rng)
	cfg.Durability = LoseOnPowerFailure
	cfg.SyncEvery = time.Duration(1+rng.IntN(30)) * time.Millisecond
	return cfg
}

func TestAPowerCutAtAnyMomentLosesNothingAcknowledged(t *testing.T) {
	cutEverywhere(t, "durable", way{share: 30, config: someConfig, retention: longRetention, puts: 20, controls: 7, lives: 3})
}

// What is lost is lost at the end of the log, and no number is given again.
// When only the process dies, nothing is lost.
func TestAPowerCutInTheRelaxedModeLeavesAPrefix(t *testing.T) {
	cutEverywhere(t, "relaxed", way{share: 10, config: relaxedConfig, retention: longRetention, puts: 20, controls: 7, lives: 3})
}

// Log files go round while the disk is cut: neither do old blocks come back nor
// are new ones taken for damage.
func TestAPowerCutWhileLogFilesAreRecycled(t *testing.T) {
	cutEverywhere(t, "recycled files", way{share: 15, config: someConfig, retention: briefRetention, puts: 40, controls: 7, lives: 3})
}

// The log is rewritten all the time, in files for two retentions, some of which
// leave.
func TestAPowerCutWhileTheLogIsRewritten(t *testing.T) {
	cutEverywhere(t, "rewritten log", way{share: 15, config: rewritingConfig, retention: longRetention, puts: 60, controls: 7, lives: 3})
}

func TestAPowerCutOfAFailingDisk(t *testing.T) {
	cutEverywhere(t, "failing disk", way{share: 10, config: someConfig, retention: longRetention, puts: 20, controls: 7, lives: 1, fault: failing})
}

func TestAPowerCutOfAFullDisk(t *testing.T) {
	cutEverywhere(t, "full disk", way{share: 10, config: someConfig, retention: briefRetention, puts: 30, controls: 7, lives: 1, fault: full})
}

// What a lying disk has lost is served by nobody, and a person is told of it as
// soon as something behind it proves that it was there.
func TestAPowerCutOfALyingDisk(t *testing.T) {
	cutEverywhere(t, "lying disk", way{share: 5, config: someConfig, retention: longRetention, puts: 20, controls: 7, lives: 1, fault: lying, lies: true})
}

func TestAPowerCutOfADamagedLogWhoseLossIsAccepted(t *testing.T) {
	cutEverywhere(t, "damaged log", way{share: 5, config: someConfig, retention: longRetention, puts: 20, controls: 7, lives: 3, damages: true})
}

// crashImages is how many images the tests look at together.
func crashImages(t testing.TB) int {
	if text := os.Getenv(imagesVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 2000
	}
	return 100_000
}

// tally sums up over all seeds of a test.
type tally struct {
	images, again, changes, records atomic.Int64
	ones                            []string // the one image that is wanted
}

func cutEverywhere(t *testing.T, name string, w way) {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // much garbage, little else
	begun := time.Now()
	all := int64(crashImages(t) * w.share / 100)
	var sum tally
	if one := os.Getenv(oneVariable); one != "" {
		sum.ones = strings.Split(one, "/")
	}
	var seed atomic.Uint64
	var explorers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		explorers.Go(func() {
			for sum.images.Load() < all && !t.Failed() {
				x := explorer{way: &w, sum: &sum, seed: seed.Add(1), stride: 4}
				if all < 5000 {
					x.stride = 24 // a thin sample of many lives
				}
				if len(sum.ones) > 0 {
					if x.seed > 1 {
						return
					}
					x.seed, _ = strconv.ParseUint(sum.ones[0], 10, 64)
				}
				t.Run(fmt.Sprint("seed ", x.seed), x.explore)
			}
		})
	}
	explorers.Wait()
	if t.Failed() {
		return
	}
	proof.Report(t, "crash images of the log, "+name, "images", sum.images.Load(), "of them cut again during recovery", sum.again.Load(),
		"seeds", fmt.Sprint("1 to ", seed.Load()), "changes of the disk", sum.changes.Load(), "records put", sum.records.Load(),
		"acknowledged records lost", 0, "seconds", int(time.Since(begun).Seconds()))
}

// explorer goes through the lives of one seed.
type explorer struct {
	way    *way
	sum    *tally
	seed   uint64
	stride int
}

func (x *explorer) explore(t *testing.T) {
	rng := rand.New(rand.NewPCG(x.seed, 0))
	cfg := x.way.config(rng)
	lag := time.Duration([]int{0, 0, 0, 0, 0, 1, 500, -1}[rng.IntN(8)]) * time.Millisecond
	disk, start := vfs.NewCrash(), time.Time{}
	l := &life{way: x.way, cfg: cfg, disk: disk, states: make([]state, 1)}
	for n := 0; n < x.way.lives && !t.Failed(); n++ {
		l.seed = x.seed*100 + uint64(n)
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(start))
			l.live(t)
			l.sortRecords()
		})
		if t.Failed() {
			return
		}
		x.sum.changes.Add(int64(l.disk.Ops()))
		x.sum.records.Add(int64(len(l.records)))
		synctest.Test(t, func(t *testing.T) { x.cutLife(t, l, n, start, lag) })
		l, start = x.following(l, rng)
	}
}

// following begins another life on what is left of one.
func (x *explorer) following(l *life, rng *rand.Rand) (*life, time.Time) {
	r := l.disk.Replay()
	if l.killed.Load() && rng.IntN(2) == 0 {
		// On the same machine: what was not synced still is not.
		for r.Step() {
		}
		l.from = r.At()
		return l, r.When()
	}
	if x.way.damages {
		for r.Step() {
		}
		damaged := l.disk.Now()
		flipSome(damaged, rng)
		return l.after(damaged.Now(), r.At(), true), r.When()
	}
	for range 1 + rng.IntN(l.disk.Ops()) {
		r.Step()
	}
	return l.after(r.Image(rng.Uint64()), r.At(), false), r.When()
}

// flipSome damages log files where something was written.
func flipSome(disk *vfs.Crash, rng *rand.Rand) {
	names, _ := disk.List()
	for range 1 + rng.IntN(3) {
		if name := names[rng.IntN(len(names))]; strings.HasSuffix(name, ".log") {
			disk.Flip(name, rng.Int64N(min(20_000, disk.SizeOf(name))), 1<<rng.IntN(8))
		}
	}
}

// cutLife cuts the disk after every change of a life.
func (x *explorer) cutLife(t *testing.T, l *life, n int, start time.Time, lag time.Duration) {
	j := newJudge(l)
	r := l.disk.Replay()
	for more := true; more; more = r.Step() {
		when := start
		if r.At() > 0 {
			when = r.When()
		}
		if r.At() < l.from || (r.At()+int(x.seed))%x.stride != 0 {
			continue
		}
		if lag >= 0 { // or the clock was set back
			time.Sleep(time.Until(when.Add(lag)))
		}
		for number := range 3 {
			name := fmt.Sprintf("%d/%d/%d/%d", x.seed, n, r.At(), number)
			if x.sum.ones != nil && strings.Join(x.sum.ones, "/") != name {
				continue
			}
			rng := rand.New(rand.NewPCG(x.seed, uint64(n)<<40|uint64(r.At())<<8|uint64(number)))
			at, image := moment{cut: r.At(), when: when}, (*vfs.Crash)(nil)
			if number == 2 && r.At()%4 == 0 {
				at.everything, image = true, r.Killed()
			} else {
				image = r.Image(rng.Uint64())
			}
			if err := x.try(t, j, image, at, rng, 0); err != nil {
				t.Fatalf("%v\nto see this image alone: %s=%s go test ./engine -count=20 -run '^%s$'", err, oneVariable, name, strings.Split(t.Name(), "/")[0])
			}
		}
	}
}

// try opens an engine on an image, verifies it, and goes on with it. Some images
// are cut a second and a third time, on the way or behind it.
func (x *explorer) try(t *testing.T, j *judge, image *vfs.Crash, at moment, rng *rand.Rand, depth int) error {
	x.sum.images.Add(1)
	cfg := j.l.cfg
	cfg.fs = image
	again := depth < 3 && rng.IntN(4) == 0 && !x.way.lies
	if again {
		cfg.fs = pacedDisk{image, rng.Uint64()} // for the same changes in the same order
	}
	e, err := Open("", cfg)
	if err != nil {
		return fmt.Errorf("cut after change %d: open: %w", at.cut, err)
	}
	defer e.Close()
	if err := j.verify(e, at); err != nil {
		return fmt.Errorf("cut after change %d: %w", at.cut, err)
	}
	if !again {
		records := len(j.l.records)
		err := j.goOn(t.Context(), rng, e, at)
		j.l.records = j.l.records[:records]
		if depth > 0 || rng.IntN(4) > 0 {
			kill(e, image)
		}
		return errors.Join(err, ignoreKilled(e.Close()))
	}
	x.sum.again.Add(1)
	child := j.l.after(image, at.cut, at.everything)
	child.adopt(t, e)
	next := newJudge(child)
	if err := next.goOn(t.Context(), rng, e, moment{cut: image.Ops()}); err != nil {
		return err
	}
	if rng.IntN(2) == 0 {
		kill(e, image)
	} else if err := e.Close(); err != nil {
		return err
	}
	child.sortRecords()
	r := image.Replay()
	for range rng.IntN(image.Ops() + 1) {
		r.Step()
	}
	later := moment{cut: r.At(), when: at.when}
	if now := time.Now(); now.After(at.when) {
		later.when = now
	}
	if err := x.try(t, newJudge(child), r.Image(rng.Uint64()), later, rng, depth+1); err != nil {
		return fmt.Errorf("cut after change %d, and again: %w", at.cut, err)
	}
	return nil
}

func ignoreKilled(err error) error {
	if errors.Is(err, vfs.ErrKilled) {
		return nil
	}
	return err
}

// An image that has failed can be looked at again. Only goroutines that wait
// for the same thing, for a reshard to end or for room, go on in any order.
func TestASeedGivesTheSameLifeAgain(t *testing.T) {
	w := way{retention: longRetention, puts: 40}
	for seed := range uint64(5) {
		var first string
		for range 2 {
			cfg := small()
			cfg.ChunkBytes = 64 << 10
			l := &life{way: &w, cfg: cfg, seed: seed, disk: vfs.NewCrash()}
			synctest.Test(t, l.live)
			var b strings.Builder
			for _, op := range l.disk.History() {
				fmt.Fprintln(&b, op.When.UnixNano(), op)
			}
			if first != "" && first != b.String() {
				t.Errorf("seed %d gives two lives: %s", seed, firstDifference(first, b.String()))
			}
			first = b.String()
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("change %d is %q or %q", i, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d changes or %d", len(x), len(y))
}
