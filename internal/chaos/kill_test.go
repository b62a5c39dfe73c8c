package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/stream"
)

func TestMain(m *testing.M) {
	fleet.Main()
	serveMain()
	if os.Getenv(envDir) == "" {
		testdynamo.Main(m)
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// kills is how many times processes are killed: 200, or MILLRACE_KILLS.
func kills(t *testing.T) int {
	text := os.Getenv("MILLRACE_KILLS")
	if text == "" {
		return 200
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("MILLRACE_KILLS is %q: give a number of rounds", text)
	}
	return n
}

// lines of processes, each with a directory of its own, that are killed at the
// same time.
const lines = 2

func TestKill9DuringPutAndProcessingLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes for a minute; not with -short")
	}
	begun, rounds := time.Now(), (kills(t)+lines-1)/lines
	var all [lines]tale
	t.Run("lines", func(t *testing.T) {
		for i := range all {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				all[i] = killAgainAndAgain(t, rounds)
			})
		}
	})
	if t.Failed() {
		return
	}
	var sum tale
	for _, one := range all {
		sum.stops += one.stops
		sum.acked += one.acked
		sum.processed += one.processed
		sum.again += one.again
		sum.terms += one.terms
	}
	proof.Report(t, "processes killed with signal 9", "kills", rounds*lines, "processes stopped for longer than the failover time", sum.stops,
		"records acknowledged", sum.acked, "records processed", sum.processed, "of them again after a fault", sum.again, "terms", sum.terms,
		"acknowledged records lost", 0, "again after a clean stop", 0, "seconds", int(time.Since(begun).Seconds()))
}

// tale is a story in numbers.
type tale struct{ stops, acked, processed, again, terms int }

func killAgainAndAgain(t *testing.T, rounds int) (sum tale) {
	dir := t.TempDir()
	for round := range rounds {
		c := start(t, dir, (round+1)*1_000_000, false)
		if rand.IntN(8) == 0 {
			sum.stops++
			c.stop(time.Duration(20+rand.IntN(200))*time.Millisecond, failover+failover/2)
		}
		// Half of them live long enough to take over what the one before had.
		c.kill(time.Duration(20+rand.IntN(480)+rand.IntN(2)*400) * time.Millisecond)
	}
	start(t, dir, 0, true).wait()
	before := readJournal(t, dir)
	before.check(t)

	// After a clean stop nothing comes again.
	start(t, dir, 0, true).wait()
	after := readJournal(t, dir)
	if again := after.deliveries - before.deliveries; again != 0 {
		t.Errorf("C5: %d records came again after a clean stop", again)
	}
	sum.acked, sum.processed, sum.terms = len(before.acked), len(before.done), before.terms()
	sum.again = before.deliveries - len(before.done)
	if sum.acked < rounds {
		t.Errorf("only %d records were acknowledged in %d rounds: the test tried nothing", sum.acked, rounds)
	}
	return sum
}

type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

func start(t *testing.T, dir string, first int, finish bool) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), envDir+"="+dir, envFirst+"="+strconv.Itoa(first))
	if finish {
		p.cmd.Env = append(p.cmd.Env, envFinish+"=1")
	}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The child ends when its input does, so that it does not outlive the test.
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		t.Fatalf("the child did not begin: %q, %v\n%s", line, err, &p.stderr)
	}
	return p
}

// kill lets the process live for a while, which is the time of the fault and no
// waiting for anything, and then takes it down with SIGKILL.
func (p *process) kill(after time.Duration) {
	p.t.Helper()
	time.Sleep(after)
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	err := p.cmd.Wait()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("the child ended by itself: %v\n%s", err, &p.stderr)
	}
}

// stop lets the process live for a while, and then holds it where it is.
func (p *process) stop(after, during time.Duration) {
	p.t.Helper()
	time.Sleep(after)
	for _, signal := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := p.cmd.Process.Signal(signal); err != nil {
			p.t.Fatal(err)
		}
		if signal == syscall.SIGSTOP {
			time.Sleep(during)
		}
	}
}

