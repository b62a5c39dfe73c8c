package worker

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
)

func TestTheLoadIsSmoothedOverAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLoadMeter(lease.Load{BytesPerSecond: 1000, RecordsPerSecond: 10})
		if got := m.rate(); got.BytesPerSecond != 1000 || got.RecordsPerSecond != 10 {
			t.Errorf("a term begins with %+v, not with the load of the former", got)
		}
		near := func(got, want float64) bool { return math.Abs(got-want) <= 0.02*want }
		for range 60 * 12 { // an hour of 3,000 B/s in 30 records
			time.Sleep(5 * time.Second)
			m.add(15000, 150)
			m.rate()
		}
		if got := m.rate(); !near(got.BytesPerSecond, 3000) || !near(got.RecordsPerSecond, 30) {
			t.Errorf("after an hour of 3,000 bytes a second the load is %+v", got)
		}
		time.Sleep(30 * time.Second)
		if got := m.rate(); !near(got.BytesPerSecond, 1500) {
			t.Errorf("after half a minute of rest the load is %+v", got)
		}
		time.Sleep(time.Minute)
		if got := m.rate(); got != (lease.Load{}) {
			t.Errorf("after a minute of rest the load is %+v", got)
		}
	})
}

// A shard that falls idle has no more checkpoints to tell its load along with.
func TestTheLoadOfAnIdleShardIsToldAsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		w := b.start(b.config("a"))
		for range 30 {
			b.puts(10)
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		if l := b.leases()[only]; l.Load.RecordsPerSecond == 0 {
			t.Errorf("the load of a busy shard is %v", l.Load)
		}
		time.Sleep(3 * time.Minute)
		if l := b.leases()[only]; l.Load != (lease.Load{}) {
			t.Errorf("the load of an idle shard is %v", l.Load)
		}
		w.stop()
	})
}

// However rare its checkpoints are.
func TestTheLoadOfAnIdleShardOfRareCheckpointsIsToldAsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		c := b.config("a")
		c.CheckpointEvery = 2 * loadMemory
		w := b.start(c)
		b.puts(10)
		time.Sleep(c.CheckpointEvery + 10*time.Second)
		if l := b.leases()[only]; l.Load.RecordsPerSecond == 0 {
			t.Errorf("the load of a busy shard is %v", l.Load)
		}
		time.Sleep(3 * loadMemory)
		if l := b.leases()[only]; l.Load != (lease.Load{}) {
			t.Errorf("the load of an idle shard is %v", l.Load)
		}
		w.stop()
	})
}
