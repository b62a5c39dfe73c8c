package engine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/stream"
)

// childVariable tells this test binary to be the process that is killed, in
// the directory that it names.
const childVariable = "MILLRACE_ENGINE_TEST_CHILD"

// killRounds is how often a process is killed; MILLRACE_KILL_ROUNDS says otherwise.
func killRounds(t testing.TB) int {
	if text := os.Getenv("MILLRACE_KILL_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 3
	}
	return 10
}

// putUntilKilled is the child: it puts from several goroutines and writes a
// line for each acknowledged record.
func putUntilKilled() {
	fail := func(err error) {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	e, err := Open(os.Getenv(childVariable), Config{SegmentBytes: 256 << 10, Logger: quiet})
	if err != nil {
		fail(err)
	}
	s, err := e.EnsureStream(context.Background(), "orders", StreamConfig{Shards: 3})
	if err != nil {
		fail(err)
	}
	var mu sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				entries := number(i*100, 1+(i+w)%7)
				results, err := s.Put(context.Background(), entries...)
				if err != nil {
					fail(err)
				}
				var lines strings.Builder
				for k, r := range results {
					fmt.Fprintf(&lines, "%s %v %s\n", r.Shard, r.Sequence, entries[k].Data)
				}
				mu.Lock()
				os.Stdout.WriteString(lines.String())
				mu.Unlock()
			}
		}()
	}
	select {}
}

func TestAcknowledgedRecordsSurviveKill9(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]string{} // shard and sequence number → data
	for round := range killRounds(t) {
		fresh := killOne(t, dir, 50+round*37)
		for key, data := range fresh {
			if old, ok := acked[key]; ok && old != data {
				t.Fatalf("round %d: %s was given twice", round, key)
			}
			acked[key] = data
		}
		e := openDir(t, dir, small())
		if d := e.Damage(); len(d) > 0 {
			t.Fatalf("round %d: damage %v", round, d)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		have := map[string]string{}
		for _, m := range s.topology.Load().all {
			for _, r := range mustRead(t, s, m.id, stream.TrimHorizon) {
				have[fmt.Sprint(m.id, " ", r.Sequence)] = string(r.Data)
			}
		}
		for key, data := range acked {
			if have[key] != data {
				t.Fatalf("round %d: %s was acknowledged with %q and is %q", round, key, data, have[key])
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	proof.Report(t, "engine killed with signal 9", "kills", killRounds(t), "records acknowledged", len(acked), "acknowledged records lost", 0)
}

// killOne runs a child, kills it after so many acknowledgements, and returns
// all that it could still tell of.
func killOne(t *testing.T, dir string, after int) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[string]string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 || f[0] == "error:" {
			t.Errorf("child: %q", lines.Text())
			break
		}
		acked[f[0]+" "+f[1]] = f[2]
		if len(acked) == after {
			cmd.Process.Kill()
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	return acked
}

func TestASecondProcessCannotOpenTheDirectory(t *testing.T) {
	dir := t.TempDir()
	openDir(t, dir, small())
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	out, err := cmd.Output()
	if err == nil || !strings.Contains(string(out), ErrLocked.Error()) || !strings.Contains(string(out), filepath.Base(dir)) {
		t.Fatalf("the second process said %q (%v), want that the directory is in use, by name", out, err)
	}
}
