package lease

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/stream"
)

// Blocked tells why a shard is held and does not get on: its processor fails
// again and again, or has not returned for long, or the shard cannot be read.
type Blocked struct {
	// Key is that of the lease.
	Key string `json:"key"`
	// What is tried again: "process records", for example.
	What string `json:"what"`
	// Record is the first of those that are not done, Last the last, and Records how
	// many they are: which of them is the matter is known only when they are one.
	// All are zero where no record is the matter.
	Record  stream.Sequence `json:"record,omitzero"`
	Last    stream.Sequence `json:"last,omitzero"`
	Records int             `json:"records,omitempty"`
	// Since is when it failed first, by the worker's clock, Attempts how often it
	// has failed since, and Err the last error. With no Attempts, nothing has failed:
	// it was begun then, and has not returned.
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	Err      string    `json:"err"`
	// Stuck says that the shard was lost, and its callback goes on though its context
	// is cancelled: until it returns this worker cannot take the lease, and others may.
	Stuck bool `json:"stuck,omitempty"`
}

// IsZero reports whether nothing is blocked.
func (b Blocked) IsZero() bool { return b == Blocked{} }

// String tells it on one line: "blocked on record 4959… since
// 2026-11-23T04:05:06Z: process records failed 17 times: out of stock"; of more
// than one record it says "blocked on a batch of 37, from 4959… to 4988…".
//
// Of what has not returned it says "processing since 2026-11-23T04:05:06Z, from
// record 4959… on: process records has not returned".
func (b Blocked) String() string {
	if b.Attempts == 0 {
		from := ""
		if !b.Record.IsZero() {
			from = ", from record " + b.Record.String() + " on"
		}
		if b.Records > 1 {
			from = ", on " + b.records()
		}
		doing := "processing"
		if b.Stuck {
			doing = "stuck in an earlier term"
		}
		return fmt.Sprintf("%s since %s%s: %s has not returned", doing, b.Since.UTC().Format(time.RFC3339), from, b.What)
	}
	on := ""
	if !b.Record.IsZero() {
		on = " on " + b.records()
	}
	if b.Stuck {
		on = " in an earlier term" + on
	}
	times := "once"
	if b.Attempts != 1 {
		times = fmt.Sprintf("%d times", b.Attempts)
	}
	return fmt.Sprintf("blocked%s since %s: %s failed %s: %s", on, b.Since.UTC().Format(time.RFC3339), b.What, times, b.Err)
}

// records tells which they are.
func (b Blocked) records() string {
	if b.Records < 2 {
		return "record " + b.Record.String()
	}
	return fmt.Sprintf("a batch of %d, from %v to %v", b.Records, b.Record, b.Last)
}

// BlockedSet is what is blocked of a worker's shards, as one comparable value for
// its member row: a few that have been blocked the longest, how many more there
// are, and which leases the worker cannot take. The empty set is "".
type BlockedSet string

const (
	// blockedMost and blockedErr keep a member's row small: it is written with
	// each beat.
	blockedMost = 3
	blockedErr  = 120
	stuckMost   = 32
)

type blockedSet struct {
	Longest []Blocked `json:"longest"`
	More    int       `json:"more,omitempty"`
	Stuck   []string  `json:"stuck,omitempty"`
}

// NewBlockedSet returns the set of these.
func NewBlockedSet(all ...Blocked) BlockedSet {
	if len(all) == 0 {
		return ""
	}
	all = slices.SortedFunc(slices.Values(all), func(a, b Blocked) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Key, b.Key))
	})
	kept := all[:min(len(all), blockedMost)]
	for i := range kept {
		kept[i].Err = clipped(kept[i].Err)
		kept[i].Since = kept[i].Since.Truncate(time.Second)
	}
	var stuck []string
	for _, b := range all {
		if b.Stuck && len(stuck) < stuckMost {
			stuck = append(stuck, b.Key)
		}
	}
	text, err := json.Marshal(blockedSet{kept, len(all) - len(kept), stuck})
	if err != nil {
		panic(err) // its fields always have a JSON form
	}
	return BlockedSet(text)
}

// clipped returns the beginning of an error's text, on one line.
func clipped(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if len(text) <= blockedErr {
		return text
	}
	end := blockedErr
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// Longest returns those that the set names, and how many more there are. What it
// cannot understand, as of a newer program, it passes over.
func (s BlockedSet) Longest() (longest []Blocked, more int) {
	set := s.read()
	return set.Longest, set.More
}

// Stuck returns leases that the worker cannot take yet, by key: see
// [Blocked.Stuck]. Of very many it names some.
func (s BlockedSet) Stuck() []string { return s.read().Stuck }

func (s BlockedSet) read() (set blockedSet) {
	if s == "" || json.Unmarshal([]byte(s), &set) != nil {
		return blockedSet{}
	}
	return set
}
