package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/cli"
	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

func TestAFleetOverPostgreSQLKeepsItsPromisesWhenItsServerIsKilledUnderChaos(t *testing.T) {
	lasts := length(t)
	t.Parallel()
	b := inPostgres(t, testpg.Start(t))
	b.name, b.served = b.name+", of a served stream", true
	trial(t, lasts, b)
}

func TestAFleetOverDynamoDBKeepsItsPromisesWhenItsServerIsKilledUnderChaos(t *testing.T) {
	lasts := length(t)
	t.Parallel()
	b := inDynamoDB(t, testdynamo.Any(t))
	b.name, b.served = b.name+", of a served stream", true
	trial(t, lasts, b)
}

// service is "millrace serve" in a process of its own, which is killed and comes back
// at its address with all that it acknowledged.
//
//	producers, reshards ── one attempt ──────┐
//	workers ── [link: connections cut] ──────┴──► serve ──► engine, in a folder
type service struct {
	t       *testing.T
	dir     string
	address string
	stream  *kinesis.Stream // past the link
	link    *link
	cmd     *exec.Cmd
	stdin   io.Closer // the process ends with it
	kills   int
}

const envServe = "MILLRACE_CHAOS_SERVE"

// serveMain is the life of the server's process, in which it does not return.
func serveMain() {
	arguments := os.Getenv(envServe)
	if arguments == "" {
		return
	}
	go func() {
		// The parent never writes: this returns when it is gone, however it ended.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	os.Exit(cli.Run(context.Background(), strings.Fields(arguments), cli.Process()))
}

func newService(t *testing.T) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &service{t: t, dir: filepath.Join(t.TempDir(), "data"), address: l.Addr().String()}
	if err := l.Close(); err != nil { // it is free, and stays so, most probably
		t.Fatal(err)
	}
	if v.stream, err = fleet.OpenKinesis("http://"+v.address, streamName, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	v.start()
	if v.link, err = newLink(v.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.link.close)
	return v
}

// start starts the server, and returns when it answers.
func (v *service) start() {
	v.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		v.t.Fatal(err)
	}
	v.cmd = exec.Command(exe)
	v.cmd.Env = append(os.Environ(), envServe+"="+fmt.Sprintf("serve -data %s -listen %s -create %s:%d -log-level error", v.dir, v.address, streamName, fewestShards))
	v.cmd.Stderr = os.Stderr
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		v.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	for began := time.Now(); ; rest(v.t.Context(), 20*time.Millisecond) {
		if _, err = v.stream.Shards(v.t.Context()); err == nil {
			return
		}
		if time.Since(began) > recovery {
			v.t.Fatalf("the server does not answer: %v", err)
		}
	}
}

// kill ends the server at once, if it runs.
func (v *service) kill() {
	if v.cmd == nil {
		return
	}
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait() // killed, of course
	_ = v.stdin.Close()
	v.cmd = nil
}

// reach sets where a worker finds the stream. Every other one has it pushed.
func (v *service) reach(cfg *fleet.Config) {
	cfg.Kinesis, cfg.KinesisStream = "http://"+v.link.addr(), streamName
	if rand.IntN(2) == 0 {
		cfg.Consumer = "fleet"
	}
}

// disturb does one thing after the other to the server, and so to all workers, until
// ctx ends. None of it is a reason for a record to come again: no worker loses a
// shard by it. So the ledger is told nothing of it.
func (v *service) disturb(ctx context.Context) {
	for n := 0; ; n++ {
		if rest(ctx, between(0.2, 0.8)); ctx.Err() != nil {
			return
		}
		switch n % 3 {
		case 0:
			v.kill()
			rest(ctx, between(0, 0.3))
			v.start()
			v.kills++
		case 1:
			v.link.reset()
		case 2:
			v.link.set(weather{deaf: true, mute: true})
			rest(ctx, between(0.1, 0.5))
			v.link.set(weather{})
		}
	}
}

// kept kills the server for good, and returns what is in its log: everything that was
// acknowledged, and perhaps records of puts whose answers were lost.
func (v *service) kept(acknowledged []put) (kept []put) {
	v.t.Helper()
	v.t.Logf("the server was killed %d times, and once more", v.kills)
	v.kill()
	e, err := engine.Open(v.dir, engine.Config{Logger: quiet()})
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			v.t.Error(err)
		}
	}()
	s, err := e.Stream(streamName)
	if err != nil {
		v.t.Fatal(err)
	}
	shards, err := s.Shards(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	for _, shard := range shards {
		kept = append(kept, v.recordsOf(s, shard)...)
	}
	there := map[put]bool{}
	for _, p := range kept {
		there[p] = true
	}
	for _, p := range acknowledged {
		if !there[p] {
			v.t.Errorf("P7: record %s was acknowledged as %v of %s, and is not there", p.record, p.seq, p.shard)
		}
	}
	return kept
}

// recordsOf reads a shard to its end, or to where it is for now.
func (v *service) recordsOf(s *engine.Stream, shard stream.Shard) (kept []put) {
	b := stream.Batch{MaxRecords: 1000, MaxBytes: 1 << 20}
	for from := stream.TrimHorizon; ; {
		page, err := s.Read(v.t.Context(), shard.ID, from, &b)
		if err != nil {
			v.t.Fatal(err)
		}
		for _, r := range b.Records {
			kept = append(kept, put{strings.TrimRight(string(r.Data), " "), shard.ID, r.Sequence})
		}
		if page.End != nil || page.More != nil {
			return kept
		}
		from = page.Next
	}
}
