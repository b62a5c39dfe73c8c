package sim

import (
	"fmt"
	"testing"
	"time"
)

// A worker is told to stop while it is cut off from the store, or has long been: it
// gives up what it cannot tell, and others take over as if it had died. What it had
// done since its last checkpoint comes again, and no more.
func TestIncidentAWorkerIsToldToStopWhileItIsCutOff(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		ways := []string{"refused", "its requests lost", "the answers lost", "its writes refused", "its writes lost"}
		for way, name := range ways {
			for _, since := range []time.Duration{0, failover / 3, 2 * failover} {
				for _, leading := range []bool{false, true} {
					who := "a follower"
					if leading {
						who = "the leader"
					}
					t.Run(fmt.Sprintf("%s, %s for %v", who, name, since), func(t *testing.T) {
						told.incident(t, 8, func(s *stage) {
							s.join("a", "b", "c")
							s.flood()
							s.settled(time.Minute)
							s.wait(time.Minute)
							victim, other := s.leader()
							if !leading {
								victim = other
							}
							mend := victim.cut(way)
							s.wait(since)
							began := time.Now()
							victim.stop()
							<-victim.ended
							// The right to process ends in nine tenths of failover, whatever Drain is; then
							// come the leader's last pass, and the leaving.
							if took := time.Since(began); took > 3*failover {
								s.t.Errorf("it took %v to stop", took)
							}
							s.settled(noticed + leaderless)
							mend()
						})
					})
				}
			}
		}
	})
}

// All workers of a fleet are replaced, one after the other. What moves is without
// a holder for a moment only, and nothing comes again.
func TestIncidentEveryWorkerIsReplacedInTurn(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		for _, silent := range []bool{false, true} {
			name := "notified"
			if silent {
				name = "nobody is notified"
			}
			t.Run(name, func(t *testing.T) {
				report := told.incident(t, 12, func(s *stage) {
					as := setup{}
					as.faults.Silent = silent
					for _, name := range []string{"a", "b", "c"} {
						s.joinAs(name, as)
					}
					s.flood()
					s.settled(2 * time.Minute)
					s.wait(time.Minute)
					s.mu.Lock()
					s.putAt = map[place]time.Time{}
					s.mu.Unlock()
					for _, name := range []string{"a", "b", "c"} {
						old, began := s.named[name], time.Now()
						old.stop()
						<-old.ended
						// Until it is handed off, for its notice, and for the rest of its batches.
						if took := time.Since(began); took > failover+2*time.Second {
							s.t.Errorf("it took %v to stop", took)
						}
						s.joinAs("new "+name, as)
						s.settled(time.Minute)
						s.wait(30 * time.Second)
					}
					s.mu.Lock()
					waiting, latency := len(s.putAt), s.report.Latency
					s.putAt = nil
					s.mu.Unlock()
					if latency > 1500*time.Millisecond {
						s.t.Errorf("a record waited for %v; %d are not done", latency, waiting)
					}
				})
				if report.Checked.Repeats > 0 || report.Moves.Forced > 0 {
					t.Errorf("not all moves were clean: %+v", report)
				}
			})
		}
	})
}
