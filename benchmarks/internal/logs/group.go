package logs

import (
	"context"
	"sync"
)

// group gives group commit to a log that has none: one goroutine takes all that
// is waiting, commits it as one, and answers. What comes meanwhile is the next
// group.
type group struct {
	queue  chan *pending
	most   int // bytes of one commit, and what the last append of it is more
	commit func(records [][]Record) error
	done   sync.WaitGroup
}

// pending is one caller's append.
type pending struct {
	records  []Record
	answered chan error
}

// newGroup starts the committer. commit is called by one goroutine only.
func newGroup(most int, commit func(records [][]Record) error) *group {
	// As many appends may wait as there are callers in any benchmark, so that
	// no caller is held up by the queue itself.
	g := &group{queue: make(chan *pending, 1024), most: most, commit: commit}
	g.done.Go(g.run)
	return g
}

func (g *group) close() {
	close(g.queue)
	g.done.Wait()
}

func (g *group) run() {
	var waiting []*pending
	var batch [][]Record
	for p := range g.queue {
		waiting, batch = append(waiting[:0], p), append(batch[:0], p.records)
	gather:
		for n := sizeOf(p.records); n < g.most; {
			select {
			case p, ok := <-g.queue:
				if !ok {
					break gather
				}
				waiting, batch = append(waiting, p), append(batch, p.records)
				n += sizeOf(p.records)
			default:
				break gather
			}
		}
		err := g.commit(batch)
		for _, p := range waiting {
			p.answered <- err
		}
	}
}

func sizeOf(records []Record) (n int) {
	for i := range records {
		n += len(records[i].Key) + len(records[i].Data)
	}
	return n
}

// Writer returns a way in for one more caller.
func (g *group) Writer() Writer { return &groupWriter{g, pending{answered: make(chan error, 1)}} }

type groupWriter struct {
	group *group
	own   pending
}

func (w *groupWriter) Append(_ context.Context, records []Record) error {
	w.own.records = records
	w.group.queue <- &w.own
	return <-w.own.answered
}
