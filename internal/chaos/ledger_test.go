package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// ledger is everything that is known of a fleet's life when it is over: what was
// put, what the processes told, what was done to them, and what is in the store.
// [ledger.audit] holds it against the promises.
//
// All times are of the machine's one clock. What happens later because of something
// else has a later time.
type ledger struct {
	put    []put
	events []fleet.Event // by their times
	faults []fault
	seeks  []seek
	leases []lease.Lease
	booked map[string]booking // nil: nobody booked
	// parents are those of each shard.
	parents map[string][]string
}

// put is an acknowledged record.
type put struct {
	record string
	shard  string
	seq    stream.Sequence
}

// fault is something that was done to a process, or to all.
type fault struct {
	kind     string
	who      string // "" for all
	from, to int64
}

// Kinds of faults that the audit has to know.
const (
	killed = "killed"
	paused = "paused"
)

// seek is an operator's order to begin a shard again at an earlier place, which loses
// nothing. It may have been carried out or not.
type seek struct {
	shard     string
	to        stream.Position
	counter   int64 // the row's, some time before
	from, end int64
}

// sought is what explains the records that come again after it.
const sought = "an operator's seek"

// booking is how often a record was booked, and under which term at last.
type booking struct {
	times int
	term  int64
}

// account is what came out.
type account struct {
	records, done, booked int
	terms, clean, lapsed  int
	handoffs              int // terms that a live worker was asked to end
	overlaps              int // terms that began while the former holder's process was stopped
	refused               int // writes of those who had lost the shard, or believed something old
	unknown               int // writes without an answer
	again                 int // records processed again
	againFailed           int // because the callback had failed after its work
	againAfter            map[string]int
	ended                 int // shards
	problems              []error
	unprovoked            int // lapses at a time without a fault
	scans                 int
}

func (a *account) problem(rule, format string, args ...any) {
	const kept = 20
	switch len(a.problems) {
	case kept:
		a.problems = append(a.problems, errors.New("and more"))
	default:
		if len(a.problems) < kept {
			a.problems = append(a.problems, fmt.Errorf("%s: %s", rule, fmt.Sprintf(format, args...)))
		}
	}
}

// term is one term on a shard, as its process told it.
type term struct {
	shard string
	n     int64
	who   string
	from  stream.Position
	began int64
	// over is when nothing was processed under it any more: when its context was
	// cancelled, it was handed over, or its process killed. 0 when it never was.
	over int64
	// clean says that it was handed over, or ended, with its context intact.
	clean, handed bool
	why           string
	batches       []fleet.Event
	// released are the positions with which it was asked to be given up, and
	// acknowledged says that one of these was heard to go through.
	released     map[stream.Position]bool
	acknowledged bool
}

// settled says that it ended in good order beyond doubt: what its worker stored last
// is there, and was all that it wanted to store. A worker whose last write fails gives
// the shard up with what was stored before.
func (t *term) settled() bool { return t.clean && t.acknowledged && len(t.released) == 1 }

// history is one shard's.
type history struct {
	id      string
	records []put // by their sequence numbers
	place   map[string]int
	terms   []*term
	rows    map[int64]fleet.Row // as they truly were, by their counters
	won     []fleet.Event       // writes that took place, in the order of their answers
	endAsk  int64               // when SHARD_END was first asked for
	ended   bool
}

// audit finds what is not as promised. The names are those of package check.
func (l *ledger) audit() *account {
	a := &account{againAfter: map[string]int{}, records: len(l.put)}
	shards := l.histories(a)
	for _, id := range slices.Sorted(maps.Keys(shards)) {
		h := shards[id]
		l.auditRows(a, h)
		l.auditTerms(a, h, shards)
		l.auditRecords(a, h)
	}
	l.auditBook(a, shards)
	return a
}

