package check

import (
	"strings"
	"testing"

	"github.com/millrace/millrace/stream"
)

func at(n uint64) stream.Sequence { return stream.MakeSequence(0, 0, n) }

// begin is a shard with three acknowledged records and a first term.
func begin(c *Checker) {
	c.Shard("s")
	for n := range uint64(3) {
		c.Put("s", at(n+1))
	}
	c.Took("s", "a", 10, stream.TrimHorizon)
	c.Began("s", 10)
}

func process(c *Checker, term int64, from, to uint64) {
	for n := from; n <= to; n++ {
		c.Delivered("s", term, at(n))
		c.Done("s", term, at(n))
	}
}

func TestAGoodLifeHasNoViolation(t *testing.T) {
	c := New()
	begin(c)
	process(c, 10, 1, 2)
	c.Stored("s", "a", stream.After(at(2)))
	c.Released("s")
	c.Took("s", "b", 12, stream.After(at(2)))
	c.Returned("s", 10, true) // after the store has it already
	c.Began("s", 12)
	process(c, 12, 3, 4) // the fourth is acknowledged after it was processed
	c.Cancelled("s", 12)
	c.Took("s", "c", 15, stream.After(at(2)))
	c.Began("s", 15)
	process(c, 15, 3, 4) // a crash may repeat
	c.Stored("s", "c", stream.ShardEnd)
	c.Returned("s", 15, true)
	c.Put("s", at(4))
	c.Shard("child", "s")
	c.Put("child", at(9))
	c.Took("child", "c", 3, stream.TrimHorizon)
	c.Began("child", 3)
	c.Delivered("child", 3, at(9))
	c.Done("child", 3, at(9))
	c.Stored("child", "c", stream.After(at(9)))
	c.Retired("s")
	c.AtRest()
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	if got := c.Stats(); got.Repeats != 2 || got.Terms != 4 || got.Ended != 1 {
		t.Errorf("stats: %+v", got)
	}
}

func TestEachViolationIsNamed(t *testing.T) {
	for _, test := range []struct {
		name  string
		event func(c *Checker)
	}{
		{"F1", func(c *Checker) { c.Returned("s", 10, true); c.Took("s", "b", 10, stream.TrimHorizon) }},
		{"F2", func(c *Checker) { c.Stored("s", "b", stream.TrimHorizon) }},
		{"F2", func(c *Checker) { c.Cancelled("s", 10); c.Began("s", 11) }},
		{"F3", func(c *Checker) { c.Effect("s", 10); c.Effect("s", 9) }},
		{"F4", func(c *Checker) { c.Cancelled("s", 10); c.Delivered("s", 10, at(1)) }},
		{"F4", func(c *Checker) { c.Returned("s", 10, false); c.Delivered("s", 10, at(1)) }},
		{"F5", func(c *Checker) { c.Took("s", "b", 11, stream.TrimHorizon) }},
		{"C1", func(c *Checker) { c.AtRest() }},
		{"C1", func(c *Checker) { process(c, 10, 1, 3); c.AtRest() }},
		{"C2", func(c *Checker) { process(c, 10, 1, 2); c.Delivered("s", 10, at(2)) }},
		{"C2", func(c *Checker) {
			process(c, 10, 1, 2)
			c.Stored("s", "a", stream.After(at(2)))
			c.Cancelled("s", 10)
			c.Took("s", "b", 12, stream.After(at(2)))
			c.Began("s", 12)
			c.Delivered("s", 12, at(1))
		}},
		{"C3", func(c *Checker) {
			process(c, 10, 1, 2)
			c.Stored("s", "a", stream.After(at(2)))
			c.Stored("s", "a", stream.After(at(1)))
		}},
		{"C3", func(c *Checker) {
			process(c, 10, 1, 2)
			c.Stored("s", "a", stream.After(at(2)))
			c.Returned("s", 10, true)
			c.Took("s", "b", 12, stream.After(at(1)))
		}},
		{"C4", func(c *Checker) {
			c.Delivered("s", 10, at(1))
			c.Stored("s", "a", stream.After(at(1)))
		}},
		{"C4", func(c *Checker) { // a record in the middle was never given to anybody
			process(c, 10, 1, 1)
			process(c, 10, 3, 3)
			c.Stored("s", "a", stream.After(at(3)))
		}},
		{"C4", func(c *Checker) {
			process(c, 10, 1, 3)
			c.Stored("s", "a", stream.After(at(7)))
		}},
		{"C4", func(c *Checker) { // skipped, and acknowledged afterwards
			process(c, 10, 1, 3)
			process(c, 10, 5, 5)
			c.Stored("s", "a", stream.After(at(5)))
			c.Put("s", at(4))
		}},
		{"C5", func(c *Checker) { process(c, 10, 1, 2); c.Returned("s", 10, true) }},
		{"C6", func(c *Checker) { // the former holder goes on, and the next one repeats even that
			c.Cancelled("s", 10)
			c.Took("s", "b", 12, stream.TrimHorizon)
			c.Began("s", 12)
			c.shards["s"].terms[10].cancelled = false
			c.Delivered("s", 10, at(1))
			c.Delivered("s", 12, at(1))
		}},
		{"P3", func(c *Checker) { c.Covered("s", stream.SplitHashSpace(4)[1:]) }},
		{"P3", func(c *Checker) { c.Covered("s", append(stream.SplitHashSpace(4), stream.SplitHashSpace(2)...)) }},
		{"P5", func(c *Checker) { c.GivenUp("s", "leader") }},
		{"C5", func(c *Checker) { // the release covers less than was done, and somebody is quick
			process(c, 10, 1, 2)
			c.Released("s")
			c.Took("s", "b", 12, stream.TrimHorizon)
			c.Returned("s", 10, true)
		}},
		{"P1", func(c *Checker) { c.Shard("s", "p"); c.Delivered("s", 10, at(1)) }},
		{"P2", func(c *Checker) { process(c, 10, 1, 2); c.Stored("s", "a", stream.ShardEnd) }},
		{"P4", func(c *Checker) { c.Retired("s") }},
		{"P4", func(c *Checker) { // its child has not begun
			process(c, 10, 1, 3)
			c.Stored("s", "a", stream.ShardEnd)
			c.Shard("child", "s")
			c.Retired("s")
		}},
	} {
		c := New()
		begin(c)
		test.event(c)
		if err := c.Err(); err == nil || !strings.HasPrefix(err.Error(), test.name+" violated: s: ") {
			t.Errorf("want %s, got %v", test.name, err)
		}
	}
}

func TestWhatLeavesTheStreamIsLostAndNobodysFault(t *testing.T) {
	c := New()
	begin(c)
	process(c, 10, 1, 1)
	c.Gone("s")
	c.GivenUp("s", "leader")
	c.Retired("s")
	c.AtRest()
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	if lost := c.Stats().Lost; lost != 3 {
		t.Errorf("%d records are lost, want 3: a checkpoint covers none", lost)
	}
}

func TestTheHashTellsTwoCoursesApart(t *testing.T) {
	run := func(n uint64) uint64 {
		c := New()
		begin(c)
		process(c, 10, 1, n)
		return c.Hash()
	}
	first, again, other := run(2), run(2), run(3)
	if first != again || first == other {
		t.Error("the hash does not follow the events")
	}
}
