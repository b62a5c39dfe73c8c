package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/millrace/millrace/engine"
)

// goal is something that Millrace wants to reach, as a ratio or a figure of one
// run.
type goal struct {
	what     string
	measured expression
	bound    bound
	// prototype is what a throw-away prototype of the design reached, once, on
	// another day; 0 when it was not measured.
	prototype float64
}

// goals are all of them, in the order of the table.
var goals = []goal{
	{"durable batches (1 KiB, 16 × 500): share of what one thread writes and syncs to a fallocated file", put(millrace, byteRate, batchKiB).over(put(rawAllocated, byteRate, batchKiB)), atLeast(0.70), 0.71},
	{"… to a recycled file", put(millraceRecycled, byteRate, batchKiB).over(put(rawRecycled, byteRate, batchKiB)), atLeast(0.50), 0.54},
	{"… against Pebble", put(millraceRecycled, recordRate, batchKiB).over(put(pebbleSync, recordRate, batchKiB)), atLeast(3.5), 3.6},
	{"… against raft-wal", put(millraceRecycled, recordRate, batchKiB).over(put(raftWAL, recordRate, batchKiB)), atLeast(5), 5.9},
	{"… against NATS, sync always", put(millraceRecycled, recordRate, batchKiB).over(put(natsAlways, recordRate, batchKiB)), atLeast(200), 310},
	{"… CPU ns a record", put(millraceRecycled, cpuPerRecord, batchKiB).only(), atMost(800), 710},
	{"durable single records (1 KiB, 256 callers) against raft-wal", put(millraceRecycled, recordRate, singleKiB).over(put(raftWAL, recordRate, singleKiB)), atLeast(1.5), 1.7},
	{"… against Pebble", put(millraceRecycled, recordRate, singleKiB).over(put(pebbleSync, recordRate, singleKiB)), atLeast(3), 3.1},
	{"… against NATS, sync always", put(millraceRecycled, recordRate, singleKiB).over(put(natsAlways, recordRate, singleKiB)), atLeast(50), 83},
	{"… CPU ns a record", put(millraceRecycled, cpuPerRecord, singleKiB).only(), atMost(3500), 2900},
	{"one caller (1 KiB): p50 against a bare 4 KiB write + fdatasync, recycled file", put(millrace, latency("", 50), oneCaller).over(put(rawRecycled, latency("", 50), oneCaller)), atMost(1.2), 0.9},
	{"… rate against raft-wal", put(millrace, recordRate, oneCaller).over(put(raftWAL, recordRate, oneCaller)), atLeast(1), 1.2},
	{"log alone, 4096 shards against 1, single records", put(millraceLog, recordRate, scaled(singleKiB, 4096)).over(put(millraceOne, recordRate, scaled(singleKiB, 4096))), atLeast(0.85), 0.93},
	{"… scattered batches", put(millraceLog, recordRate, scaled(batchKiB, 4096)).over(put(millraceOne, recordRate, scaled(batchKiB, 4096))), atLeast(0.55), 0.58},
	{"4096 shards, single records, against a file per shard", put(millrace, recordRate, scaled(singleKiB, 4096)).over(put(filesSynced, recordRate, scaled(singleKiB, 4096))), atLeast(10), 11.7},
	{"… scattered batches", put(millrace, recordRate, scaled(batchKiB, 4096)).over(put(filesSynced, recordRate, scaled(batchKiB, 4096))), atLeast(10), 17.5},
	{"not durable (1 KiB, 4 × 500), recycled files, against Pebble NoSync", unsynced(millraceRecycled).over(unsynced(pebbleNoSync)), atLeast(5), 5.5},
	{"… against NATS default", unsynced(millraceRecycled).over(unsynced(natsDefault)), atLeast(10), 12.7},
	{"rewriting: share of the log's own rate, 256 × 1, 4096 shards", rewriting(recordRate, 0), atLeast(0.75), 0.89},
	{"… 16 × 500, 4096 shards", rewriting(recordRate, 1), atLeast(0.75), 0.69},
	{"… 16 × 500, 16 shards", rewriting(recordRate, 2), atLeast(0.75), 0},
	{"… 4 × 500, 4096 shards", rewriting(recordRate, 3), atLeast(0.75), 0.72},
	{"rewriting: p99 against the log's own, 256 × 1, 4096 shards", rewriting(latency("", 99), 0), atMost(2), 0},
	{"… 16 × 500, 4096 shards", rewriting(latency("", 99), 1), atMost(2), 0},
	{"… 16 × 500, 16 shards", rewriting(latency("", 99), 2), atMost(2), 0},
	{"… 4 × 500, 4096 shards", rewriting(latency("", 99), 3), atMost(2), 1.7},
	{"one cold shard of 4096: share of the disk's sequential bandwidth", oneShard(byShards).over(oneShard(rawColdRead)), atLeast(0.25), 0.26},
	{"… against the log as written", oneShard(byShards).over(oneShard(scattered)), atLeast(20), 32},
	{"warm catch-up (1 KiB, 1 shard, checksums), MB/s", caughtUp(fromPageCache, byteRate).only(), atLeast(4000), 6500},
	{"… against NATS ordered consumer", caughtUp(fromPageCache, recordRate).over(caughtUp(natsOrdered, recordRate)), atLeast(10), 24},
	{"put → processor, durable, closed loop: p50 above the put's own, µs", delay(processed, 50, engine.Durable, closedLoop).minus(delay(answered, 50, engine.Durable, closedLoop)), atMost(60), 52},
	{"… p99 against the p99 of a bare fdatasync", delay(processed, 99, engine.Durable, closedLoop).over(bareSync(99, closedLoop)), atMost(2), 0},
	{"… at 1,000/s, against a bare fdatasync each ms", delay(processed, 99, engine.Durable, 1000).over(bareSync(99, 1000)), atMost(2), 0},
	{"… at 10,000/s, against one bare fdatasync after the other", delay(processed, 99, engine.Durable, 10_000).over(bareSync(99, 10_000)), atMost(2), 0},
	{"put → processor, not durable, 10,000/s: p50, µs", delay(processed, 50, engine.LoseOnPowerFailure, 10_000).only(), atMost(50), 40},
	{"… p99, µs", delay(processed, 99, engine.LoseOnPowerFailure, 10_000).only(), atMost(250), 197},
	{"worker path (100 B): records/s and core, 1 shard", worked(perCore, paths[0]).only(), atLeast(5e6), 0},
	{"… 16 shards", worked(perCore, paths[1]).only(), atLeast(5e6), 0},
	{"… 256 shards, just put", workedIn(justPutCase, perCore), atLeast(5e6), 0},
	{"… 256 shards, rewritten", workedIn(rewrittenPathCase, perCore), atLeast(5e6), 0},
	{"… 256 shards, from files that are not rewritten", workedIn(pathCase, perCore), atLeast(5e6), 0},
	{"… allocations a record, 1 shard", worked(allocs, paths[0]).only(), atMost(0.01), 0},
	{"… 256 shards, just put", workedIn(justPutCase, allocs), atMost(0.01), 0},
	{"… 256 shards, rewritten", workedIn(rewrittenPathCase, allocs), atMost(0.01), 0},
	{"… 256 shards, from files that are not rewritten", workedIn(pathCase, allocs), atMost(0.01), 0},
	{"a worker that holds 1000 idle shards: share of a core", quantity{"idle", idleCase(idleShards), idleWorker, coreShare}.only(), atMost(0.02), 0},
	{"10,000 leases: beats, share of a core", quantity{"leases", leasesCase(manyLeases), beats, coreShare}.only(), atMost(0.01), 0.005},
	{"… a checkpoint, CPU µs", quantity{"leases", leasesCase(manyLeases), checkpoints, cpuPerWrite}.only(), atMost(10), 8.1},
	{"opening with 256 MiB of log, cold, s", recovered(openCold, openTime, 0).only(), atMost(1), 1.1},
	{"… rebuilding the index (100 B, 4096 shards), records/s", recovered(openWarm, recordRate, 1).only(), atLeast(5e6), 6.2e6},
	{"a worker killed, PostgreSQL, FailoverTime 10 s: all its shards go on after, s", takenOver(onPostgres, 0, aWorker), atMost(11), 0},
	{"… FailoverTime 2 s", takenOver(onPostgres, 1, aWorker), atMost(3), 0},
	{"… DynamoDB, FailoverTime 10 s", takenOver(onDynamoDB, 0, aWorker), atMost(11), 0},
	{"… DynamoDB, FailoverTime 2 s", takenOver(onDynamoDB, 1, aWorker), atMost(3), 0},
	{"… PostgreSQL with FastFailover", quantity{"failover", fastCase(), aWorker, allTakenOver}.only(), atMost(1), 0},
	{"the leader killed, PostgreSQL, FailoverTime 10 s: s", takenOver(onPostgres, 0, theLeader), atMost(11), 0},
	{"… FailoverTime 2 s", takenOver(onPostgres, 1, theLeader), atMost(3), 0},
	{"… DynamoDB, FailoverTime 10 s", takenOver(onDynamoDB, 0, theLeader), atMost(11), 0},
	{"… DynamoDB, FailoverTime 2 s", takenOver(onDynamoDB, 1, theLeader), atMost(3), 0},
	{"… PostgreSQL with FastFailover", quantity{"failover", fastCase(), theLeader, allTakenOver}.only(), atMost(1), 0},
	{"a deploy, PostgreSQL: gap of a shard, p99 ms", deployed(onPostgres, gap(99)), atMost(1000), 0},
	{"… DynamoDB", deployed(onDynamoDB, gap(99)), atMost(3000), 0},
	{"… records again, PostgreSQL", deployed(onPostgres, repeats), atMost(0), 0},
	{"… DynamoDB", deployed(onDynamoDB, repeats), atMost(0), 0},
	{"a worker joins ten over 1000 shards, PostgreSQL: leader passes until it has its share", joined(onPostgres, joinPasses), atMost(2), 0},
	{"… DynamoDB", joined(onDynalite, joinPasses), atMost(2), 0},
	{"… moves beyond the need, PostgreSQL", joined(onPostgres, joinNeedless), atMost(0), 0},
	{"… DynamoDB", joined(onDynalite, joinNeedless), atMost(0), 0},
	{"100,000 leases, 1000 workers: a plan from nothing, s", quantity{"planner", plannerCase(), planAll, secondsAPass}.only(), atMost(1), 0},
	{"… after a tenth of them crashed", quantity{"planner", plannerCase(), planCrash, secondsAPass}.only(), atMost(1), 0},
	{"… with loads that differ", quantity{"planner", plannerCase(), planUneven, secondsAPass}.only(), atMost(1), 0},
	{"… write units of DynamoDB against the KCL 3.x, on paper", quantity{"planner", paperCase(), paperMillrace, writeUnits}.over(quantity{"planner", paperCase(), paperKCL3, writeUnits}), atMost(0.1), 0},
	{"PutRecords (500 × 1 KiB) through the server, durable, against kinesalite in memory, 1 client", served(puts, 1, recordRate).over(rival(puts, 1, kinesaliteMemory)), atLeast(20), 0},
	{"… 8 clients", served(puts, 8, recordRate).over(rival(puts, 8, kinesaliteMemory)), atLeast(20), 0},
	{"… against kinesalite --path, 8 clients", served(puts, 8, recordRate).over(rival(puts, 8, kinesalitePath)), atLeast(20), 0},
	{"… server CPU µs a record, 1 client", served(puts, 1, serverCPU).only(), atMost(2.5), 0},
	{"… 8 clients", served(puts, 8, serverCPU).only(), atMost(2.5), 0},
	{"GetRecords (1000 × 1 KiB) through the server against kinesalite in memory, 1 client", served(gets, 1, recordRate).over(rival(gets, 1, kinesaliteMemory)), atLeast(20), 0},
	{"… 8 clients", served(gets, 8, recordRate).over(rival(gets, 8, kinesaliteMemory)), atLeast(20), 0},
	{"… against kinesalite --path, 8 clients", served(gets, 8, recordRate).over(rival(gets, 8, kinesalitePath)), atLeast(20), 0},
	{"… server CPU µs a record, 1 client", served(gets, 1, serverCPU).only(), atMost(1.5), 0},
	{"… 8 clients", served(gets, 8, serverCPU).only(), atMost(1.5), 0},
	{"consumer CPU a record of Kinesis (1 KiB) against a bare loop of the SDK, JSON", consumed(1024, kinesisJSON).over(consumed(1024, bareSDK)), atMost(0.25), 0},
	{"… CBOR: a sixth", consumed(1024, kinesisCBOR).over(consumed(1024, bareSDK)), atMost(0.166), 0},
	{"… against reading and throwing away, JSON", consumed(1024, kinesisJSON).over(consumed(1024, discardJSON)), atMost(2.5), 0},
	{"… CBOR", consumed(1024, kinesisCBOR).over(consumed(1024, discardCBOR)), atMost(2.5), 0},
	{"put → processor by SubscribeToShard, durable, closed loop, HTTP/1.1: p99 µs", subscribed(closedLoop, pushedHTTP1), atMost(10_000), 0},
	{"… HTTP/2", subscribed(closedLoop, pushedHTTP2), atMost(10_000), 0},
	{"… at 1,000/s, HTTP/1.1", subscribed(1000, pushedHTTP1), atMost(10_000), 0},
	{"… HTTP/2", subscribed(1000, pushedHTTP2), atMost(10_000), 0},
	{"a worker that polls 1000 idle shards of a server: share of a core", quantity{"polling", idleCase(idleShards), polled, coreShare}.only(), atMost(0.05), 0},
}

