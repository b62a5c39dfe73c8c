package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/emulators"
)

var serverBenchmark = benchmark{
	name:    "server",
	about:   "PutRecords and GetRecords through the process of a server, beside emulators of Kinesis",
	columns: []string{recordRate, serverCPU, latency("", 50), latency("", 99)},
	run:     runServer,
	needs:   haveProc,
}

const serverCPU = "server CPU µs/record"

// Who serves.
const (
	millraceServe    = "millrace serve, durable"
	kinesaliteMemory = "kinesalite, memory"
	kinesalitePath   = "kinesalite, --path"
	kinesisMock      = "kinesis-mock"
)

const (
	serverShards = 4
	serverBatch  = 500
	serverSize   = 1024 // of a record, key and data together
	serverPage   = 1000 // records of GetRecords
	serverFill   = 8000 // records that are read
	serverLasts  = 3 * time.Second
	serverWarm   = 500 * time.Millisecond
)

var serverClients = []int{1, 8}

// What is asked of a server.
const (
	puts = "PutRecords, 500 × 1 KiB"
	gets = "GetRecords, 1000 × 1 KiB"
)

func serverCase(what string, clients int) string {
	if clients == 1 {
		return what + ", 1 client"
	}
	return fmt.Sprintf("%s, %d clients", what, clients)
}

// server is one that is measured: command makes its process, with its data in a
// folder that does not exist yet.
type server struct {
	who     string
	command func(dir string) *exec.Cmd
}

// servers are those that are to be had here; of a quick run, those that start fast.
func (b *bench) servers(ctx context.Context) []server {
	all := []server{{millraceServe, func(dir string) *exec.Cmd {
		return inRole(millraceRole, "serve", "-data", dir, "-listen", "127.0.0.1:0", "-log-level", "error")
	}}}
	installed, err := emulators.Have(ctx)
	if err != nil {
		b.note("Not measured, since they could not be installed: kinesalite, kinesis-mock.")
		b.progress("%s: no emulators: %v", b.result.Benchmark, err)
		return all
	}
	all = append(all, server{kinesaliteMemory, func(string) *exec.Cmd { return emulators.Command(installed, emulators.Kinesalite, "") }})
	if !b.quick {
		all = append(all,
			server{kinesalitePath, func(dir string) *exec.Cmd { return emulators.Command(installed, emulators.Kinesalite, dir) }},
			server{kinesisMock, func(string) *exec.Cmd { return emulators.Command(installed, emulators.KinesisMock, "") }})
	}
	return all
}

// runServer starts a new process for each figure.
func runServer(ctx context.Context, b *bench) error {
	fill, clients := serverFill, serverClients
	if b.quick {
		fill, clients = serverPage, clients[1:]
	}
	b.note("JSON over HTTP/1.1 on loopback, %d shards, %v each. The client is the same for all: bodies are written in advance, answers read and not taken apart. GetRecords reads %d records again and again. Server CPU is that of the server's process alone; p50 and p99 are of a call.",
		serverShards, b.lasts(serverLasts), fill)
	b.note("Millrace syncs what is put to the disk before it answers. The others do not, and only kinesalite's --path keeps anything at all.")
	servers := b.servers(ctx)
	for _, c := range clients {
		for _, what := range []string{puts, gets} {
			var who []contender
			for _, s := range servers {
				who = append(who, contender{s.who, func(ctx context.Context, dir string) (figures, error) {
					return b.asked(ctx, s.command(dir), what, c, fill)
				}})
			}
			if err := b.compare(ctx, serverCase(what, c), who...); err != nil {
				return err
			}
		}
	}
	return nil
}