func (p *process) wait() {
	p.t.Helper()
	timeout := time.AfterFunc(2*time.Minute, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer timeout.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the last run failed: %v\n%s", err, &p.stderr)
	}
}

// delivery is one record given to a processor under one term.
type delivery struct {
	term   int64
	seq    stream.Sequence
	number int
}

type story struct {
	submitted, acked, done map[int]bool
	shards                 map[string][]delivery // in the order of the journal
	// firsts are the first deliveries of all records, in the order of the journal.
	firsts     []delivery
	deliveries int
}

func readJournal(t *testing.T, dir string) *story {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &story{submitted: map[int]bool{}, acked: map[int]bool{}, done: map[int]bool{}, shards: map[string][]delivery{}}
	in := bufio.NewScanner(f)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) == 0 || fields[len(fields)-1] != "." {
			continue // cut by a kill
		}
		number, err := strconv.Atoi(fields[len(fields)-2])
		if err != nil {
			t.Fatalf("journal: %q", in.Text())
		}
		switch fields[0] {
		case "S":
			s.submitted[number] = true
		case "A":
			s.acked[number] = true
		case "D":
			term, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			seq, err := stream.ParseSequence(fields[3])
			if err != nil {
				t.Fatal(err)
			}
			d := delivery{term, seq, number}
			if !s.done[number] {
				s.firsts = append(s.firsts, d)
			}
			s.done[number] = true
			s.deliveries++
			s.shards[fields[1]] = append(s.shards[fields[1]], d)
		default:
			t.Fatalf("journal: %q", in.Text())
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *story) terms() int {
	n := 0
	for _, all := range s.shards {
		terms := map[int64]bool{}
		for _, d := range all {
			terms[d.term] = true
		}
		n += len(terms)
	}
	return n
}

// check holds the story against the promises, by their ids in the invariants.
func (s *story) check(t *testing.T) {
	t.Helper()
	lost := 0
	for n := range s.acked {
		if !s.done[n] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("C1, D1: %d of %d acknowledged records were never processed", lost, len(s.acked))
	}
	for n := range s.done {
		if !s.submitted[n] {
			t.Errorf("D3: record %d was processed and never put", n)
		}
	}
	// Sequence numbers of a child are above those of its parents.
	last := map[int]delivery{}
	for _, d := range s.firsts {
		if was := last[d.number%keys]; !was.seq.Less(d.seq) {
			t.Errorf("P1: key %d: record %d at %v was processed after record %d at %v", d.number%keys, d.number, d.seq, was.number, was.seq)
		}
		last[d.number%keys] = d
	}
	seqOf := map[int]stream.Sequence{}
	for shard, all := range s.shards {
		numbers := map[stream.Sequence]int{}
		var order []stream.Sequence
		for i, d := range all {
			if i > 0 && d.term < all[i-1].term {
				t.Errorf("F3: %s: a record was processed under term %d after one under term %d", shard, d.term, all[i-1].term)
			}
			if was, ok := numbers[d.seq]; ok && was != d.number {
				t.Errorf("D4: %s: sequence number %v was used for record %d and for %d", shard, d.seq, was, d.number)
			} else if !ok {
				numbers[d.seq] = d.number
				order = append(order, d.seq)
			}
			if was, ok := seqOf[d.number]; ok && was != d.seq {
				t.Errorf("record %d is at %v and at %v", d.number, was, d.seq)
			}
			seqOf[d.number] = d.seq
		}
		slices.SortFunc(order, stream.Sequence.Compare)
		place := map[stream.Sequence]int{}
		for i, q := range order {
			place[q] = i
		}
		for i := 1; i < len(all); i++ {
			if all[i].term == all[i-1].term && place[all[i].seq] != place[all[i-1].seq]+1 {
				t.Errorf("C2: %s term %d: after record %d of the shard came record %d", shard, all[i].term, place[all[i-1].seq], place[all[i].seq])
			}
			if all[i].term != all[i-1].term && place[all[i].seq] > place[all[i-1].seq]+1 {
				t.Errorf("C2: %s: term %d ended at record %d of the shard, term %d began at record %d", shard, all[i-1].term, place[all[i-1].seq], all[i].term, place[all[i].seq])
			}
		}
	}
}