// The loads that goals speak of.
var (
	oneCaller = load{1, 1, 1024, 1}
	singleKiB = load{256, 1, 1024, 1}
	batchKiB  = load{16, 500, 1024, 1}
)

func scaled(l load, shards int) load {
	l.shards = shards
	return l
}

func put(who, figure string, l load) quantity { return quantity{"put", durable(l), who, figure} }

func unsynced(who string) quantity { return quantity{"put", relaxed(putRelaxed), who, recordRate} }

// rewriting compares an engine that rewrites its log with one that does not, if
// it was seen to.
func rewriting(figure string, which int) expression {
	name := durable(rewrittenLoads[which])
	ratio := quantity{"rewrite", name, millrace, figure}.over(quantity{"rewrite", name, millraceLog, figure})
	return func(rs results) []float64 {
		if slices.Contains(rs.samples("rewrite", name, millrace, rewrittenBytes), 0) {
			return nil
		}
		return ratio(rs)
	}
}

func oneShard(who string) quantity { return quantity{"read", oneCold, who, byteRate} }

func caughtUp(who, figure string) quantity {
	return quantity{"read", catchUp(catchUps[0]), who, figure}
}

func delay(what string, percent float64, d engine.Durability, rate int) quantity {
	return quantity{"latency", latencyCase(d, rate), millrace, latency(what, percent)}
}

