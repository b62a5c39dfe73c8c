package streamtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/millrace/millrace/stream"
)

// split splits a shard in its middle and returns its children, by hash range.
func split(t testing.TB, s Subject, shard stream.Shard) []stream.Shard {
	t.Helper()
	if err := seam[stream.Resharder](t, s).Split(patient(t), shard.ID, shard.Hash.Middle()); err != nil {
		t.Fatalf("split: %v", err)
	}
	return childrenOf(t, s, shard.ID)
}

// merge merges two shards and returns the child.
func merge(t testing.TB, s Subject, a, b stream.Shard) stream.Shard {
	t.Helper()
	if err := seam[stream.Resharder](t, s).Merge(patient(t), a.ID, b.ID); err != nil {
		t.Fatalf("merge: %v", err)
	}
	children := childrenOf(t, s, a.ID)
	if len(children) != 1 {
		t.Fatalf("a merged shard has %d children", len(children))
	}
	return children[0]
}

// wantChildren checks that the end of a shard names its children.
func wantChildren(t testing.TB, end *stream.ShardEndError, parent string, children ...stream.Shard) {
	t.Helper()
	if end.Shard != parent {
		t.Errorf("the end is that of %s, want %s", end.Shard, parent)
	}
	named := slices.SortedFunc(slices.Values(end.Children), func(a, b stream.Shard) int { return a.Hash.Start.Compare(b.Hash.Start) })
	same := slices.EqualFunc(named, children, func(a, b stream.Shard) bool {
		return a.ID == b.ID && a.Hash == b.Hash && slices.Equal(sorted(a.Parents), sorted(b.Parents))
	})
	if !same {
		t.Errorf("the end of %s names %v, want %v", parent, named, children)
	}
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }

// ASplitShardEndsWithItsChildren splits a shard and reads it to its end.
func ASplitShardEndsWithItsChildren(t testing.TB, s Subject) {
	shard := openShards(t, s)[1]
	sequences := fill(t, s, shard, 5, "old")
	children := split(t, s, shard)
	low, high, err := shard.Hash.SplitAt(shard.Hash.Middle())
	if err != nil {
		t.Fatal(err)
	}
	if len(children) != 2 || children[0].Hash != low || children[1].Hash != high {
		t.Fatalf("the children are %v, want two with the ranges %v and %v", children, low, high)
	}
	for _, c := range children {
		if c.Closed || !slices.Equal(c.Parents, []string{shard.ID}) {
			t.Errorf("the child is %+v, want it open and with the parent %s", c, shard.ID)
		}
	}
	if !shardNamed(t, s, shard.ID).Closed {
		t.Errorf("%s is split and not closed", shard.ID)
	}
	if n := len(openShards(t, s)); n != Shards+1 {
		t.Errorf("%d open shards, want %d", n, Shards+1)
	}

	records, end := readToEnd(t, s, shard.ID)
	want(t, records, sequences, "old", 0)
	wantChildren(t, end, shard.ID, children...)

	// The end is the same wherever a reader comes from, and stays.
	for _, from := range []stream.Position{stream.After(sequences[4]), stream.Latest, stream.ShardEnd} {
		r := open(t, s, shard.ID, from)
		for range 2 {
			err := r.Next(patient(t), &stream.Batch{})
			end, ok := errors.AsType[*stream.ShardEndError](err)
			if !ok {
				t.Fatalf("from %v: %v, want the end of the shard", from, err)
			}
			wantChildren(t, end, shard.ID, children...)
		}
	}
}

// AMergedChildIsNamedAtTheEndOfBothParents merges two shards, each in turn
// named first.
func AMergedChildIsNamedAtTheEndOfBothParents(t testing.TB, s Subject) {
	all := openShards(t, s)
	for _, pair := range [][2]stream.Shard{{all[0], all[1]}, {all[3], all[2]}} {
		a, b := pair[0], pair[1]
		inA, inB := fill(t, s, a, 3, "a"), fill(t, s, b, 2, "b")
		child := merge(t, s, a, b)
		union, err := a.Hash.Join(b.Hash)
		if err != nil {
			t.Fatal(err)
		}
		if child.Hash != union || child.Closed || !slices.Equal(sorted(child.Parents), sorted([]string{a.ID, b.ID})) {
			t.Fatalf("the child is %+v, want the range %v and the parents %s and %s", child, union, a.ID, b.ID)
		}
		records, end := readToEnd(t, s, a.ID)
		want(t, records, inA, "a", 0)
		wantChildren(t, end, a.ID, child)
		records, end = readToEnd(t, s, b.ID)
		want(t, records, inB, "b", 0)
		wantChildren(t, end, b.ID, child)
	}
	if n := len(openShards(t, s)); n != 2 {
		t.Errorf("%d open shards, want 2", n)
	}
}

