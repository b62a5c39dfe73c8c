package sim

import (
	"fmt"
	"testing"
	"time"
)

// The wall clocks of a fleet are hours apart, and jump back and forth while
// shards come and go: nothing is decided by them.
func TestIncidentClocksJumpByHours(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		r := told.incident(t, 4, func(s *stage) {
			for i, wrong := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
				s.joinAs(fmt.Sprint("w", i), setup{clock: wrong})
			}
			s.flood()
			s.settled(time.Minute)
			for i := range 12 {
				for j, m := range []*machine{s.named["w0"], s.named["w1"], s.named["w2"]} {
					m.line.setClock(time.Duration((i+j)%5-2) * 2 * time.Hour)
				}
				if err := s.stream.UpdateShardCount(s.ctx, 3+i%3*2); err != nil {
					s.t.Fatal(err)
				}
				s.settled(handoff)
				s.wait(time.Minute)
			}
		})
		if r.Checked.Repeats > 0 {
			t.Errorf("%d records came again", r.Checked.Repeats)
		}
	})
}

// A worker stands still, as by SIGSTOP, and wakes around the moments at which
// its right ends, at which it is taken for dead, and at which a handoff is
// forced. Short of the first nothing happens at all.
func TestIncidentAFrozenWorkerWakesAtTheWorstMoment(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		right := failover - failover/10
		const instant = time.Nanosecond
		for _, pause := range []time.Duration{
			right / 3, right - failover/3, right - instant, right, right + instant,
			failover - instant, failover, failover + instant,
			failover + failover/2, 2 * failover, 2*failover + planInterval,
			handoff - handoff/10, handoff - instant, handoff, handoff + instant, 2 * handoff,
		} {
			for _, leading := range []bool{false, true} {
				name := fmt.Sprint("a follower for ", pause)
				if leading {
					name = fmt.Sprint("the leader for ", pause)
				}
				t.Run(name, func(t *testing.T) {
					r := told.incident(t, 6, func(s *stage) {
						s.join("a", "b", "c")
						s.flood()
						s.settled(time.Minute)
						s.wait(time.Minute)
						victim, other := s.leader()
						if !leading {
							victim = other
						}
						// A handoff away from the frozen one is forced in the end.
						thaw := victim.freeze()
						s.join("d")
						s.wait(pause)
						thaw()
						s.wait(2 * handoff)
						s.settled(handoff)
						s.flowing(failover)
					})
					if pause < right/2 && r.Checked.Repeats > 0 {
						t.Errorf("%d records came again after %v", r.Checked.Repeats, pause)
					}
				})
			}
		}
	})
}
