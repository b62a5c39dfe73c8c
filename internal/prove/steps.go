package main

import "strings"

// step is one proof, or several of a kind, at full length.
type step struct {
	name  string
	title string
	says  string // what is tried, and what it must not break: a paragraph of the page
	// commands do it. Their output holds the figures.
	commands []command
	// fuzz are packages, and stands for one command for each of their fuzz targets.
	fuzz []string
	// executions is how often each of these targets runs.
	executions int
}

// typed is how a person runs the step.
func (s step) typed() string {
	if s.fuzz != nil {
		return "go run ./internal/prove -run " + s.name
	}
	var lines []string
	for _, c := range s.commands {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "; ")
}

// test is a go test of one package that tells everything.
func test(pkg, run, timeout string, env ...string) command {
	return command{env: env, args: []string{"test", pkg, "-run", run, "-count=1", "-v", "-timeout", timeout}}
}

func (c command) with(args ...string) command {
	c.args = append(c.args[:len(c.args):len(c.args)], args...)
	return c
}

var steps = []step{
	{
		name: "crash", title: "Power cuts, simulated",
		says: "A file system that can be cut at every operation keeps what was synced, and of the rest a random choice of sectors, " +
			"reordered and torn. The engine is opened on what is left: every record that was acknowledged must be there, once and in " +
			"order, and nothing that was never put.",
		commands: []command{test("./engine", "PowerCut", "4h", "MILLRACE_CRASH_IMAGES=1000000")},
	},
	{
		name: "rot", title: "Flipped bytes and cut files",
		says: "Every byte of a small directory is flipped, and every file cut at every length. Each change is noticed, or lies in bytes " +
			"without a meaning; nothing that was not touched is lost, and nothing wrong is served.",
		commands: []command{test("./engine", "TestEveryFlippedByte|TestEveryShortenedFile|TestAMutatedDirectory", "1h", "MILLRACE_ROT=1")},
	},
	{
		name: "rewrite", title: "The log, rewritten while it is read",
		says: "Random lives of streams (puts, reshards, retention, deletion, reopening) are read from every kind of position before, while " +
			"and after the log is rewritten shard by shard: always the same records.",
		commands: []command{test("./engine", "TestRewritingChanges", "1h").with("-rapid.checks=10000")},
	},
	{
		name: "power", title: "Power cuts on real file systems",
		says: "A process puts records durably on ext4 and on XFS; the file system is shut down under it without a flush, mounted again, " +
			"and the engine opened. The same test without syncs must find losses.",
		commands: []command{test("./internal/powercut", ".", "2h", "MILLRACE_POWERCUTS=500")},
	},
	{
		name: "kill", title: "Processes killed",
		says: "A process with the engine, producers, three workers and reshards is killed with signal 9 again and again. What was " +
			"acknowledged must be processed, in order, under terms that never overlap.",
		commands: []command{
			test("./internal/chaos", "Kill9", "3h", "MILLRACE_KILLS=1000"),
			test("./engine", "Kill9", "1h", "MILLRACE_KILL_ROUNDS=200"),
		},
	},
	{
		name: "chaos", title: "Fleets of real processes, disturbed",
		says: "Worker processes with a lease store in PostgreSQL, in a DynamoDB emulator, and in an SQLite file, are killed, stopped for longer " +
			"than the failover time, cut off in one direction or both, slowed down to a second a call, given answers late or never, throttled, " +
			"shown old indexes, one by one and all at once, while shards are split, merged, and moved; their clocks jump by an hour, their callbacks are slow. Two more fleets, over PostgreSQL and over " +
			"DynamoDB, read their stream from `millrace serve`, half of the workers by push: that server is killed with signal 9 and comes " +
			"back on what its disk holds, its connections are cut, and it is out of reach, every second or so, besides all that. In " +
			"the end every record is accounted for: processed and covered, booked once in the transaction of its checkpoint, repeated for a " +
			"reason; and no two held a shard at one time.",
		commands: []command{test("./internal/chaos", "UnderChaos", "1h", "MILLRACE_CHAOS=12m")},
	},
	{
		name: "fleet", title: "Fleets in virtual time",
		says: "Real workers, coordinators and processors over a stream and a lease store with faults, in virtual time: crashes, pauses, " +
			"cut networks, lost answers, throttling, reshards. Safety holds all the time; when the faults end, the fleet comes to rest.",
		commands: []command{test("./internal/sim", "TestFleets", "24h").with("-seeds", "2000", "-hours", "1")},
	},
	{
		name: "operator", title: "An operator who meddles",
		says: "The same kind of fleets, while somebody pauses, resumes, seeks, drains, moves and undoes at random, over a bad network, and is " +
			"interrupted. No invariant breaks; and after each seek every record behind it is processed again.",
		commands: []command{test("./lease", "MeddlingOperator", "8h").with("-seeds", "1000", "-hours", "1")},
	},
	{
		name: "model", title: "Every state of the protocol",
		says: "The protocol that hands leases over and takes them over, as a machine whose every state is visited: the pure functions of " +
			"package lease, any number of leaders, processes that are stopped or die, messages that are late or lost, shards that are " +
			"split, rows that come and go, without a bound on time. In no state two workers hold one shard, a term comes twice, a " +
			"checkpoint goes back or comes from a former holder, a child is ahead of its parent, or anything is stuck for good. A search " +
			"ends at a number of states, and says so, where there are more. Each clause of the rules, left out, makes it fail.",
		commands: []command{test("./lease", "TheModel", "8h", "MILLRACE_MODEL_STATES=20000000")},
	},
	{
		name: "incident", title: "Known incidents",
		says:     "Scripts of what has gone wrong with systems of this kind.",
		commands: []command{test("./internal/sim", "TestIncident", "30m")},
	},
	{
		name: "fuzz", title: "Fuzzing: bytes of a disk",
		says: "Every decoder of bytes that come from a disk: whatever they are, it tells what is wrong with them, or gives what was written.",
		fuzz: []string{"./engine", "./engine/internal/...", "./engine/server/internal/..."}, executions: 10_000_000,
	},
	{
		name: "rows", title: "Fuzzing: rows of a table",
		says: "Every decoder of what other workers, other programs and people have written into a lease table: it gives what was written, or " +
			"says what cannot be read.",
		fuzz: []string{"./lease/..."}, executions: 10_000_000,
	},
	{
		name: "wire", title: "Fuzzing: requests and answers of a network",
		says: "Every decoder of what comes over a network: JSON, CBOR and event streams; requests, signatures, iterators and names; answers " +
			"and events; aggregated records. Whatever comes, it is read or refused; and where a plain decoder can tell, it is read as that one reads it.",
		fuzz: []string{"./internal/wire", "./engine/server", "./kinesis/...", "./fanout/...", "./stream/kpl"}, executions: 2_000_000,
	},
	{
		name: "parsers", title: "Fuzzing: text",
		says: "Every parser of what people and other programs write.",
		fuzz: []string{"./stream", "./internal/cli", "./examples/..."}, executions: 10_000_000,
	},
	{
		name: "mutants", title: "Safety mechanisms, each switched off",
		says: "Every mechanism that keeps a promise is taken out of the source, one at a time, and a test that names it must fail: " +
			"[the whole table](internal/mutants/TABLE.md).",
		commands: []command{{args: []string{"run", "./internal/mutants", "-o", "internal/mutants/TABLE.md"}}},
	},
}
