package lease

import (
	"cmp"
	"context"
	"fmt"

	"github.com/millrace/millrace/stream"
)

// listing is a stream's shards, completely.
type listing struct {
	stream stream.Stream
	id     stream.Identity
	shards []stream.Shard
	doubts *doubts // what the listings of this stream leave in doubt
}

// lister asks one stream for its shards: once at a time, and for as long as
// that takes, so that a stream that hangs holds up no pass for long. It belongs
// to the goroutine of the leader.
//
//	pass ── ask ──► Identity, Shards ── answer ──► this pass, if it comes in time,
//	                                               or the first one after it
//
// An answer may be some passes old when it is used. That does no harm: every
// listing is older than the rows with which it is compared.
type lister struct {
	stream stream.Stream
	place  string // in Config, for as long as the stream has not told its name
	trouble
	doubts *doubts
	answer chan answer // of the listing that is under way; nil when none is
	late   bool        // it did not come in time, and is not waited for again
}

type answer struct {
	listing
	err error
}

func newListers(c *Coordinator) []*lister {
	listers := make([]*lister, len(c.cfg.Streams))
	for i, s := range c.cfg.Streams {
		listers[i] = &lister{
			stream: s, place: fmt.Sprintf("Config.Streams[%d]", i),
			trouble: trouble{what: "listing shards"},
			doubts:  newDoubts(max(c.cfg.FailoverTime, 3*c.cfg.PlanInterval)),
		}
	}
	return listers
}

// list returns the listings that are there within half of PlanInterval, or when
// there is cause for haste. Nothing
// is done in this pass about the shards of a stream that cannot say. What is
// still under way then ends with ctx, and is waited for by whoever leads.
func (l *leader) list(ctx context.Context) []listing {
	patience, cancel := context.WithTimeout(ctx, l.cfg.PlanInterval/2)
	defer cancel()
	for _, of := range l.listers {
		if of.answer != nil {
			continue
		}
		answers := make(chan answer, 1)
		of.answer = answers
		l.calls.Go(func() {
			asking, cancel := context.WithTimeoutCause(ctx, l.cfg.FailoverTime, errSlowStream)
			defer cancel()
			answers <- of.ask(asking)
		})
	}
	var listings []listing
	for i, of := range l.listers {
		a, there := l.await(patience, of)
		if !there {
			of.late = of.late || !l.hurried
			continue
		}
		of.answer, of.late = nil, false
		log := l.log.With("stream", cmp.Or(a.id.Name, of.place))
		if a.err == nil {
			of.over(ctx, log)
			delete(l.inVain, i)
			listings = append(listings, a.listing)
		} else if ctx.Err() == nil {
			of.met(ctx, log, a.err)
		}
	}
	return listings
}

// ask lists the shards.
func (of *lister) ask(asking context.Context) answer {
	s := of.stream
	id, err := s.Identity(asking)
	if err != nil {
		return answer{err: err}
	}
	shards, err := s.Shards(asking)
	if err != nil {
		return answer{listing{id: id}, err}
	}
	return answer{listing{s, id, shards, of.doubts}, nil}
}

// await returns the answer, if it is there while patience lasts.
func (l *leader) await(patience context.Context, of *lister) (answer, bool) {
	if !of.late && !l.hurried {
		var a answer
		there := false
		select {
		case a = <-of.answer:
			there = true
		case <-l.hurryNow:
			l.hurried = true
		case <-patience.Done():
		}
		l.hurried = l.hurried || l.isHurried() // if it came at the same moment
		if there {
			return a, true
		}
	}
	select {
	case a := <-of.answer:
		return a, true
	default:
		return answer{}, false
	}
}