func bareSync(percent float64, rate int) quantity {
	return quantity{"latency", latencyCase(engine.Durable, rate), rawRecycled, latency(answered, percent)}
}

func worked(figure string, l load) quantity {
	return quantity{"path", pathCase(l), wholeWorker, figure}
}

// workedIn is what a worker does with many shards in one of the states of a log.
func workedIn(name func(load) string, figure string) expression {
	return quantity{"path", name(scatteredPaths[0]), wholeWorker, figure}.only()
}

func recovered(who, figure string, which int) quantity {
	return quantity{"recovery", recoveryCase(unwrittenLogs[which], unwrittenBytes), who, figure}
}

func takenOver(s leaseStore, which int, who string) expression {
	return quantity{"failover", failoverCase(s, failoverTimes[which]), who, allTakenOver}.only()
}

func deployed(s leaseStore, figure string) expression {
	return quantity{"handoff", handoffCase(s), deploy, figure}.only()
}

func joined(s leaseStore, figure string) expression {
	return quantity{"join", joinCase(s), newcomer, figure}.only()
}

func served(what string, clients int, figure string) quantity {
	return quantity{"server", serverCase(what, clients), millraceServe, figure}
}

func rival(what string, clients int, who string) quantity {
	return quantity{"server", serverCase(what, clients), who, recordRate}
}

