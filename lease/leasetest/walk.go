package leasetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/lease"
)

var walks = []clause{
	{"AnyWalkLeadsWhereTheModelSays", func(r *room) {
		var walk atomic.Int64
		rapid.Check(r, func(t *rapid.T) {
			// Each walk has names of its own, so that one store serves them all.
			w := &walker{room: r, prefix: fmt.Sprintf("walk %d: ", walk.Add(1)), leases: map[string]lease.Lease{}, members: map[string]lease.Member{}}
			t.Repeat(map[string]func(*rapid.T){
				"create": w.create,
				"swap":   w.swap,
				"delete": w.delete,
				"read":   w.read,
				"owned":  w.owned,
				"member": w.swapMember,
				"":       w.agree,
			})
			w.leave(t)
		})
	}},
}

// walker takes random steps through a store and, beside it, through a model
// of it: two maps, and the rows that were seen on the way, which are the stale
// beliefs of later steps.
type walker struct {
	*room
	prefix      string
	leases      map[string]lease.Lease
	members     map[string]lease.Member
	pastLeases  []lease.Lease
	pastMembers []lease.Member
}

func (w *walker) name(t *rapid.T, label string, of ...string) string {
	return w.prefix + rapid.SampledFrom(of).Draw(t, label)
}

func (w *walker) key(t *rapid.T) string { return w.name(t, "key", "a", "b", "c") }

func (w *walker) owner(t *rapid.T, label string) string {
	if rapid.IntRange(0, 2).Draw(t, label+" is nobody") == 0 {
		return ""
	}
	return w.name(t, label, "v", "w")
}

func (w *walker) row(t *rapid.T) lease.Lease {
	l := rapid.SampledFrom([]lease.Lease{plain(""), full("")}).Draw(t, "row")
	l.Key = w.key(t)
	l.Owner, l.CheckpointOwner = w.owner(t, "owner"), w.owner(t, "checkpoint owner")
	l.Counter = rapid.Int64Range(0, 3).Draw(t, "counter")
	l.Term = rapid.Int64().Draw(t, "term")
	l.Checkpoint.Progress = rapid.SliceOf(rapid.Byte()).Draw(t, "progress")
	return l
}

// belief returns what a caller takes for the row: how it is, how it once was,
// or a guess.
func (w *walker) belief(t *rapid.T) lease.Lease {
	guess := w.row(t)
	switch current, ok := w.leases[guess.Key]; {
	case ok && rapid.Bool().Draw(t, "up to date"):
		return current
	case len(w.pastLeases) > 0 && rapid.Bool().Draw(t, "stale"):
		return rapid.SampledFrom(w.pastLeases).Draw(t, "belief")
	}
	return guess
}

func (w *walker) create(t *rapid.T) {
	rows := []lease.Lease{w.row(t), w.row(t)}
	if err := w.store.Create(w.ctx, rows...); err != nil {
		t.Fatalf("create: %v", err)
	}
	for _, l := range rows {
		if _, exists := w.leases[l.Key]; !exists {
			w.leases[l.Key] = l
			w.pastLeases = append(w.pastLeases, l)
		}
	}
}

func (w *walker) swap(t *rapid.T) {
	old, next := w.belief(t), w.row(t)
	got, err := w.store.Swap(w.ctx, old, next)
	current, exists := w.leases[old.Key]
	if !exists || current.Counter != old.Counter || current.Owner != old.Owner {
		w.refused(t, err)
		w.equal(t, got, current)
		return
	}
	if err != nil {
		t.Fatalf("swap: %v", err)
	}
	next.Key, next.Stream, next.StreamID, next.Shard = current.Key, current.Stream, current.StreamID, current.Shard
	next.Counter = current.Counter + 1
	w.equal(t, got, next)
	w.leases[next.Key] = next
	w.pastLeases = append(w.pastLeases, next)
}

func (w *walker) delete(t *rapid.T) {
	old := w.belief(t)
	err := w.store.Delete(w.ctx, old)
	current, exists := w.leases[old.Key]
	if !exists || current.Counter != old.Counter || current.Owner != old.Owner {
		w.refused(t, err)
		return
	}
	if err != nil {
		t.Fatalf("delete: %v", err)
	}
	delete(w.leases, old.Key)
}

func (w *walker) read(t *rapid.T) {
	keys := []string{w.key(t), w.key(t)}
	got, err := w.store.Read(w.ctx, keys...)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	var want []lease.Lease
	for key, l := range w.leases {
		if slices.Contains(keys, key) {
			want = append(want, l)
		}
	}
	w.equalAll(t, got, want)
}

