package testclients

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Retrieval is how the KCL reads a stream.
type Retrieval string

const (
	Polling Retrieval = "polling" // GetRecords
	FanOut  Retrieval = "fanout"  // SubscribeToShard
)

// Event is what a worker of the KCL did: it was given a record, or a shard began or
// ended for it.
type Event struct {
	Shard, Key, Sequence string
	Data                 []byte
	Began, Ended         string // shards
}

// Consumer is a worker of the KCL, which ends with its test at the latest.
type Consumer struct {
	stop func()

	mu     sync.Mutex
	events []Event
	gone   bool
}

// Events are what it did until now, in its order.
func (c *Consumer) Events() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[:len(c.events):len(c.events)]
}

// Gone reports whether the worker has ended.
func (c *Consumer) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// Stop ends the worker in good order.
func (c *Consumer) Stop() { c.stop() }

// Consume starts a worker of the KCL, the only one of its application. Its leases are
// in the table of that name, behind a DynamoDB API; it begins with the oldest record.
func Consume(t testing.TB, kinesis, dynamoDB, stream, application string, by Retrieval) *Consumer {
	t.Helper()
	classPath := have(t, "the KCL", consumer.install)
	cmd := exec.Command("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", classPath, "Consumer", kinesis, dynamoDB, stream, application, string(by))
	var stderr strings.Builder // read when the process has ended
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Consumer{}
	var listening sync.WaitGroup
	listening.Go(func() {
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("the KCL's worker said %q: %v", lines.Text(), err)
			}
			c.mu.Lock()
			c.events = append(c.events, e)
			c.mu.Unlock()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gone = true
	})
	c.stop = sync.OnceFunc(func() {
		_ = stdin.Close()
		late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		listening.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the KCL's worker: %v", err)
		}
	})
	t.Cleanup(func() {
		if c.stop(); t.Failed() {
			t.Logf("the KCL's worker said:\n%.20000s", stderr.String())
		}
	})
	return c
}
