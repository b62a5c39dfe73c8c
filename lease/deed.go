package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Deed is what an operator did: a trace for whoever looks later. The last of them
// stand in a note, are told by [FleetStatus], and are logged by the leader when
// they come.
type Deed struct {
	Action
	// Actor is who did it, and At when, by that one's clock.
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
	// Undo says that the action was taken back.
	Undo bool `json:"undo,omitempty"`
	// Shards is how many rows of leases were written for it.
	Shards int `json:"shards,omitempty"`
	// Err is how it was broken off; empty when it was not.
	Err string `json:"err,omitempty"`
}

// String tells it on one line: "seek stream orders to TRIM_HORIZON by ada at
// 2026-11-23T04:05:06Z, 4 shards: wrong prices".
func (d Deed) String() string {
	text := fmt.Sprintf("%v by %s at %s", d.Action, d.Actor, d.At.UTC().Format(time.RFC3339))
	if d.Undo {
		text = "undo " + text
	}
	if d.Shards > 0 {
		text += fmt.Sprintf(", %d shards", d.Shards)
	}
	if d.Err != "" {
		text += ", broken off (" + d.Err + ")"
	}
	if reason := strings.Join(strings.Fields(d.Reason), " "); reason != "" {
		text += ": " + reason
	}
	return text
}

// same reports whether two are one deed, read twice.
func (d Deed) same(other Deed) bool {
	return d.At.Equal(other.At) && d.Actor == other.Actor && d.Kind == other.Kind && d.Undo == other.Undo
}

const (
	// deedsNote is the name of the note with the deeds; no order's has it.
	deedsNote = "done"
	// mostDeeds is how many are kept, and deedsSize within how many bytes: those of
	// some weeks, in a note that may have 100 KB.
	mostDeeds = 20
	deedsSize = 50_000
)

// deedsIn reads the note of the deeds, which may be the zero Note.
func deedsIn(n Note) (deeds []Deed, err error) {
	if n.Value == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(n.Value), &deeds); err != nil {
		return nil, fmt.Errorf("note %q: %w", n.Name, err)
	}
	return deeds, nil
}

// withDeed returns the note with one more deed, and without the oldest ones that
// there is no room for.
func withDeed(n Note, d Deed) Note {
	d.Reason, d.Err = clipped(d.Reason), clipped(d.Err)
	deeds, _ := deedsIn(n) // what nobody can read is begun anew
	deeds = append(deeds, d)
	deeds = deeds[max(0, len(deeds)-mostDeeds):]
	for {
		text, err := json.Marshal(deeds)
		if err != nil {
			panic(err) // its fields always have a JSON form
		}
		if len(text) <= deedsSize || len(deeds) == 0 {
			next := Note{Name: deedsNote, Version: n.Version, Value: string(text)}
			if n == (Note{}) {
				next.Version = now()
			}
			return next
		}
		deeds = deeds[1:]
	}
}

// record keeps what was done of a change, if anything was, for others to see. It
// makes no difference to what was done when that fails.
func (o *Operator) record(ctx context.Context, c Change, undo bool, failed error) {
	if len(c.Leases) == 0 && len(c.Notes) == 0 {
		return
	}
	d := Deed{Action: c.Action, Actor: c.Actor, At: time.Now().UTC().Round(0), Undo: undo, Shards: len(c.Leases)}
	if failed != nil {
		d.Err = failed.Error()
	}
	switch c.Action.Kind {
	case ActionPause, ActionDrain, ActionResume, ActionUndrain:
		d.Shards = 0 // the leader writes them
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.cfg.FailoverTime/3)
	defer cancel()
	for {
		err := o.recordOnce(ctx, d)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrMovedOn) || ctx.Err() != nil {
			o.log.WarnContext(ctx, "others will not see what was done: it could not be noted down", "err", err)
			return
		}
	}
}

func (o *Operator) recordOnce(ctx context.Context, d Deed) error {
	calling, cancel := o.call(ctx)
	defer cancel()
	notes, err := o.store.Notes(calling)
	if err != nil {
		return fmt.Errorf("read notes: %w", err)
	}
	old := (&picture{notes: notes}).note(deedsNote)
	_, err = o.swapNote(ctx, old, withDeed(old, d))
	return err
}