func consumed(size int, who string) quantity {
	return quantity{"consumer", consumerCase(size), who, cpuPerRecord}
}

func subscribed(rate int, who string) expression {
	return quantity{"push", pushCase(rate), who, latency(processed, 99)}.only()
}

// quantity is one figure of a run.
type quantity struct{ benchmark, name, who, figure string }

// expression computes a value of each round; none when it was not measured.
type expression func(results) []float64

func (q quantity) only() expression {
	return func(rs results) []float64 { return rs.samples(q.benchmark, q.name, q.who, q.figure) }
}

func (q quantity) over(r quantity) expression {
	return q.with(r, func(a, b float64) float64 { return a / b })
}

func (q quantity) minus(r quantity) expression {
	return q.with(r, func(a, b float64) float64 { return a - b })
}

// with combines the figures round by round: what weighed on one round weighed
// on both.
func (q quantity) with(r quantity, combine func(a, b float64) float64) expression {
	return func(rs results) []float64 {
		a, b := q.only()(rs), r.only()(rs)
		var v []float64
		for i := range min(len(a), len(b)) {
			v = append(v, combine(a[i], b[i]))
		}
		return v
	}
}

// bound is the limit of a goal.
type bound struct {
	limit float64
	most  bool // the limit is the most and not the least
}