// AChildHasNothingOfItsParent reads a child from its beginning.
func AChildHasNothingOfItsParent(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	old := fill(t, s, shard, 10, "old")
	for _, child := range split(t, s, shard) {
		r := open(t, s, child.ID, stream.TrimHorizon)
		nothingMore(t, r)
		sequences := fill(t, s, child, 3, "new")
		want(t, read(t, r, 3), sequences, "new", 0)
		if !old[9].Less(sequences[0]) {
			t.Errorf("%v of the child is not beyond %v of the parent", sequences[0], old[9])
		}
	}
}

// AnEmptyParentEndsAtOnce splits and merges shards that never had a record.
func AnEmptyParentEndsAtOnce(t testing.TB, s Subject) {
	all := openShards(t, s)
	children := split(t, s, all[0])
	child := merge(t, s, all[1], all[2])
	for parent, next := range map[string][]stream.Shard{all[0].ID: children, all[1].ID: {child}, all[2].ID: {child}} {
		records, end := readToEnd(t, s, parent)
		if len(records) != 0 {
			t.Errorf("%d records of an empty shard", len(records))
		}
		wantChildren(t, end, parent, next...)
	}
}

// AReshardWakesAWaitingReader splits a shard while Next waits.
func AReshardWakesAWaitingReader(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	r := open(t, s, shard.ID, stream.Latest)
	ctx := patient(t)
	waiting := background(t, func() error { return r.Next(ctx, &stream.Batch{}) })
	quiet(t, waiting, "Next does not wait")
	children := split(t, s, shard)
	end, ok := errors.AsType[*stream.ShardEndError](within(t, waiting, "the end of the shard"))
	if !ok {
		t.Fatal("Next does not return the end of the shard")
	}
	wantChildren(t, end, shard.ID, children...)
}

// AChildCanBeSplitAgain reshards what comes from a reshard, and reads the whole
// lineage.
func AChildCanBeSplitAgain(t testing.TB, s Subject) {
	root := openShards(t, s)[0]
	rootSequences := fill(t, s, root, 2, "root")
	children := split(t, s, root)
	childSequences := fill(t, s, children[1], 2, "child")
	grandchildren := split(t, s, children[1])
	last := merge(t, s, children[0], grandchildren[0])
	lastSequences := fill(t, s, last, 2, "last")

	for _, c := range []struct {
		shard     stream.Shard
		sequences []stream.Sequence
		label     string
		children  []stream.Shard
	}{
		{root, rootSequences, "root", children},
		{children[0], nil, "", []stream.Shard{last}},
		{children[1], childSequences, "child", grandchildren},
		{grandchildren[0], nil, "", []stream.Shard{last}},
	} {
		records, end := readToEnd(t, s, c.shard.ID)
		want(t, records, c.sequences, c.label, 0)
		// The children may have been closed since.
		wantChildren(t, end, c.shard.ID, c.children...)
	}
	want(t, read(t, open(t, s, last.ID, stream.TrimHorizon), 2), lastSequences, "last", 0)
	openShards(t, s)
}

// AReshardLosesNothing lets producers put while shards are split and merged.
func AReshardLosesNothing(t testing.TB, s Subject) {
	const producers = 6
	ctx := patient(t)
	resharded := make(chan struct{})
	finish := sync.OnceFunc(func() { close(resharded) })
	t.Cleanup(finish)

	// wanted[p] is what producer p has acknowledged, in order.
	wanted := make([][]stream.PutResult, producers)
	var writers []<-chan error
	for p := range producers {
		putter, key := s.putter(t), fmt.Sprintf("producer-%d", p)
		writers = append(writers, background(t, func() error {
			for {
				for range 10 {
					results, err := putter.Put(ctx, stream.Entry{PartitionKey: key, Data: fmt.Appendf(nil, "%s %d", key, len(wanted[p]))})
					if err == nil {
						err = results[0].Err
					}
					if err != nil {
						return err
					}
					wanted[p] = append(wanted[p], results[0])
				}
				select {
				case <-resharded:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				default:
					anotherMillisecond()
				}
			}
		}))
	}
	for range 3 {
		for _, shard := range openShards(t, s) {
			split(t, s, shard)
			anotherMillisecond()
		}
		for open := openShards(t, s); len(open) > Shards; open = openShards(t, s) {
			merge(t, s, open[0], open[1])
			anotherMillisecond()
			open = openShards(t, s)
			merge(t, s, open[len(open)-2], open[len(open)-1])
		}
	}
	finish()
	for _, w := range writers {
		if err := within(t, w, "a producer"); err != nil {
			t.Fatalf("put during a reshard: %v", err)
		}
	}

	got := readLineage(t, s)
	for p := range producers {
		key := fmt.Sprintf("producer-%d", p)
		if len(got[key]) != len(wanted[p]) {
			t.Fatalf("%d records of %s, want %d", len(got[key]), key, len(wanted[p]))
		}
		for i, r := range got[key] {
			if string(r.Data) != fmt.Sprintf("%s %d", key, i) || r.Sequence != wanted[p][i].Sequence || r.shard != wanted[p][i].Shard {
				t.Fatalf("record %d of %s is %q at %v in %s, want it at %v in %s", i, key, r.Data, r.Sequence, r.shard, wanted[p][i].Sequence, wanted[p][i].Shard)
			}
		}
	}
}