// histories sorts what is known by shards.
func (l *ledger) histories(a *account) map[string]*history {
	shards := map[string]*history{}
	of := func(id string) *history {
		h := shards[id]
		if h == nil {
			h = &history{id: id, place: map[string]int{}, rows: map[int64]fleet.Row{}}
			shards[id] = h
		}
		return h
	}
	for _, p := range l.put {
		h := of(p.shard)
		h.records = append(h.records, p)
	}
	for _, h := range shards {
		slices.SortFunc(h.records, func(x, y put) int { return x.seq.Compare(y.seq) })
		for i, p := range h.records {
			h.place[p.record] = i
		}
	}
	deaths := map[string]int64{}
	for _, f := range l.faults {
		if f.kind == killed {
			deaths[f.who] = f.from
		}
	}
	terms := map[string]*term{} // by shard, term and process
	asks := map[string]fleet.Event{}
	for _, e := range l.events {
		key := termKey(e.Shard, e.Term, e.Who)
		t := terms[key]
		if t == nil && slices.Contains([]fleet.Kind{fleet.Done, fleet.Cancelled, fleet.HandedOver, fleet.Ended, fleet.Lost}, e.Kind) {
			a.problem("F2", "%s tells %q of %s under term %d, which it has not begun", e.Who, e.Kind, e.Shard, e.Term)
			continue
		}
		switch e.Kind {
		case fleet.Began:
			if t != nil { // Initialize is called again when the processor failed
				a.problem("F2", "%s began term %d of %s twice", e.Who, e.Term, e.Shard)
			}
			t = &term{shard: e.Shard, n: e.Term, who: e.Who, from: e.From, began: e.At, over: deaths[e.Who], released: map[stream.Position]bool{}}
			terms[key] = t
			of(e.Shard).terms = append(of(e.Shard).terms, t)
			a.terms++
		case fleet.Done:
			t.batches = append(t.batches, e)
		case fleet.HandedOver, fleet.Ended:
			t.handed, t.over = true, e.At
		case fleet.Cancelled:
			if t.over == 0 || e.At < t.over {
				t.over = e.At
			}
			if t.why = e.Why; e.Why == "" && t.handed {
				t.clean = true
			}
		case fleet.Scan:
			a.scans++
		case fleet.Ask:
			asks[fmt.Sprint(e.Who, " ", e.ID)] = e
			if t := releasedBy(terms, e, e.Who); t != nil {
				t.released[e.New.Checkpoint] = true
			}
			if h := of(e.Shard); e.New.Checkpoint == stream.ShardEnd && h.endAsk == 0 {
				h.endAsk = e.At
			}
		case fleet.Deleted:
			of(e.Shard).fact(a, *e.Old, "when it was deleted by "+e.Who)
		case fleet.Unknown:
			a.unknown++
		case fleet.Won, fleet.Refused:
			ask := asks[fmt.Sprint(e.Who, " ", e.ID)]
			if e.Kind == fleet.Refused {
				a.refused++
			} else if !e.In {
				of(e.Shard).fact(a, *ask.Old, "before a write of "+e.Who)
				of(e.Shard).won = append(of(e.Shard).won, e)
				if t := releasedBy(terms, ask, e.Who); t != nil {
					t.acknowledged = true
				}
			}
			if !e.In && e.New.Counter != 0 { // a transaction may still be rolled back
				of(e.Shard).fact(a, *e.New, "after a write of "+e.Who)
			}
		}
	}
	for _, row := range l.leases {
		of(row.Shard).fact(a, *fleet.RowOf(row), "at the end")
	}
	return shards
}

// releasedBy returns the term that is given up by a write, nil for none.
func releasedBy(terms map[string]*term, ask fleet.Event, who string) *term {
	if ask.Old.Term == 0 || ask.New.Term != 0 {
		return nil
	}
	return terms[termKey(ask.Shard, ask.Old.Term, who)]
}

func termKey(shard string, n int64, who string) string { return fmt.Sprint(shard, " ", n, " ", who) }

// fact takes note of a row as it was. A row changes with its counter, and not
// without: else two have won against each other.
func (h *history) fact(a *account, row fleet.Row, when string) {
	if was, known := h.rows[row.Counter]; known && was != row {
		a.problem("F1", "%s: with the counter %d the row was %+v, and %s %+v", h.id, row.Counter, was, when, row)
	}
	h.rows[row.Counter] = row
	h.ended = h.ended || row.Checkpoint == stream.ShardEnd
}

// auditRows follows the row of a shard through its counters.
func (l *ledger) auditRows(a *account, h *history) {
	counters := make([]int64, 0, len(h.rows))
	for c := range h.rows {
		counters = append(counters, c)
	}
	slices.Sort(counters)
	var newest, handed int64
	var at stream.Position
	for _, c := range counters {
		row := h.rows[c]
		if row.Term != 0 && row.Term < newest {
			a.problem("F1", "%s: term %d after term %d", h.id, row.Term, newest)
		}
		newest = max(newest, row.Term)
		if row.Term > row.Counter {
			a.problem("F1", "%s: term %d is beyond the counter %d", h.id, row.Term, row.Counter)
		}
		if row.Checkpoint.Compare(at) < 0 && !l.mayGoBack(h.id, row) {
			a.problem("C3", "%s: the checkpoint goes back from %v to %v", h.id, at, row.Checkpoint)
		}
		at = row.Checkpoint
		if row.CheckpointOwner != "" && row.Term != handed {
			handed = row.Term
			a.handoffs++
		}
	}
	if h.ended {
		a.ended++
	}
}

