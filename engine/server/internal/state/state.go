package state

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// State is everything at one moment. It is never changed.
type State struct {
	// Secret is 32 random bytes, made with the directory: what tokens are
	// authenticated with.
	Secret  []byte  `json:"secret"`
	Account Account `json:"account,omitzero"`
	// Streams are those of which there is something to know, by name.
	Streams map[string]*Stream `json:"streams,omitempty"`
}

// Account is what concerns no single stream: the commitment to pay for a
// minimum of throughput.
type Account struct {
	// Started is when the last commitment began, Unix ms; 0 when there was none.
	Started int64 `json:"started,omitempty"`
	// Ended is when it ends, or has ended, Unix ms; 0 while nobody has ended it.
	Ended int64 `json:"ended,omitempty"`
}

// shortestCommitment is how long a commitment lasts at least.
const shortestCommitment = 24 * time.Hour

// Committed reports whether there is a commitment at a moment.
func (a Account) Committed(now time.Time) bool {
	return a.Started != 0 && (a.Ended == 0 || now.UnixMilli() < a.Ended)
}

// EarliestEnd is when the commitment can end.
func (a Account) EarliestEnd() time.Time { return time.UnixMilli(a.Started).Add(shortestCommitment) }

// Commit begins a commitment, or goes on with the one that there is.
func (a *Account) Commit(now time.Time) {
	if !a.Committed(now) {
		a.Started = now.UnixMilli()
	}
	a.Ended = 0
}

// EndCommitment ends the commitment as soon as may be.
func (a *Account) EndCommitment(now time.Time) {
	if a.Committed(now) && a.Ended == 0 {
		a.Ended = max(now.UnixMilli(), a.EarliestEnd().UnixMilli())
	}
}

// Status of a stream or a consumer, in the words of the API.
type Status string

const (
	Creating Status = "CREATING"
	Active   Status = "ACTIVE"
	Updating Status = "UPDATING"
	Deleting Status = "DELETING"
)

// Phase is a status that ends by itself.
type Phase struct {
	Status Status `json:"status,omitempty"`
	Since  int64  `json:"since,omitempty"` // Unix ms
	Until  int64  `json:"until,omitempty"` // Unix ms
}

// Enter begins a phase.
func (p *Phase) Enter(s Status, now time.Time, lasts time.Duration) {
	*p = Phase{Status: s, Since: now.UnixMilli(), Until: now.Add(lasts).UnixMilli()}
}

// over reports whether the phase has ended. A clock that was set back ends it, too,
// so that nobody waits for what it will be one day.
func (p Phase) over(now time.Time) bool {
	ms := now.UnixMilli()
	return ms < p.Since || ms >= p.Until
}

// Due returns how long after now the phase ends; 0 when it has ended.
func (p Phase) Due(now time.Time) time.Duration {
	if p.over(now) {
		return 0
	}
	return time.UnixMilli(p.Until).Sub(now)
}

// at returns the status at a moment: that of the phase, and Active after it.
// Deleting lasts until what it is said of is gone.
func (p Phase) at(now time.Time) Status {
	if p.Status == Deleting || p.Status != "" && !p.over(now) {
		return p.Status
	}
	return Active
}

// Stream is what is known of one incarnation of a stream. What is not set is
// as the API has it by default.
type Stream struct {
	// Created is the incarnation, by the engine's time of creation, Unix ms. 0
	// while the engine has yet to make it: see [Draft.Prune].
	Created int64 `json:"created,omitempty"`
	Phase   Phase `json:"phase,omitzero"`

	OnDemand bool `json:"on_demand,omitempty"`
	// AnyShard says that records may go to any shard, whatever their keys.
	AnyShard       bool     `json:"any_shard,omitempty"`
	WarmThroughput int32    `json:"warm_throughput,omitempty"` // MiB/s
	KeyID          string   `json:"key_id,omitempty"`          // of encryption; empty: none
	Metrics        []string `json:"metrics,omitempty"`         // of enhanced monitoring, sorted
	Policy         string   `json:"policy,omitempty"`

	Consumers []*Consumer `json:"consumers,omitempty"` // by name

	// When the last changes of those kinds were that are counted over 24 hours, Unix ms.
	Reshards    []int64 `json:"reshards,omitempty"`
	Modes       []int64 `json:"modes,omitempty"`
	Encryptions []int64 `json:"encryptions,omitempty"`
}

// Status is the stream's status at a moment.
func (s *Stream) Status(now time.Time) Status { return s.Phase.at(now) }

// Consumer finds a consumer that is there at a moment, by its name; nil when
// there is none.
func (s *Stream) Consumer(name string, now time.Time) *Consumer {
	for _, c := range s.Consumers {
		if c.Name == name && !c.Gone(now) {
			return c
		}
	}
	return nil
}

// ConsumerCount returns how many consumers there are at a moment.
func (s *Stream) ConsumerCount(now time.Time) (n int) {
	for _, c := range s.Consumers {
		if !c.Gone(now) {
			n++
		}
	}
	return n
}

// blank reports whether there is nothing to know at a moment but what holds of
// every stream.
func (s *Stream) blank(now time.Time) bool {
	return s.Status(now) == Active && !s.OnDemand && !s.AnyShard && s.WarmThroughput == 0 && s.KeyID == "" &&
		len(s.Metrics) == 0 && s.Policy == "" && len(s.Consumers) == 0 &&
		len(s.Reshards) == 0 && len(s.Modes) == 0 && len(s.Encryptions) == 0
}

// clone returns a copy that shares nothing that can be changed.
func (s *Stream) clone() *Stream {
	c := *s
	c.Metrics = slices.Clone(s.Metrics)
	c.Reshards, c.Modes, c.Encryptions = slices.Clone(s.Reshards), slices.Clone(s.Modes), slices.Clone(s.Encryptions)
	c.Consumers = make([]*Consumer, len(s.Consumers))
	for i, one := range s.Consumers {
		twin := *one
		twin.Tags = maps.Clone(one.Tags)
		c.Consumers[i] = &twin
	}
	return &c
}

// Consumer is a registered consumer of a stream.
type Consumer struct {
	Name    string            `json:"name"`
	Created int64             `json:"created"` // Unix ms: see Register
	Phase   Phase             `json:"phase,omitzero"`
	Tags    map[string]string `json:"tags,omitempty"`
	Policy  string            `json:"policy,omitempty"`
}

// Status is the consumer's status at a moment.
func (c *Consumer) Status(now time.Time) Status { return c.Phase.at(now) }

// Gone reports whether the consumer's deletion is over.
func (c *Consumer) Gone(now time.Time) bool {
	return c.Phase.Status == Deleting && c.Phase.over(now)
}

// over reports whether the consumer is gone and nothing has to be remembered of
// it: its name may be given again without giving its second as well.
func (c *Consumer) over(now time.Time) bool {
	return c.Gone(now) && now.UnixMilli()/1000 > c.Created/1000
}

// Register adds a consumer, of whose name there must be none. Two of the same
// name differ in the second of their creation, which is part of their ARN.
func (s *Stream) Register(name string, now time.Time) *Consumer {
	c := &Consumer{Name: name, Created: now.UnixMilli()}
	at, found := slices.BinarySearchFunc(s.Consumers, name, func(c *Consumer, name string) int {
		return strings.Compare(c.Name, name)
	})
	if found {
		c.Created = max(c.Created, (s.Consumers[at].Created/1000+1)*1000)
		s.Consumers[at] = c
	} else {
		s.Consumers = slices.Insert(s.Consumers, at, c)
	}
	return c
}
