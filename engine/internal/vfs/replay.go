package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Replay walks over the changes of a [Crash] and keeps what is durable apart
// from what is not. It belongs to one goroutine; the images that it gives do not.
type Replay struct {
	ops    []Op
	at     int
	inodes []replayed
	// names are the durable ones, dir the changes to them that are not.
	names map[string]int
	dir   []Op
}

type replayed struct {
	durable content
	pending []Op
}

// Replay returns a walk over the changes so far. It begins before the first.
func (c *Crash) Replay() *Replay {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &Replay{ops: slices.Clone(c.ops), names: make(map[string]int, len(c.first)), inodes: make([]replayed, len(c.inodes))}
	for i, name := range slices.Sorted(maps.Keys(c.first)) {
		data := c.first[name]
		r.names[name] = i
		// Other walks may begin from it at the same time.
		r.inodes[i].durable = content{slices.Clone(data.pages), data.size, slices.Repeat([]bool{true}, len(data.pages))}
	}
	return r
}

// At returns how many changes lie behind.
func (r *Replay) At() int { return r.at }

// When returns when the last of them was made.
func (r *Replay) When() time.Time {
	if r.at == 0 {
		return time.Time{}
	}
	return r.ops[r.at-1].When
}

// Step goes over one change; false at the end.
func (r *Replay) Step() bool {
	if r.at == len(r.ops) {
		return false
	}
	op := r.ops[r.at]
	r.at++
	switch op.Kind {
	case OpCreate, OpRename, OpRemove:
		r.dir = append(r.dir, op)
	case OpWrite, OpTruncate:
		r.inodes[op.inode].pending = append(r.inodes[op.inode].pending, op)
	case OpSync:
		x := &r.inodes[op.inode]
		x.apply(&x.durable, keepAll)
		x.pending = nil
	case OpSyncFailed:
		// What reached the disk reached it; the rest never will.
		x := &r.inodes[op.inode]
		x.apply(&x.durable, share(rand.New(rand.NewPCG(uint64(r.at), 0)), 50))
		x.pending = nil
	case OpSyncDir:
		applyNames(r.names, r.dir, keepAll)
		r.dir = nil
	}
	return true
}

// keepAll keeps every sector and every name.
func keepAll() bool { return true }

// share keeps that many of a hundred.
func share(rng *rand.Rand, percent int) func() bool {
	return func() bool { return rng.IntN(100) < percent }
}

// apply writes the pending changes, sector by sector, where keep says so.
func (x *replayed) apply(to *content, keep func() bool) {
	for _, op := range x.pending {
		if op.Kind == OpTruncate {
			if keep() {
				to.truncate(op.Off)
			}
			continue
		}
		for off, data := op.Off, op.Data; len(data) > 0; {
			n := min(len(data), SectorSize-int(off%SectorSize))
			if keep() {
				to.writeAt(data[:n], off)
			}
			off, data = off+int64(n), data[n:]
		}
	}
}

func applyNames(names map[string]int, ops []Op, keep func() bool) {
	for _, op := range ops {
		if !keep() {
			continue
		}
		switch op.Kind {
		case OpCreate:
			names[op.Name] = op.inode
		case OpRename:
			if inode, ok := names[op.Name]; ok && inode == op.inode {
				delete(names, op.Name)
				names[op.To] = op.inode
			}
		case OpRemove:
			delete(names, op.Name)
		}
	}
}

// Image returns a directory as a power cut at this moment may have left it:
// all that is durable, and of the rest what the seed says. The same seed gives
// the same image.
//
// What the seed says is one of these, for names and for each file by itself:
// nothing of the rest, all of it, or a tenth, half or nine tenths of the sectors.
// One image in four does to all files the same, with one lot for all.
func (r *Replay) Image(seed uint64) *Crash {
	rng := rand.New(rand.NewPCG(seed, uint64(r.at)))
	lot := func() func() bool { return share(rng, []int{0, 10, 50, 90, 100}[rng.IntN(5)]) }
	draw := lot
	if rng.IntN(4) == 0 {
		one := lot()
		draw = func() func() bool { return one }
	}
	return r.image(draw)
}

// Killed returns the directory as the death of the process alone leaves it:
// with everything that was written, synced or not.
func (r *Replay) Killed() *Crash { return r.image(func() func() bool { return keepAll }) }

func (r *Replay) image(draw func() func() bool) *Crash {
	names := r.names
	if len(r.dir) > 0 {
		names = maps.Clone(r.names)
		applyNames(names, r.dir, draw())
	}
	files := make(map[string]content, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x := &r.inodes[names[name]]
		data := x.durable.clone()
		if len(x.pending) > 0 {
			x.apply(&data, draw())
		}
		files[name] = data
	}
	return newCrash(files)
}