// slack is how late a process may learn that it was stopped for too long.
const slack = int64(time.Second)

// auditTerms looks for two that hold a shard at one time.
func (l *ledger) auditTerms(a *account, h *history, shards map[string]*history) {
	slices.SortStableFunc(h.terms, func(x, y *term) int { return cmp.Compare(x.began, y.began) })
	for i, t := range h.terms {
		if t.clean {
			a.clean++
		}
		if t.why != "" {
			a.lapsed++
			if l.faultOf(t.who, t.over-2*int64(failoverTime), t.over) == "" {
				a.unprovoked++
			}
		}
		if row, known := h.rows[t.n]; known && (check.WorkerOf(row.Owner) != t.who || row.Term != t.n) {
			a.problem("F2", "%s: %s began term %d; the row was %+v", h.id, t.who, t.n, row)
		} else if known && row.Checkpoint != t.from {
			a.problem("C3", "%s: term %d begins at %v, stored was %v", h.id, t.n, t.from, row.Checkpoint)
		}
		for _, parent := range l.parents[h.id] {
			if p := shards[parent]; p != nil && (p.endAsk == 0 || p.endAsk > t.began) {
				a.problem("P1", "%s was begun before its parent %s had ended", h.id, parent)
			}
		}
		for _, former := range h.terms[:i] {
			if former.n >= t.n {
				a.problem("F1", "%s: %s began term %d after %s had begun term %d", h.id, t.who, t.n, former.who, former.n)
			}
			switch {
			case former.over != 0 && former.over <= t.began:
			case l.wasStopped(former, t.began):
				a.overlaps++
			default:
				a.problem("F5", "%s: %s began term %d at %v while %s held term %d until %v", h.id, t.who, t.n, clock(t.began), former.who, former.n, clock(former.over))
			}
		}
	}
}

// mayGoBack reports whether a row may be what an operator's seek has come to.
func (l *ledger) mayGoBack(shard string, row fleet.Row) bool {
	return slices.ContainsFunc(l.seeks, func(s seek) bool {
		return s.shard == shard && s.counter < row.Counter && s.to.Compare(row.Checkpoint) <= 0
	})
}

// wasSought reports whether a seek explains that a term does again what another one
// has done.
func (l *ledger) wasSought(r put, by, again *term) bool {
	return slices.ContainsFunc(l.seeks, func(s seek) bool {
		return s.shard == r.shard && !s.to.Includes(r.seq) && by.began <= s.end && s.from <= again.began
	})
}

func clock(at int64) string {
	if at == 0 {
		return "the end"
	}
	return time.Unix(0, at).Format("15:04:05.000000")
}

// wasStopped reports whether the process of a term did not run at a moment, or had
// only just been told to go on, and gave the term up as soon as it did.
func (l *ledger) wasStopped(t *term, at int64) bool {
	return slices.ContainsFunc(l.faults, func(f fault) bool {
		return f.who == t.who && f.kind == paused && f.from <= at && at <= f.to+slack && t.over != 0 && t.over <= f.to+slack
	})
}

// faultOf returns what was done last to a process in a stretch of time, "" for
// nothing.
func (l *ledger) faultOf(who string, from, to int64) (kind string) {
	var last int64
	for _, f := range l.faults {
		if (f.who == who || f.who == "") && f.from <= to && from <= f.to && f.from > last {
			kind, last = f.kind, f.from
		}
	}
	return kind
}

