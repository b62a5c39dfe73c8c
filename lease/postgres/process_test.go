package postgres

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// A worker in a process of its own, which a test kills. It says on its standard
// output which shards it holds, one on a line, when it begins to.
const (
	envChild    = "MILLRACE_POSTGRES_CHILD" // the name of the worker
	envURL      = "MILLRACE_POSTGRES_CHILD_URL"
	envSchema   = "MILLRACE_POSTGRES_CHILD_SCHEMA"
	envFailover = "MILLRACE_POSTGRES_CHILD_FAILOVER"
	envFast     = "MILLRACE_POSTGRES_CHILD_FAST"

	childShards = 12
)

func child() error {
	go func() {
		// The parent never writes: this returns when it is gone, however it ended.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ctx := context.Background()
	failover, err := time.ParseDuration(os.Getenv(envFailover))
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, os.Getenv(envURL))
	if err != nil {
		return err
	}
	s, err := New(pool, Config{Application: "app", Schema: os.Getenv(envSchema), FastFailover: os.Getenv(envFast) != ""})
	if err != nil {
		return err
	}
	c, err := lease.NewCoordinator(lease.Config{
		Worker: os.Getenv(envChild), Store: s, Streams: []stream.Stream{still{childShards}}, FailoverTime: failover,
		PlanInterval: min(failover/2, time.Second),
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	return c.Run(ctx, func(ctx context.Context, h lease.Hold) error {
		fmt.Println(h.Lease().Shard)
		select {
		case <-ctx.Done():
		case <-h.Draining():
		}
		return h.Release(ctx, h.Lease().Checkpoint)
	})
}

// children are processes, and what they have said.
type children struct {
	mu    sync.Mutex
	held  map[string]string    // the worker by shard
	since map[string]time.Time // by shard
	cmds  map[string]*exec.Cmd
}

func (c *children) start(t *testing.T, name string, env ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, envChild+"="+name)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.cmds[name] = cmd
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.mu.Lock()
			c.held[lines.Text()], c.since[lines.Text()] = name, time.Now()
			c.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
		_ = in.Close()
	})
}

// of returns the shards that a worker holds, as far as it has said.
func (c *children) of(name string) (shards []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for shard, by := range c.held {
		if by == name {
			shards = append(shards, shard)
		}
	}
	return shards
}

// kill ends a process by SIGKILL, and returns how long it took until others held
// all its shards.
func (c *children) kill(t *testing.T, name string) time.Duration {
	t.Helper()
	shards := c.of(name)
	killed := time.Now()
	if err := c.cmds[name].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "its shards are held by others", func() bool { return len(c.of(name)) == 0 })
	c.mu.Lock()
	defer c.mu.Unlock()
	last := killed
	for _, shard := range shards {
		if c.since[shard].After(last) {
			last = c.since[shard]
		}
	}
	return last.Sub(killed)
}

// leaderOf returns the name of the worker that leads.
func leaderOf(t *testing.T, s *Store) string {
	t.Helper()
	members, err := s.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if m.Incarnation == "@leader" {
			name, _, _ := strings.Cut(m.Worker, "#")
			return name
		}
	}
	return ""
}

// How long it takes is told, and hardly a matter of passing: the machine may be busy.
func TestTheShardsOfAKilledProcessAreTakenOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		fast     string
		failover time.Duration
	}{
		{"with FastFailover, FailoverTime 20 s", "yes", steady},
		{"FailoverTime 2 s", "", 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := testpg.Shared(t)
			s := open(t, server, Config{Application: "app"})
			for _, leads := range []bool{false, true} {
				c := &children{held: map[string]string{}, since: map[string]time.Time{}, cmds: map[string]*exec.Cmd{}}
				const workers = 3
				for i := range workers {
					c.start(t, fmt.Sprintf("w%d%v", i, leads), envURL+"="+server.URL(), envSchema+"="+s.schema,
						envFailover+"="+test.failover.String(), envFast+"="+test.fast)
				}
				victim := ""
				until(t, "all is shared out", func() bool {
					leader := leaderOf(t, s)
					for name := range c.cmds {
						if len(c.of(name)) != childShards/workers {
							return false
						}
						if (name == leader) == leads {
							victim = name
						}
					}
					return c.cmds[leader] != nil
				})
				took := c.kill(t, victim)
				proof.Report(t, "failover of a killed process, PostgreSQL", "setting", test.name, "it led the fleet", leads,
					"shards", childShards/workers, "seconds until all are held again", took.Round(time.Millisecond).Seconds())
				if test.fast != "" && took > test.failover/2 { // its last beat is no older than a sixth of it
					t.Errorf("it took %v, as without FastFailover", took)
				}
				for _, cmd := range c.cmds {
					_ = cmd.Process.Kill()
				}
				until(t, "the fleet has ended", func() bool { // so that the next one leads
					_, err := s.pool.Exec(t.Context(), qualified("DELETE FROM millrace_member; DELETE FROM millrace_lease", s.schema))
					return err == nil
				})
			}
		})
	}
}
