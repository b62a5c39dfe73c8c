package lease

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/millrace/millrace/stream"
)

// StreamSet is a set of stream IDs as one comparable value: sorted, each
// followed by a line feed. The empty set is "".
type StreamSet string

// NewStreamSet returns the set of these IDs.
func NewStreamSet(ids ...string) StreamSet {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(id)
		b.WriteByte('\n')
	}
	return StreamSet(b.String())
}

// IDs returns what is in the set, in order.
func (s StreamSet) IDs() []string {
	return strings.FieldsFunc(string(s), func(r rune) bool { return r == '\n' })
}

// Has reports whether a stream is in the set.
func (s StreamSet) Has(id string) bool {
	_, found := slices.BinarySearch(s.IDs(), id)
	return found
}

// beyond reports whether the set has all of the other one, and more.
func (s StreamSet) beyond(other StreamSet) bool {
	return s != other && s.covers(other)
}

// covers reports whether the set has all of the other one.
func (s StreamSet) covers(other StreamSet) bool {
	return !slices.ContainsFunc(other.IDs(), func(id string) bool { return !s.Has(id) })
}

// learnEvery is how often a worker asks its streams who they are, in
// PlanIntervals: one that was deleted and created again is another one.
const learnEvery = 10

// learn keeps true which streams the worker says it serves, until ctx is done.
func (s *session) learn(ctx context.Context) {
	dice := s.diceOf("learn " + s.me)
	for wait(ctx, dice.about(learnEvery*s.cfg.PlanInterval), nil) {
		if s.ask(ctx) {
			kick(s.beatNow)
		}
	}
}

// ask asks the streams who they are, and reports whether the worker serves
// others now. A stream that does not answer is what it was.
func (s *session) ask(ctx context.Context) (changed bool) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	answers := make([]string, len(s.cfg.Streams))
	s.parallel(len(answers), func(i int) {
		switch id, err := s.cfg.Streams[i].Identity(ctx); {
		case err == nil:
			answers[i] = id.ID()
		case errors.Is(err, stream.ErrStreamNotFound):
		default:
			answers[i] = unanswered
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, answer := range answers {
		if answer != unanswered {
			changed = changed || s.streams[i] != answer
			s.streams[i] = answer
		}
	}
	return changed
}

// unanswered stands for the ID of a stream that gave none; no stream has it.
const unanswered = "\n"

// serves returns which streams the worker serves. The caller holds mu.
func (s *session) serves() StreamSet {
	return NewStreamSet(slices.DeleteFunc(slices.Clone(s.streams), func(id string) bool { return id == "" })...)
}