// auditRecords follows the records of a shard through its terms.
func (l *ledger) auditRecords(a *account, h *history) {
	first := make([]int64, len(h.records)) // when each was first done
	by := make([]*term, len(h.records))    // the last term to do it
	failed := make([]bool, len(h.records)) // and whether its callback said that it had not
	for _, t := range h.terms {
		next := l.placeAfter(h, t.from)
		last := -1 // where the batch before began
		for _, b := range t.batches {
			start, known := h.place[b.Records[0]]
			if known && start == last && failed[start] {
				a.againFailed += len(b.Records)
				next = start
			}
			for _, r := range b.Records {
				at, known := h.place[r]
				if !known {
					a.problem("D3", "%s: record %s was processed and not acknowledged", h.id, r)
					continue
				}
				if at != next {
					a.problem("C2", "%s term %d: record %d of the shard was processed where %d was next", h.id, t.n, at, next)
				}
				next = at + 1
				switch {
				case first[at] == 0:
					a.done++
					first[at] = b.At
				case b.At < first[at]: // a process that was stopped tells late
					first[at] = b.At
				}
				switch {
				case by[at] == nil || by[at] == t:
				case failed[at]: // and the term ended before it was tried again
					a.againFailed++
				case l.wasSought(h.records[at], by[at], t):
					a.again++
					a.againAfter[sought]++
				default:
					a.again++
					a.againAfter[l.excuse(a, h, by[at])]++
				}
				by[at], failed[at] = t, b.Failed
			}
			last = start
		}
	}
	// A record that is booked may lack the line that says so: its process was
	// killed between the two.
	for i, r := range h.records {
		if first[i] == 0 && l.booked[r.record].times > 0 {
			first[i] = 1
			a.done++
		}
		if first[i] == 0 {
			a.problem("C1", "%s: record %s at %v was never processed", h.id, r.record, r.seq)
		}
	}
	l.auditCheckpoints(a, h, first)
}

// placeAfter returns the first record behind a checkpoint.
func (l *ledger) placeAfter(h *history, p stream.Position) int {
	i, _ := slices.BinarySearchFunc(h.records, p, func(r put, p stream.Position) int {
		if p.Includes(r.seq) {
			return -1
		}
		return 1
	})
	return i
}

// excuse returns what explains that the records of a term came again. A term that
// ended in good order leaves none that may, whatever was done to its process.
func (l *ledger) excuse(a *account, h *history, t *term) string {
	for _, f := range l.faults {
		if f.who == t.who && f.kind == killed && (t.over == 0 || f.from <= t.over) {
			return killed
		}
	}
	switch during := l.faultOf(t.who, t.began, t.over+int64(failoverTime)); {
	case t.settled(), t.clean && l.faultOf(t.who, t.over, t.over+int64(failoverTime)) == "":
		a.problem("C5", "%s: records of term %d, which %s handed over in good order, came again", h.id, t.n, t.who)
		return "nothing"
	case during != "":
		return during
	case t.why != "":
		return t.why
	default:
		a.problem("C6", "%s: records of term %d of %s came again, and nothing was done to it", h.id, t.n, t.who)
		return "nothing"
	}
}

// auditCheckpoints holds what was stored against what was done.
func (l *ledger) auditCheckpoints(a *account, h *history, first []int64) {
	var final stream.Position
	there := false
	for _, row := range l.leases {
		if row.Shard == h.id {
			final, there = row.Checkpoint.Position, true
		}
	}
	// Of a row that is gone nobody may have heard that it had ended: that the answer
	// to its last write was lost, and that to its deletion.
	ended := h.ended || !there && h.endAsk != 0
	for i, r := range h.records {
		if !ended && !final.Includes(r.seq) {
			a.problem("C1", "%s: record %s is %s and not covered; stored is %v", h.id, r.record, map[bool]string{true: "done", false: "not done"}[first[i] > 0], final)
		}
	}
	if l.booked != nil && fleet.Booked(h.id) {
		return // they are done when they are booked, which is when the checkpoint is stored
	}
	latest := make([]int64, len(first)+1) // when the last of the first n records was done
	for i, at := range first {
		latest[i+1] = max(latest[i], at)
	}
	for _, e := range h.won {
		if n := l.placeAfter(h, e.New.Checkpoint); latest[n] > e.At {
			a.problem("C4", "%s: %s stored %v before all %d records up to there were done", h.id, e.Who, e.New.Checkpoint, n)
		}
	}
	if h.endAsk != 0 && latest[len(first)] > h.endAsk {
		a.problem("P2", "%s: its end was stored before all its records were done", h.id)
	}
}

// auditBook looks for records that were booked twice, or not.
func (l *ledger) auditBook(a *account, shards map[string]*history) {
	if l.booked == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(shards)) {
		var newest int64
		for _, r := range shards[id].records {
			b := l.booked[r.record]
			want := 0
			if fleet.Booked(id) {
				want = 1
			}
			a.booked += b.times
			if b.times != want {
				a.problem("C7", "%s: record %s was booked %d times, not %d", id, r.record, b.times, want)
			}
			if want == 1 && b.term < newest {
				a.problem("F3", "%s: record %s was booked under term %d, one before it under term %d", id, r.record, b.term, newest)
			}
			newest = max(newest, b.term)
		}
	}
}
