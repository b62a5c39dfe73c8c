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