type shardRecord struct {
	stream.Record
	shard string
}

// readLineage reads all shards, parents before children, and returns their
// records by partition key. The open ones are closed for it by a last split.
func readLineage(t testing.TB, s Subject) map[string][]shardRecord {
	t.Helper()
	for _, shard := range openShards(t, s) {
		split(t, s, shard)
	}
	got := map[string][]shardRecord{}
	done := map[string]bool{}
	all := shards(t, s)
	for len(done) < len(all) {
		before := len(done)
		for _, shard := range all {
			ready := !slices.ContainsFunc(shard.Parents, func(id string) bool { return !done[id] })
			if done[shard.ID] || !ready {
				continue
			}
			done[shard.ID] = true
			if !shard.Closed {
				continue // opened by the last split, and empty
			}
			records, _ := readToEnd(t, s, shard.ID)
			for _, r := range records {
				if !shard.Hash.Contains(r.Hash()) {
					t.Fatalf("record %v of %s lies outside of its range", r.Sequence, shard.ID)
				}
				got[r.PartitionKey] = append(got[r.PartitionKey], shardRecord{r, shard.ID})
			}
		}
		if len(done) == before {
			t.Fatalf("the lineage is a circle, or lacks parents: %v", all)
		}
	}
	return got
}

// TheShardCountGoesUpAndDown changes the number of shards and looks at the
// ranges that are left.
func TheShardCountGoesUpAndDown(t testing.TB, s Subject) {
	r := seam[stream.Resharder](t, s)
	total := 0
	for _, n := range []int{8, 8, 4, 3, 6, 1, 2} {
		if err := r.UpdateShardCount(patient(t), n); err != nil {
			t.Fatalf("update the shard count to %d: %v", n, err)
		}
		open := openShards(t, s)
		if len(open) != n {
			t.Fatalf("%d open shards, want %d", len(open), n)
		}
		for i, wanted := range stream.SplitHashSpace(n) {
			// Borders may be rounded, by 2⁶⁴ points at most.
			if d := open[i].Hash.Start.Hi - wanted.Start.Hi; d+1 > 2 && !s.Uneven {
				t.Fatalf("of %d shards, number %d starts at %v, want %v", n, i, open[i].Hash.Start, wanted.Start)
			}
		}
		for _, shard := range open {
			total += len(fill(t, s, shard, 1, "counted"))
		}
	}
	got := 0
	for _, records := range readLineage(t, s) {
		got += len(records)
	}
	if got != total {
		t.Errorf("%d records are left, want %d", got, total)
	}
}

// AnImpossibleReshardChangesNothing asks for what cannot be done.
func AnImpossibleReshardChangesNothing(t testing.TB, s Subject) {
	r := seam[stream.Resharder](t, s)
	closed := openShards(t, s)[0]
	split(t, s, closed)
	before := shards(t, s)
	open := openShards(t, s)
	a, b, far := open[1], open[2], open[4]
	const unknown = "shardId-000000999999"
	ctx := patient(t)

	for what, err := range map[string]error{
		"split at the start":        r.Split(ctx, a.ID, a.Hash.Start),
		"split beyond the end":      r.Split(ctx, a.ID, a.Hash.End.Next()),
		"split a closed shard":      r.Split(ctx, closed.ID, closed.Hash.Middle()),
		"merge distant shards":      r.Merge(ctx, a.ID, far.ID),
		"merge a shard with itself": r.Merge(ctx, a.ID, a.ID),
		"merge with a closed shard": r.Merge(ctx, a.ID, closed.ID),
		"merge a closed shard":      r.Merge(ctx, closed.ID, b.ID),
		"no shards at all":          r.UpdateShardCount(ctx, 0),
		"a negative number":         r.UpdateShardCount(ctx, -1),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for what, err := range map[string]error{
		"split an unknown shard":    r.Split(ctx, unknown, a.Hash.Middle()),
		"merge an unknown shard":    r.Merge(ctx, unknown, a.ID),
		"merge with an unknown one": r.Merge(ctx, a.ID, unknown),
	} {
		if !errors.Is(err, stream.ErrShardNotFound) {
			t.Errorf("%s: %v, want stream.ErrShardNotFound", what, err)
		}
	}
	after := shards(t, s)
	same := slices.EqualFunc(before, after, func(a, b stream.Shard) bool { return a.ID == b.ID && a.Closed == b.Closed && a.Hash == b.Hash })
	if !same {
		t.Errorf("the shards were %v and are %v", before, after)
	}
}
