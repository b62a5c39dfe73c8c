package sim

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease/leasetest"
)

// once lets a fate befall the first write that is one of those wanted, by
// whichever machine, and tells whether it has.
func (s *stage) once(wanted func(write) bool, what fate) (struck func() bool) {
	var mu sync.Mutex
	done := false
	for _, m := range s.named {
		m.line.lieInWait(func(w write) fate {
			mu.Lock()
			defer mu.Unlock()
			if done || !wanted(w) {
				return passes
			}
			done = true
			return what
		})
	}
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return done
	}
}

// Every kind of write loses its answer, or itself, or arrives when newer ones
// have been made: nothing is repeated, and nobody waits for long.
func TestIncidentOneWriteGoesWrong(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		writes := []struct {
			name   string
			wanted func(write) bool
		}{
			{"a take", write.takes},
			{"a checkpoint", write.saves},
			{"the order to hand a shard over", write.handsOff},
			{"the end of a handoff", write.letsGo},
			{"the end of a shard", func(w write) bool { return w.next.Finished() }},
			{"the creation of leases", func(w write) bool { return w.creates }},
			{"the retirement of a lease", func(w write) bool { return w.old.Key != "" && w.next.Key == "" }},
			{"a beat", func(w write) bool { return w.oldMember.Beats > 0 && w.nextMember.Beats > w.oldMember.Beats }},
			{"a join", func(w write) bool { return w.oldMember.Incarnation == "" && w.nextMember.Beats == 1 }},
			{"a bump", func(w write) bool { return w.nextMember.Revision > w.oldMember.Revision }},
		}
		fates := map[fate]string{refused: "is refused", requestLost: "is lost", answerLost: "loses its answer", late: "comes late"}
		for _, w := range writes {
			for what, happens := range fates {
				t.Run(w.name+" "+happens, func(t *testing.T) {
					r := told.incident(t, 6, func(s *stage) {
						s.join("a", "b")
						s.flood()
						s.settled(time.Minute)
						s.wait(time.Minute)
						struck := s.once(w.wanted, what)
						s.joinAs("c", setup{ambush: s.named["a"].line.ambush})
						s.wait(handoff) // it gets its share
						if err := s.stream.UpdateShardCount(s.ctx, 9); err != nil {
							s.t.Fatal(err)
						}
						s.settled(handoff)
						s.wait(time.Minute)
						if !struck() {
							s.t.Error("there was no such write")
						}
					})
					if r.Checked.Repeats > 0 {
						t.Errorf("%d records came again", r.Checked.Repeats)
					}
				})
			}
		}
	})
}

// A checkpoint is under way for so long that its sender is dead, and others
// have gone on from an earlier one and stored newer ones, when it arrives.
func TestIncidentACheckpointArrivesAfterNewerOnes(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		r := told.incident(t, 2, func(s *stage) {
			s.join("a", "b")
			s.flood()
			s.settled(time.Minute)
			s.wait(time.Minute)
			a := s.named["a"]
			struck := s.once(func(w write) bool { return w.saves() && check.WorkerOf(w.old.Owner) == a.name }, late)
			for !struck() {
				s.wait(10 * time.Millisecond)
			}
			a.crash()
			s.flowing(noticed + leaderless)
			s.wait(time.Minute)
		})
		if r.Checked.Refused == 0 {
			t.Error("no stale write was refused")
		}
	})
}

// The store is gone for longer than workers are waited for, and all come back
// at once. Nobody lost a lease to anybody, no more is repeated than what was
// done after the last checkpoints, and there is no herd.
func TestIncidentTheStoreIsGoneAndEverybodyComesBackAtOnce(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		const workers, shards = 8, 40
		for name, link := range map[string]leasetest.Link{"refusing": leasetest.Refused, "silent": leasetest.RequestsLost, "deaf": leasetest.AnswersLost} {
			t.Run(name, func(t *testing.T) {
				told.incident(t, shards, func(s *stage) {
					for i := range workers {
						s.join(fmt.Sprint("w", i))
					}
					s.flood()
					s.settled(time.Minute)
					s.wait(5 * time.Minute)

					before, moves := s.check.Stats(), s.rows.Moves().Owners
					s.cutAll(link, 4*failover)
					writes := s.writes()
					s.took = 0
					s.flowing(failover)
					s.settled(noticed)
					s.wait(failover)
					writes = s.writes() - writes
					s.wait(5 * time.Minute)

					// A take and a checkpoint or two for each lease, some beats and a
					// campaign for each worker.
					if limit := 3*shards + 12*workers; writes > limit {
						s.t.Errorf("%d writes when the store was back, want at most %d", writes, limit)
					}
					// Loads look different afterwards, for a while.
					if moved := s.rows.Moves().Owners - moves; moved > shards/5 {
						s.t.Errorf("%d leases moved", moved)
					}
					// About 10 records a second and 200 at once, done since the last checkpoint or until
					// the right to process had expired.
					repeats := s.check.Stats().Repeats - before.Repeats
					if limit := int((checkpointEvery+failover).Seconds()*10*1.5) + 200; repeats > limit {
						s.t.Errorf("%d records came again, want at most %d", repeats, limit)
					}
				})
			})
		}
	})
}

// A store that refuses everything for a while, as one that throttles, stops
// nobody and repeats nothing. The last beat may be a third of failover old when
// that begins, and the next one is tried within a tenth when it is over.
func TestIncidentTheStoreThrottlesEverything(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		r := told.incident(t, 10, func(s *stage) {
			s.join("a", "b", "c")
			s.flood()
			s.settled(time.Minute)
			s.wait(time.Minute)
			moves := s.rows.Moves().Owners
			for range 5 {
				done := s.check.Stats().Deliveries
				s.cutAll(leasetest.Refused, 4*failover/10)
				if s.check.Stats().Deliveries == done {
					s.t.Error("nothing was processed meanwhile")
				}
				s.wait(failover)
			}
			if moved := s.rows.Moves().Owners - moves; moved > 0 {
				s.t.Errorf("%d leases moved", moved)
			}
		})
		if r.Checked.Repeats > 0 {
			t.Errorf("%d records came again", r.Checked.Repeats)
		}
	})
}

// A worker is cut off from the store in one direction only: what it holds goes
// to others in time, and it comes back by itself.
func TestIncidentAWorkerIsCutOffOneWay(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		ways := []string{"it is refused", "its requests are lost", "the answers are lost", "its writes are refused", "its writes are lost"}
		for way, name := range ways {
			for _, leading := range []bool{false, true} {
				who := "a follower"
				if leading {
					who = "the leader"
				}
				t.Run(who+": "+name, func(t *testing.T) {
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
						// Until it is noticed the victim's leases look as ever.
						for began := time.Now(); s.holdings()[victim.name] > 0; s.wait(50 * time.Millisecond) {
							if limit := noticed + leaderless; time.Since(began) > limit {
								s.t.Errorf("%s still has leases after %v", victim.name, limit)
								break
							}
							s.took = max(s.took, time.Since(began))
						}
						s.settled(failover)
						s.wait(time.Minute)
						mend()
						s.wait(noticed) // a newcomer is waited for before leases move
						s.settled(handoff)
						if s.holdings()[victim.name] == 0 {
							s.t.Errorf("%s never came back", victim.name)
						}
					})
				})
			}
		}
	})
}
