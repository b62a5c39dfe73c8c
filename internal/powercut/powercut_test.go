package powercut

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/stream"
)

const (
	// cutsVariable says how often each file system is cut, and that it must be
	// possible.
	cutsVariable = "MILLRACE_POWERCUTS"

	envDir     = "MILLRACE_POWERCUT_DIR"     // makes a process the child
	envRelaxed = "MILLRACE_POWERCUT_RELAXED" // and one that does not sync

	// cutsAVolume bounds what has to be read after a cut.
	cutsAVolume = 10
)

func TestMain(m *testing.M) {
	if os.Getenv(envDir) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func config() engine.Config {
	return engine.Config{
		SegmentBytes: 256 << 10, ChunkBytes: 512 << 10, CacheBytes: 1 << 20,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// child puts until the disk is gone, and writes a line for each record that was
// acknowledged: shard, sequence number, data.
func child() error {
	go func() {
		// The parent never writes: this returns when it is gone, however it ended.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	cfg := config()
	if os.Getenv(envRelaxed) != "" {
		cfg.Durability, cfg.SyncEvery = engine.LoseOnPowerFailure, time.Hour
	}
	e, err := engine.Open(os.Getenv(envDir), cfg)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := e.EnsureStream(ctx, "orders", engine.StreamConfig{Shards: 3})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	var out sync.Mutex
	failed := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				entries := make([]stream.Entry, 1+rand.IntN(6))
				for k := range entries {
					data := fmt.Sprintf("%d-%d-%d-%d-%s", os.Getpid(), w, i, k, strings.Repeat("x", rand.IntN(2000)))
					entries[k] = stream.Entry{PartitionKey: strconv.Itoa(rand.IntN(100)), Data: []byte(data)}
				}
				results, err := s.Put(ctx, entries...)
				if err != nil {
					failed <- err
					return
				}
				var lines strings.Builder
				for k, r := range results {
					fmt.Fprintf(&lines, "%s %v %s\n", r.Shard, r.Sequence, entries[k].Data)
				}
				out.Lock()
				os.Stdout.WriteString(lines.String())
				out.Unlock()
			}
		}()
	}
	go func() {
		for cfg.Durability == engine.Durable {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			if err := s.UpdateShardCount(ctx, 1+rand.IntN(5)); err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

// acks is what a child has told: data by shard and sequence number.
type acks struct {
	mu  sync.Mutex
	all map[string]string
}

func (a *acks) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] != "error:" {
			a.mu.Lock()
			a.all[f[0]+" "+f[1]] = f[2]
			a.mu.Unlock()
		}
	}
}

// now returns what was told until now.
func (a *acks) now() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.all)
}

// cutOnce lets a child put, cuts the power under it, and returns what it had
// told before.
func cutOnce(t *testing.T, v *volume, env ...string) map[string]string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, envDir+"="+filepath.Join(v.dir, "engine"))...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child did not begin: %q, %v", line, err)
	}
	told := acks{all: map[string]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		told.read(out)
	}()
	time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond) // the time of the fault
	// A sync that runs while the file system stops may succeed although nothing
	// is written: only what was told before counts.
	before := told.now()
	if err := v.cut(); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	<-done
	return before
}

// lost mounts the file system again and returns how many of the records are
// not in the engine.
func lost(t *testing.T, v *volume, acked map[string]string) (n int) {
	t.Helper()
	if err := errors.Join(v.unmount(), v.mount()); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(filepath.Join(v.dir, "engine"), config())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if d := e.Damage(); len(d) > 0 {
		t.Errorf("an unfinished write was taken for damage: %v", d)
	}
	have := map[string]string{}
	s, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{})
	if err != nil {
		t.Fatal(err)
	}
	shards, err := s.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := putMarks(t.Context(), s, shards); err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		if err := readInto(have, s, shard.ID); err != nil {
			t.Fatal(err)
		}
	}
	for key, data := range acked {
		if got, there := have[key]; !there {
			n++
		} else if got != data {
			t.Errorf("%s was put with %.40q and is %.40q", key, data, got)
		}
	}
	return n
}