// asked is one round: a server that so many clients ask at the same time.
func (b *bench) asked(ctx context.Context, cmd *exec.Cmd, what string, clients, fill int) (f figures, err error) {
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	a := newAPI(p.url)
	defer a.close()
	const name = "orders"
	shards, err := a.create(ctx, name, serverShards)
	if err != nil {
		return nil, err
	}
	w := putRequests(name)
	if what == gets {
		if w, err = a.getRequests(ctx, name, shards, w, fill); err != nil {
			return nil, err
		}
	}
	if _, _, err := w.run(ctx, a, clients, b.lasts(serverWarm)); err != nil {
		return nil, err
	}
	before, err := p.cpuTime()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	n, times, err := w.run(ctx, a, clients, b.lasts(serverLasts))
	took := time.Since(begin)
	if err != nil {
		return nil, err
	}
	after, err := p.cpuTime()
	if err != nil {
		return nil, err
	}
	f = figures{recordRate: float64(n) / took.Seconds(), serverCPU: float64((after - before).Microseconds()) / float64(n)}
	distribution(f, "", times)
	return f, nil
}

// requests are asked in turn.
type requests struct {
	operation string
	bodies    [][]byte
	records   []int // that each puts or gets
	// sign is in each answer that is good.
	sign []byte
}

// putRequests are so many that records differ.
func putRequests(name string) *requests {
	type entry struct {
		Data         []byte
		PartitionKey string
	}
	const bodies = 16
	w := &requests{operation: "PutRecords", sign: []byte(`"FailedRecordCount":0`)}
	all := load{size: serverSize, shards: serverShards}.records(bodies * serverBatch)
	for i := range bodies {
		var entries []entry
		for _, r := range all[i*serverBatch : (i+1)*serverBatch] {
			entries = append(entries, entry{r.Data, r.Key})
		}
		body, _ := json.Marshal(fields{"StreamName": name, "Records": entries}) // plain values
		w.bodies, w.records = append(w.bodies, body), append(w.records, serverBatch)
	}
	return w
}

// getRequests puts that many records, and returns what reads them.
func (a *api) getRequests(ctx context.Context, name string, shards []string, put *requests, fill int) (*requests, error) {
	var answer bytes.Buffer
	for i := range fill / serverBatch {
		if err := put.one(ctx, a, i, &answer); err != nil {
			return nil, err
		}
	}
	w := &requests{operation: "GetRecords", sign: []byte(`"Records":[{`)}
	got := 0
	for _, s := range shards {
		bodies, records, err := a.pages(ctx, name, s, serverPage)
		if err != nil {
			return nil, err
		}
		w.bodies, w.records = append(w.bodies, bodies...), append(w.records, records...)
		for _, n := range records {
			got += n
		}
	}
	if got != fill {
		return nil, fmt.Errorf("%d records were put, %d can be read", fill, got)
	}
	return w, nil
}

// one asks one of them.
func (w *requests) one(ctx context.Context, a *api, i int, answer *bytes.Buffer) error {
	if err := a.ask(ctx, w.operation, w.bodies[i%len(w.bodies)], answer); err != nil {
		return err
	}
	if !bytes.Contains(answer.Bytes(), w.sign) {
		return fmt.Errorf("%s: the answer is not %s: %.300s", w.operation, w.sign, answer)
	}
	return nil
}

// run lets so many clients ask for that long, each one thing after the other, and
// at least once. It returns how many records went over, and how long each call took.
func (w *requests) run(ctx context.Context, a *api, clients int, lasts time.Duration) (records int, times []time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	until := time.Now().Add(lasts)
	for c := range clients {
		wg.Go(func() {
			var answer bytes.Buffer
			var took []time.Duration
			n := 0
			var failed error
			at := c * len(w.bodies) / clients
			for begin := time.Now(); failed == nil && (len(took) == 0 || begin.Before(until)); at++ {
				failed = w.one(ctx, a, at, &answer)
				now := time.Now()
				took, begin = append(took, now.Sub(begin)), now
				n += w.records[at%len(w.records)]
			}
			mu.Lock()
			defer mu.Unlock()
			records, times, err = records+n, append(times, took...), errors.Join(err, failed)
		})
	}
	wg.Wait()
	return records, times, err
}