func atLeast(v float64) bound { return bound{v, false} }
func atMost(v float64) bound  { return bound{v, true} }

func (b bound) met(v float64) bool { return cmp.Compare(v, b.limit) == 0 || v < b.limit == b.most }

func (b bound) String() string {
	text := fmt.Sprintf("%g", b.limit)
	if b.limit >= 1e6 {
		text = fmt.Sprintf("%gM", b.limit/1e6)
	}
	if b.most {
		return "≤ " + text
	}
	return "≥ " + text
}

// cells are what a table says of a goal: it is met when the median of the rounds
// is, and the prototype beaten when that is no worse.
func (g goal) cells(rs results) []string {
	v := g.measured(rs)
	cells := []string{g.what, g.bound.String(), "–", "–", "not measured"}
	if g.prototype > 0 {
		cells[3] = number(g.prototype)
	}
	if len(v) > 0 {
		s := spreadOf(v)
		cells[2] = s.String()
		switch {
		case !g.bound.met(s.median):
			cells[4] = "**not met**"
		case g.prototype > 0 && !(bound{g.prototype, g.bound.most}).met(s.median):
			cells[4] = "met; the prototype was better"
		default:
			cells[4] = "met"
		}
	}
	return cells
}

var goalColumns = []any{"goal", "bound", "measured", "prototype", ""}

// writeGoals writes the table for a terminal.
func writeGoals(out io.Writer, rs results) error {
	fmt.Fprint(out, "\ngoals: each computed in every round, median [least..most]\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", goalColumns...)
	for _, g := range goals {
		c := g.cells(rs)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c[0], c[1], c[2], c[3], c[4])
	}
	return table.Flush()
}

// writeGoalsMarkdown writes the table for a page.
func writeGoalsMarkdown(out io.Writer, rs results) {
	fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n|---|--:|--:|--:|---|\n", goalColumns...)
	for _, g := range goals {
		c := g.cells(rs)
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", c[0], c[1], c[2], c[3], c[4])
	}
}
