package wal

import "sync"

// rebuilder enters the blocks that recovery finds into the indexes, in a
// goroutine of its own: one reads and checks, the other enters.
//
//	scan ──take──► batch of one file ──► sorted by shard ──► indexes
//
// Thousands of shards do not fit into the processor's caches together; sorted,
// each one's blocks of a batch are entered at once.
type rebuilder struct {
	r     *recovery
	batch batch      // being filled
	spare chan batch // empty
	work  chan batch
	busy  sync.WaitGroup // batches that are not entered yet
	ended sync.WaitGroup

	sorted []listed
	places []uint32 // by shard
}

// batch is blocks of one file, in its order.
type batch struct {
	seg    *segment
	blocks []listed
}

const (
	batchBlocks = 32 << 10
	// sortFrom is how many blocks are worth sorting.
	sortFrom = 1 << 10
)

func newRebuilder(r *recovery) *rebuilder {
	b := &rebuilder{r: r, spare: make(chan batch, 2), work: make(chan batch)}
	b.spare <- batch{}
	b.spare <- batch{}
	b.ended.Go(func() {
		for one := range b.work {
			b.enter(one)
			b.spare <- batch{blocks: one.blocks[:0]}
			b.busy.Done()
		}
	})
	return b
}

// close enters what is left and ends the goroutine.
func (b *rebuilder) close() {
	b.settle()
	close(b.work)
	b.ended.Wait()
}

// take adds a block of an existing shard.
func (b *rebuilder) take(seg *segment, x *listed) {
	if b.batch.seg != seg || len(b.batch.blocks) == batchBlocks {
		b.flush()
		b.batch.seg = seg
	}
	b.batch.blocks = append(b.batch.blocks, *x)
}

func (b *rebuilder) flush() {
	if len(b.batch.blocks) > 0 {
		b.busy.Add(1)
		b.work <- b.batch
		b.batch = <-b.spare
	}
}

// settle returns when everything is entered that was taken: until the next
// take, what is known of the shards may be looked at and changed.
func (b *rebuilder) settle() {
	b.flush()
	b.busy.Wait()
}

func (b *rebuilder) enter(one batch) {
	blocks := one.blocks
	if len(blocks) >= sortFrom {
		blocks = b.sort(blocks)
	}
	for i := range blocks {
		b.r.apply(one.seg, &blocks[i])
	}
}

// sort brings the blocks into the order of their shards; those of one shard
// stay in their own.
func (b *rebuilder) sort(blocks []listed) []listed {
	if b.places == nil {
		b.places = make([]uint32, len(b.r.shards)+1)
		b.sorted = make([]listed, batchBlocks)
	}
	clear(b.places)
	for i := range blocks {
		b.places[blocks[i].shard+1]++
	}
	for i := 1; i < len(b.places); i++ {
		b.places[i] += b.places[i-1]
	}
	for i := range blocks {
		at := &b.places[blocks[i].shard]
		b.sorted[*at] = blocks[i]
		*at++
	}
	return b.sorted[:len(blocks)]
}