// owned waits for the truth, because Owned may lag.
func (w *walker) owned(t *rapid.T) {
	who := w.name(t, "who", "v", "w")
	var want []lease.Lease
	for _, l := range w.leases {
		if l.Owner == who || l.CheckpointOwner == who {
			want = append(want, l)
		}
	}
	if problem := w.eventually(func() string {
		got, err := w.store.Owned(w.ctx, who)
		if err != nil {
			t.Fatalf("owned: %v", err)
		}
		return diffLeases(got, want)
	}); problem != "" {
		t.Fatalf("owned by %q: %s", who, problem)
	}
}

func (w *walker) swapMember(t *rapid.T) {
	next := lease.Member{
		Incarnation: w.name(t, "incarnation", "x", "y"),
		Version:     rapid.Int64Range(0, 3).Draw(t, "version"),
		Beats:       rapid.Int64().Draw(t, "beats"),
		Revision:    rapid.Int64().Draw(t, "revision"),
		Fenced:      rapid.Bool().Draw(t, "fenced"),
		Draining:    rapid.Bool().Draw(t, "draining"),
	}
	old := next // a guess
	switch current, exists := w.members[next.Incarnation]; {
	case rapid.IntRange(0, 3).Draw(t, "joins") == 0:
		old = nobody
	case exists && rapid.Bool().Draw(t, "up to date"):
		old = current
	case len(w.pastMembers) > 0 && rapid.Bool().Draw(t, "stale"):
		old = rapid.SampledFrom(w.pastMembers).Draw(t, "belief")
	}
	if old != nobody && rapid.IntRange(0, 3).Draw(t, "ends") == 0 {
		next = nobody
	}

	got, err := w.store.SwapMember(w.ctx, old, next)
	key := old.Incarnation
	if old == nobody {
		key = next.Incarnation
	}
	current, exists := w.members[key]
	if exists == (old == nobody) || current.Version != old.Version {
		w.refused(t, err)
		if got != current {
			t.Fatalf("the member with the conflict: got %+v, want %+v", got, current)
		}
		return
	}
	if err != nil {
		t.Fatalf("swap of a member: %v", err)
	}
	if next == nobody {
		delete(w.members, key)
	} else {
		next.Incarnation, next.Version = key, old.Version+1
		w.members[key] = next
		w.pastMembers = append(w.pastMembers, next)
	}
	if got != next {
		t.Fatalf("swapped member: got %+v, want %+v", got, next)
	}
}

// agree compares all rows with the model, after every step.
func (w *walker) agree(t *rapid.T) {
	var got []lease.Lease
	for l, err := range w.store.Leases(w.ctx) {
		if err != nil {
			t.Fatalf("leases: %v", err)
		}
		if strings.HasPrefix(l.Key, w.prefix) {
			got = append(got, l)
		}
	}
	w.equalAll(t, got, slices.Collect(maps.Values(w.leases)))

	all, err := w.store.Members(w.ctx)
	if err != nil {
		t.Fatalf("members: %v", err)
	}
	members := map[string]lease.Member{}
	for _, m := range all {
		if strings.HasPrefix(m.Incarnation, w.prefix) {
			members[m.Incarnation] = m
		}
	}
	if !maps.Equal(members, w.members) {
		t.Fatalf("members: got %+v, want %+v", members, w.members)
	}
}

// leave takes away what the walk left, so that the next ones have less to look
// at.
func (w *walker) leave(t *rapid.T) {
	for _, l := range w.leases {
		if err := w.store.Delete(w.ctx, l); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	for _, m := range w.members {
		if _, err := w.store.SwapMember(w.ctx, m, nobody); err != nil {
			t.Fatalf("end of a member: %v", err)
		}
	}
}

func (w *walker) refused(t *rapid.T, err error) {
	if !errors.Is(err, lease.ErrConflict) {
		t.Fatalf("got error %v, want %v", err, lease.ErrConflict)
	}
}

func (w *walker) equal(t *rapid.T, got, want lease.Lease) {
	w.equalAll(t, []lease.Lease{got}, []lease.Lease{want})
}

func (w *walker) equalAll(t *rapid.T, got, want []lease.Lease) {
	if diff := diffLeases(got, want); diff != "" {
		t.Fatal(diff)
	}
}
