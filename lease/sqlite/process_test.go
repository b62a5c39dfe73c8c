package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// Variables that tell a process of this test binary to play a part.
const (
	partVariable = "MILLRACE_SQLITE_TEST_PART"
	pathVariable = "MILLRACE_SQLITE_TEST_PATH"
	nameVariable = "MILLRACE_SQLITE_TEST_NAME"
)

// start runs this test binary as another process that plays a part on a file.
// What it acknowledges comes out of the pipe, line by line.
func start(t *testing.T, part, path, name string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), partVariable+"="+part, pathVariable+"="+path, nameVariable+"="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, out
}

// play is what main does in a process that was started by start.
func play(part string) (exitCode int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	parts := map[string]func(ctx context.Context, s *Store, name string) error{"contend": contend, "write": write, "group": group}
	s, err := Open(ctx, os.Getenv(pathVariable), Config{Application: "app"})
	if err == nil {
		err = errors.Join(parts[part](ctx, s, os.Getenv(nameVariable)), s.Close())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", part, err)
		return 1
	}
	return 0
}

const (
	contendedRows = 3
	wins          = 150 // of each process
)

// contend says that it is ready, swaps a few rows until it has won often
// enough, and prints each win: the key, and the counter from which it swapped.
func contend(ctx context.Context, s *Store, name string) error {
	fmt.Println("ready")
	for won := 0; won < wins; {
		key := fmt.Sprint("row ", won%contendedRows)
		rows, err := s.Read(ctx, key)
		if err != nil {
			return err
		}
		next := rows[0]
		next.Owner = fmt.Sprint(name, " ", won)
		switch row, err := s.Swap(ctx, rows[0], next); {
		case errors.Is(err, lease.ErrConflict):
			if row.Counter <= rows[0].Counter {
				return fmt.Errorf("refused at counter %d by a row at %d", rows[0].Counter, row.Counter)
			}
		case err != nil:
			return err
		default:
			won++
			fmt.Printf("%s\t%d\t%s\n", key, rows[0].Counter, row.Owner)
		}
	}
	return nil
}

func TestProcessesShareAFile(t *testing.T) {
	path := file(t)
	s := open(t, path, Config{Application: "app"})
	const first = 1000
	for i := range contendedRows {
		if err := s.Create(t.Context(), lease.Lease{Key: fmt.Sprint("row ", i), Counter: first, Owner: "nobody"}); err != nil {
			t.Fatal(err)
		}
	}

	// Nobody can write before all of them are there.
	lock, err := s.writes.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var outs []*bufio.Scanner
	var cmds []*exec.Cmd
	for _, name := range []string{"left", "right", "third"} {
		cmd, out := start(t, "contend", path, name)
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("%s: got line %q, error %v", name, lines.Text(), lines.Err())
		}
		cmds, outs = append(cmds, cmd), append(outs, lines)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}

	winner := map[string]string{} // key and counter from which → owner
	for i, lines := range outs {
		for lines.Scan() {
			key, owner, _ := cutLast(lines.Text(), "\t")
			if other, twice := winner[key]; twice {
				t.Errorf("%q and %q both won %q", other, owner, key)
			}
			winner[key] = owner
		}
		if err := cmds[i].Wait(); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
	if len(winner) != len(outs)*wins {
		t.Errorf("%d wins, want %d", len(winner), len(outs)*wins)
	}
	for l, err := range s.Leases(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if want := winner[fmt.Sprintf("%s\t%d", l.Key, l.Counter-1)]; l.Owner != want {
			t.Errorf("%s: owner %q at counter %d, want %q, who won it", l.Key, l.Owner, l.Counter, want)
		}
		if got, want := l.Counter-first, int64(len(outs)*wins/contendedRows); got != want {
			t.Errorf("%s: %d swaps, want %d", l.Key, got, want)
		}
	}
}

// batch is how many rows write creates at a time.
const batch = 20

// write swaps a row and creates batches of others, for ever, and prints each
// counter that was acknowledged, and each batch.
func write(ctx context.Context, s *Store, name string) error {
	row := lease.Lease{Key: "row " + name, Counter: 1}
	if err := s.Create(ctx, row); err != nil {
		return err
	}
	for n := int64(0); ; n++ {
		next := row
		next.Checkpoint = checkpoint.State{Position: stream.After(stream.MakeSequence(0, 0, uint64(n)))}
		var err error
		if row, err = s.Swap(ctx, row, next); err != nil {
			return err
		}
		created := make([]lease.Lease, batch)
		for i := range created {
			created[i].Key = fmt.Sprintf("%s %d %d", name, n, i)
		}
		if err := s.Create(ctx, created...); err != nil {
			return err
		}
		fmt.Printf("%d\t%d\n", row.Counter, n)
	}
}

