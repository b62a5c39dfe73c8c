package sim

import (
	"context"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// rest waits until everything is processed and covered by checkpoints, every
// open shard has an owner, all have their share, and nothing moves any more.
func (f *fleet) rest(ctx context.Context) error {
	const patience, quiet = 100, 15 // in failover times
	var why string
	for range patience {
		actor.Sleep(ctx, f.Failover)
		if why = f.unrest(ctx); why != "" {
			continue
		}
		before := f.rows.Moves().Owners
		actor.Sleep(ctx, quiet*f.Failover)
		if moved := f.rows.Moves().Owners - before; moved > 0 {
			why = fmt.Sprintf("%d leases moved while everything was at rest", moved)
		} else if why = f.unrest(ctx); why == "" {
			return nil
		}
	}
	return fmt.Errorf("L2 violated: no rest after the last fault: %s", why)
}

// unrest says what keeps the fleet from being at rest.
func (f *fleet) unrest(ctx context.Context) string {
	if why := f.backlog(); why != "" {
		return why
	}
	return f.unheld(ctx, 0.1)
}

// unheld names a shard without a holder, one that is closed and not finished,
// or a worker with more than its share, where loads waver by that much.
func (f *fleet) unheld(ctx context.Context, waver float64) string {
	s, id := f.present()
	shards, err := s.Shards(ctx)
	if err != nil {
		return err.Error()
	}
	rows := map[string]lease.Lease{}
	for l, err := range f.rows.Leases(ctx) {
		if err != nil {
			return err.Error()
		}
		if l.StreamID == id {
			rows[l.Shard] = l
		}
	}
	for _, s := range shards {
		l, there := rows[s.ID]
		switch {
		case s.Closed && there && !l.Finished():
			return s.ID + " is closed and not finished"
		case !s.Closed && (l.Owner == "" || l.CheckpointOwner != "" || l.Term == 0):
			return fmt.Sprintf("%s is with %q, %q, in term %d", s.ID, l.Owner, l.CheckpointOwner, l.Term)
		}
	}
	return uneven(rows, f.workers(ctx), waver)
}

// backlog names a record that is put and not covered by a checkpoint.
func (f *fleet) backlog() string {
	f.mu.Lock()
	last := maps.Clone(f.last)
	f.mu.Unlock()
	for key, s := range last {
		if p, _ := f.check.Checkpoint(key); !p.Includes(s) {
			return fmt.Sprintf("%s is at %v, its last record at %v", key, p, s)
		}
	}
	return ""
}

// workers returns the incarnations that are in the fleet to stay.
func (f *fleet) workers(ctx context.Context) []string {
	members, _ := f.rows.Members(ctx)
	var in []string
	for _, m := range members {
		if m.Incarnation[0] != '@' && !m.Fenced && !m.Draining {
			in = append(in, m.Incarnation)
		}
	}
	return in
}

// uneven names a worker that should give a lease to another: one that would
// carry too much without it, or that would be clearly lighter then, and the
// other one no heavier. Clearly is half an average lease and a tenth of the mean,
// as leases cannot be divided, and what loads waver by.
func uneven(rows map[string]lease.Lease, workers []string, waver float64) string {
	weights := weigh(rows)
	load, total := map[string]float64{}, 0.0
	for shard, w := range weights {
		load[rows[shard].Owner] += w
		total += w
	}
	least := math.Inf(1)
	for _, w := range workers {
		least = min(least, load[w])
	}
	mean := total / float64(max(1, len(workers)))
	clearly := 0.5 + 0.1*mean + waver
	for shard, w := range weights {
		owner := rows[shard].Owner
		if without := load[owner] - w; without > mean+clearly || min(w, without-least) > clearly {
			return fmt.Sprintf("%s has a load of %.2f, and %s is %.2f of it; the mean is %.2f, the least %.2f", owner, load[owner], shard, w, mean, least)
		}
	}
	return ""
}

// weigh returns the weights of the unfinished leases, by shard, of which the mean
// is 1: their parts in the bytes and in the records, or 1 while those are few.
func weigh(rows map[string]lease.Lease) map[string]float64 {
	var all lease.Load
	weights := map[string]float64{}
	for shard, l := range rows {
		if !l.Finished() {
			all.BytesPerSecond += l.Load.BytesPerSecond
			all.RecordsPerSecond += l.Load.RecordsPerSecond
			weights[shard] = 1
		}
	}
	if n := float64(len(weights)); all.RecordsPerSecond < n && all.BytesPerSecond < 1024*n {
		return weights
	}
	for shard := range weights {
		of := rows[shard].Load
		part := (of.BytesPerSecond/all.BytesPerSecond + of.RecordsPerSecond/all.RecordsPerSecond) / 2
		weights[shard] = max(0.1, float64(len(weights))*part)
	}
	return weights
}

// calm is the fleet after it came to rest: what is put then is processed
// soon, and covered by a checkpoint soon after.
func (f *fleet) calm(ctx context.Context) error {
	// A lease may move for balance meanwhile: its new owner looks in half of
	// Failover. A batch takes up to 0.2 s.
	promptly := f.Failover + time.Second
	f.mu.Lock()
	f.putAt = map[place]time.Time{}
	f.mu.Unlock()
	r := f.source("calm", 0)
	for began, n := time.Now(), 0; time.Since(began) < 5*time.Minute; n++ {
		f.put(stream.Entry{PartitionKey: fmt.Sprint("calm", r.IntN(100)), Data: []byte(fmt.Sprint(n))})
		actor.Sleep(ctx, actor.Between(r, 50*time.Millisecond, time.Second))
	}
	actor.Sleep(ctx, promptly)
	f.mu.Lock()
	waiting, latency := len(f.putAt), f.report.Latency
	f.mu.Unlock()
	if waiting > 0 || latency > promptly {
		return fmt.Errorf("L2 violated: at rest, %d records are not done after %v, and the slowest took %v", waiting, promptly, latency)
	}
	actor.Sleep(ctx, f.CheckpointEvery+time.Second)
	if why := f.backlog(); why != "" {
		return fmt.Errorf("C6 violated: at rest, no checkpoint after %v: %s", f.CheckpointEvery+time.Second, why)
	}
	return nil
}