// readInto reads a shard to its end, or to the mark.
func readInto(have map[string]string, s *engine.Stream, shard string) error {
	r, err := s.Open(context.Background(), shard, stream.TrimHorizon)
	if err != nil {
		return err
	}
	defer r.Close()
	var b stream.Batch
	for {
		err := r.Next(context.Background(), &b)
		var ended *stream.ShardEndError
		if errors.As(err, &ended) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, r := range b.Records {
			have[fmt.Sprint(shard, " ", r.Sequence)] = string(r.Data)
		}
		if string(b.Records[len(b.Records)-1].Data) == mark && b.Behind == 0 {
			return nil
		}
	}
}

// mark is put behind all others into each shard that is open.
const mark = "mark"

func putMarks(ctx context.Context, s *engine.Stream, shards []stream.Shard) error {
	var entries []stream.Entry
	for _, shard := range shards {
		if !shard.Closed {
			entries = append(entries, stream.Entry{PartitionKey: mark, Data: []byte(mark), HashKey: shard.Hash.Start, HasHashKey: true})
		}
	}
	_, err := s.Put(ctx, entries...)
	return err
}

// cuts is how often to cut; must says that somebody asked for it.
func cuts(t *testing.T) (n int, must bool) {
	if text := os.Getenv(cutsVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q: give a number of power cuts", cutsVariable, text)
		}
		return n, true
	}
	if testing.Short() {
		return 2, false
	}
	return 5, false
}

// onEach runs a test on each file system that can be had.
func onEach(t *testing.T, f func(t *testing.T, name string, v *volume, n int)) {
	n, must := cuts(t)
	for name, mkfs := range fileSystems {
		t.Run(name, func(t *testing.T) {
			v, err := newVolume(t, mkfs)
			if err != nil && must {
				t.Fatalf("%s asks for power cuts, which are not possible here: %v", cutsVariable, err)
			}
			if err != nil {
				t.Skipf("NO POWER IS CUT: root, loop devices and the tools of %s are needed: %v", name, err)
			}
			f(t, name, v, n)
		})
	}
}

func TestAPowerCutOfARealFileSystemLosesNothingAcknowledged(t *testing.T) {
	onEach(t, func(t *testing.T, name string, v *volume, n int) {
		begun, records := time.Now(), 0
		acked := map[string]string{}
		for i := range n {
			if i%cutsAVolume == 0 && i > 0 {
				clear(acked)
				if err := errors.Join(v.unmount(), v.format(), v.mount()); err != nil {
					t.Fatal(err)
				}
			}
			fresh := cutOnce(t, v)
			records += len(fresh)
			maps.Copy(acked, fresh)
			if gone := lost(t, v, acked); gone > 0 || t.Failed() {
				t.Fatalf("cut %d: %d of %d acknowledged records are lost", i, gone, len(acked))
			}
		}
		if records < n {
			t.Fatalf("only %d records were acknowledged in %d cuts: the test tried nothing", records, n)
		}
		proof.Report(t, "power cuts on "+name, "cuts", n, "records acknowledged", records, "acknowledged records lost", 0,
			"seconds", int(time.Since(begun).Seconds()))
	})
}

// The test sees what it is for: records that are answered without a sync are lost.
func TestAPowerCutIsOne(t *testing.T) {
	onEach(t, func(t *testing.T, name string, v *volume, _ int) {
		acked := cutOnce(t, v, envRelaxed+"=1")
		gone := lost(t, v, acked)
		if gone == 0 {
			t.Fatalf("none of %d records is lost that nobody has synced", len(acked))
		}
		proof.Report(t, "power cuts on "+name+" without a sync before the answer", "cuts", 1, "records acknowledged", len(acked), "acknowledged records lost", gone)
	})
}