func TestAcknowledgedWritesOutliveAKill(t *testing.T) {
	path := file(t)
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		name := fmt.Sprint("round", round)
		cmd, out := start(t, "write", path, name)
		var counter, n int64
		acknowledged := 10 + 37*round%50
		lines := bufio.NewScanner(out)
		for i := 0; i < acknowledged && lines.Scan(); i++ {
			if _, err := fmt.Sscanf(lines.Text(), "%d\t%d", &counter, &n); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it acknowledged before the signal came
			fmt.Sscanf(lines.Text(), "%d\t%d", &counter, &n)
		}
		cmd.Wait()

		s, err := Open(t.Context(), path, Config{Application: "app"})
		if err != nil {
			t.Fatalf("open after a kill: %v", err)
		}
		rows, err := s.Read(t.Context(), "row "+name)
		if err != nil || len(rows) != 1 || rows[0].Counter < counter || rows[0].Counter > counter+1 {
			t.Errorf("round %d: counter %d was acknowledged, found %v, error %v", round, counter, rows, err)
		}
		found := map[string]int{} // batch → rows
		for l, err := range s.Leases(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if of, _, ok := cutLast(l.Key, " "); ok && strings.HasPrefix(l.Key, name+" ") {
				found[of]++
			}
		}
		for i := range n + 1 {
			if of := fmt.Sprintf("%s %d", name, i); found[of] != batch {
				t.Errorf("round %d: %d rows of the acknowledged batch %q, want %d", round, found[of], of, batch)
			}
		}
		for of, rows := range found {
			if rows != batch {
				t.Errorf("round %d: batch %q was created in part: %d rows of %d", round, of, rows, batch)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// groupRows is how many rows group swaps at a time.
const groupRows = 50

// marked returns the row as group writes it over one with that counter.
func marked(row lease.Lease) lease.Lease {
	row.Checkpoint = checkpoint.State{
		Position: stream.After(stream.MakeSequence(0, 0, uint64(row.Counter))),
		Progress: fmt.Append(nil, row.Counter),
	}
	return row
}

// group swaps many rows at a time, for ever, and prints the number of each and the
// counter that was acknowledged.
func group(ctx context.Context, s *Store, name string) error {
	failed := make(chan error)
	for i := range groupRows {
		go func() {
			row := lease.Lease{Key: fmt.Sprint(name, " ", i)}
			err := s.Create(ctx, row)
			for err == nil {
				if row, err = s.Swap(ctx, row, marked(row)); err == nil {
					fmt.Printf("%d\t%d\n", i, row.Counter) // one write, whole
				}
			}
			failed <- err
		}()
	}
	return <-failed
}

func TestAcknowledgedSwapsOfAGroupOutliveAKill(t *testing.T) {
	path := file(t)
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		name := fmt.Sprint("round", round)
		cmd, out := start(t, "group", path, name)
		acknowledged := map[int]int64{} // row → counter
		lines := bufio.NewScanner(out)
		note := func() {
			var row int
			var counter int64
			if _, err := fmt.Sscanf(lines.Text(), "%d\t%d", &row, &counter); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			acknowledged[row] = counter
		}
		for n := 0; (n < 500+137*round || len(acknowledged) < groupRows) && lines.Scan(); n++ {
			note()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it acknowledged before the signal came
			note()
		}
		cmd.Wait()

		s := open(t, path, Config{Application: "app"})
		for i := range groupRows {
			row := rowOf(t, s, fmt.Sprint(name, " ", i))
			if row.Counter < acknowledged[i] || row.Counter > acknowledged[i]+1 {
				t.Errorf("round %d, row %d: counter %d was acknowledged, found %d", round, i, acknowledged[i], row.Counter)
			}
			before := row
			before.Counter--
			if want := marked(before).Checkpoint; row.Checkpoint.Position != want.Position || string(row.Checkpoint.Progress) != string(want.Progress) {
				t.Errorf("round %d, row %d: half of a swap was stored: %+v at counter %d", round, i, row.Checkpoint, row.Counter)
			}
		}
	}
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}
