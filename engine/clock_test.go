package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// A bubble's clock is decades behind: what was stored outside of it is, in the
// bubble, what a machine stored before somebody set its clock back.
func TestNothingIsLostWhenTheClockIsSetBack(t *testing.T) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{})
	mustPut(t, s, number(0, 3)...)
	if err := s.SetRetention(t.Context(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	empty := ensure(t, e, "empty", StreamConfig{})
	if err := empty.SetRetention(t.Context(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	mustPut(t, ensure(t, e, "plain", StreamConfig{}), number(0, 3)...)
	e.Close()

	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.fs, cfg.MinRetention = fs, time.Hour // few sweeps
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		mustPut(t, s, number(3, 3)...)
		if err := s.Split(t.Context(), shardID(0), stream.FullRange.Middle()); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, number(6, 20)...)
		empty := ensure(t, e, "empty", StreamConfig{})
		mustPut(t, empty, number(0, 3)...)
		plain := ensure(t, e, "plain", StreamConfig{})
		if err := plain.Split(t.Context(), shardID(0), stream.FullRange.Middle()); err != nil {
			t.Fatal(err)
		}
		other, err := e.CreateStream(t.Context(), "other", StreamConfig{})
		if err != nil {
			t.Fatal(err)
		}
		mustPut(t, other, number(0, 3)...)
		id, _ := s.Identity(t.Context())
		if next, _ := other.Identity(t.Context()); !next.Created.After(id.Created) {
			t.Errorf("created %v, after one that was created %v", next.Created, id.Created)
		}
		time.Sleep(20 * time.Hour)
		if got := mustRead(t, other, shardID(0), stream.TrimHorizon); len(got) != 3 {
			t.Errorf("the other stream has %d records, want 3", len(got))
		}
		// The records that came before are of a time still to come.
		time.Sleep(48 * time.Hour)
		endsAfter(t, s, shardID(0), stream.TrimHorizon, 6)
		endsAfter(t, plain, shardID(0), stream.TrimHorizon, 3)
		if got := mustRead(t, empty, shardID(0), stream.TrimHorizon); len(got) != 3 {
			t.Errorf("%d records in what was empty, want 3", len(got))
		}
		left := 0
		for _, m := range s.topology.Load().open {
			left += len(mustRead(t, s, m.id, stream.TrimHorizon))
		}
		if left != 20 {
			t.Errorf("%d records in the children, want 20", left)
		}
		e.Close()
	})
}
