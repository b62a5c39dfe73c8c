package sim

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
)

// Both parents of a merge end at one moment, on two workers; one or both die
// while they call it an end. The child begins when both are finished, once.
func TestIncidentAParentOfAMergeDiesAtItsEnd(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		for name, mortal := range map[string][]string{"nobody": nil, "one": {"a"}, "the other": {"b"}, "both": {"a", "b"}} {
			t.Run(name, func(t *testing.T) {
				r := told.incident(t, 2, func(s *stage) {
					for _, name := range []string{"a", "b"} {
						s.joinAs(name, setup{shardEnded: func(ctx context.Context, _ string) error {
							for _, m := range mortal {
								if m == name {
									s.named[m].crash()
								}
							}
							return context.Cause(ctx)
						}})
					}
					s.flood()
					s.settled(time.Minute)
					s.wait(time.Minute)
					if s.holdings()["a"] != 1 {
						s.t.Fatalf("the parents are not with two workers: %v", s.holdings())
					}
					if err := s.stream.UpdateShardCount(s.ctx, 1); err != nil {
						s.t.Fatal(err)
					}
					if len(mortal) == 2 {
						s.wait(time.Second)
						s.join("c")
					}
					s.flowing(noticed + leaderless)
					s.settled(noticed)
				})
				if r.Checked.Ended != 2 {
					t.Errorf("%d shards have ended", r.Checked.Ended)
				}
			})
		}
	})
}

// Shards that are resharded again and again before anybody has seen them end
// empty, one generation after the other, and what comes after them is not held
// up for long.
func TestIncidentAChainOfEmptyParents(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		const generations = 12
		told.incident(t, 4, func(s *stage) {
			s.join("a", "b", "c")
			s.settled(time.Minute)
			for i := range generations {
				if err := s.stream.UpdateShardCount(s.ctx, 1+7*(i%2)); err != nil {
					s.t.Fatal(err)
				}
			}
			s.took = 0
			s.flowing(generations * time.Second)
			s.settled(handoff)
		})
	})
}

// Shards are split and merged, and their children again, while one worker after
// the other restarts: in good order, so that nothing is repeated.
func TestIncidentReshardsOfReshardsWhileWorkersRestart(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		r := told.incident(t, 2, func(s *stage) {
			s.join("w0", "w1", "w2")
			s.flood()
			s.settled(time.Minute)
			for i, shards := range []int{8, 3, 16, 1, 5, 5, 2, 12} {
				m := s.named[fmt.Sprint("w", i)]
				s.join(fmt.Sprint("w", i+3))
				m.stop()
				for _, n := range []int{shards, shards + 1, shards} {
					if err := s.stream.UpdateShardCount(s.ctx, n); err != nil {
						s.t.Fatal(err)
					}
					s.wait(700 * time.Millisecond)
				}
				<-m.ended
			}
			s.flowing(handoff)
			s.settled(handoff)
		})
		if r.Checked.Repeats > 0 {
			t.Errorf("%d records came again", r.Checked.Repeats)
		}
	})
}

// A worker creates the leases of its shard's children, and that takes so long
// that the leader was faster, and they were processed to their end and retired
// by then. They are not processed again.
func TestIncidentACreationArrivesWhenItsShardIsRetired(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		r := told.incident(t, 2, func(s *stage) {
			s.join("a", "b")
			s.settled(time.Minute)
			_, creator := s.leader()
			var struck atomic.Int32
			creator.line.lieInWait(func(w write) fate {
				if !w.creates {
					return passes
				}
				struck.Add(1)
				return slow
			})
			for i := 0; i < 12 || i%2 > 0 || struck.Load() == 0 && i < 100; i++ {
				if err := s.stream.UpdateShardCount(s.ctx, 1+(i+1)%2); err != nil {
					s.t.Fatal(err)
				}
				s.wait(100 * time.Millisecond)
			}
			s.flowing(failover + planInterval)
			s.wait(time.Minute)
			if struck.Load() == 0 {
				s.t.Error("nothing was created")
			}
		})
		if shards := r.Checked.Ended + 1; r.Checked.Terms > shards+r.Moves.Balanced {
			t.Errorf("%d terms on %d shards", r.Checked.Terms, shards)
		}
	})
}

// A stream is deleted and created again under its name, with the same shards
// and sequence numbers, while it is processed: the new one is begun at its
// first record, and the old rows go.
func TestIncidentAStreamIsCreatedAnew(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		told.incident(t, 5, func(s *stage) {
			s.join("a", "b", "c")
			s.flood()
			s.settled(time.Minute)
			s.wait(time.Minute)
			for range 3 {
				s.anew()
				s.flowing(failover + planInterval)
				s.wait(time.Minute)
			}
			s.settled(handoff)
			for l := range s.rows.Leases(s.ctx) {
				if l.StreamID != s.id {
					s.t.Errorf("the row of %s is still there", l.Key)
				}
			}
		})
	})
}

// anew deletes the stream and creates it again.
func (s *stage) anew() {
	shards, err := s.stream.Shards(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, shard := range shards {
		s.check.Gone(lease.Key(s.id, shard.ID))
	}
	s.mu.Lock()
	clear(s.last)
	s.mu.Unlock()
	s.flow(s.stream.Recreate(s.Shards))
}

// All workers are away for longer than retention. The shards that were closed
// meanwhile are gone with what was in them: that is told and counted, and their
// children, of which nothing is lost, begin.
func TestIncidentRetentionOvertakesAFleetThatIsAway(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		r := told.incident(t, 4, func(s *stage) {
			s.join("a", "b")
			s.settled(time.Minute)
			s.flowing(time.Minute)
			s.wait(time.Minute)
			for _, m := range s.named {
				m.stop()
				<-m.ended
			}
			s.puts(500, 1)
			if err := s.stream.UpdateShardCount(s.ctx, 8); err != nil {
				s.t.Fatal(err)
			}
			s.puts(500, 2)
			s.forget()
			s.join("c", "d")
			// Two looks some time apart have to agree that a shard is gone.
			s.flowing(2*failover + planInterval)
			s.settled(handoff)
		})
		if r.Checked.Lost != 500 {
			t.Errorf("%d records are counted as lost, want the 500 in closed shards", r.Checked.Lost)
		}
	})
}

// Workers are busy for long with what they have of shards, which are closed and
// leave the stream meanwhile. What they have is done and stored, and the children
// wait for it.
func TestIncidentShardsLeaveWhileWorkersAreBusyWithThem(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		told.incident(t, 4, func(s *stage) {
			var busy atomic.Int32
			goOn := make(chan struct{})
			parents := map[string]bool{}
			as := setup{processing: func(ctx context.Context, shard string) error {
				if !parents[shard] {
					return nil
				}
				busy.Add(1)
				select {
				case <-goOn:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}}
			shards, err := s.stream.Shards(s.ctx)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, shard := range shards {
				parents[shard.ID] = true
			}
			s.joinAs("a", as)
			s.joinAs("b", as)
			s.settled(time.Minute)
			s.puts(500, 1)
			s.wait(time.Second)
			if err := s.stream.UpdateShardCount(s.ctx, 8); err != nil {
				s.t.Fatal(err)
			}
			s.forget()
			s.puts(500, 2)
			s.wait(20 * time.Minute)
			for l := range s.rows.Leases(s.ctx) {
				if l.Finished() || !parents[l.Shard] && l.Begun() {
					s.t.Errorf("%s is at %v, while workers are busy with what is before it", l.Shard, l.Checkpoint.Position)
				}
			}
			if busy.Load() != 4 {
				s.t.Errorf("%d batches are under way, want one of each of the 4 shards", busy.Load())
			}
			close(goOn)
			s.flowing(2*failover + planInterval)
			s.settled(handoff)
		})
	})
}

// forget drops all closed shards, processed or not.
func (s *stage) forget() {
	shards, err := s.stream.Shards(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, shard := range shards {
		if !shard.Closed {
			continue
		}
		key := lease.Key(s.id, shard.ID)
		s.check.Gone(key)
		s.mu.Lock()
		delete(s.last, key)
		s.mu.Unlock()
		if err := s.stream.Forget(s.ctx, shard.ID); err != nil {
			s.t.Fatal(err)
		}
	}
}

// One worker does not reach the stream: what it has waits for it, the others
// go on; whoever dies meanwhile is found out as soon as ever, though the one
// that hangs may be the leader; and it can be stopped.
func TestIncidentTheStreamHangsForOneWorker(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		for _, leading := range []bool{false, true} {
			who := "a follower"
			if leading {
				who = "the leader"
			}
			t.Run(who, func(t *testing.T) {
				told.incident(t, 9, func(s *stage) {
					s.join("a", "b", "c")
					s.settled(time.Minute)
					victim, other := s.leader()
					if !leading {
						victim, other = other, victim
					}
					s.wait(time.Minute)
					flow := victim.inlet.hang()
					var dies *machine
					for _, m := range s.named {
						if m != victim && m != other {
							dies = m
						}
					}
					dies.crash()
					s.took = 0
					for began := time.Now(); s.holdings()[dies.name] > 0; s.wait(50 * time.Millisecond) {
						s.took = time.Since(began)
					}
					if limit := noticed; s.took > limit {
						s.t.Errorf("the dead worker kept its leases for %v, want %v at most", s.took, limit)
					}
					s.wait(time.Minute)
					flow()
					s.flowing(failover)
					s.settled(handoff)

					victim.inlet.hang()
					began := time.Now()
					victim.stop()
					<-victim.ended
					if took := time.Since(began); took > planInterval {
						s.t.Errorf("a worker without a stream stops in %v", took)
					}
					s.flowing(handoff)
				})
			})
		}
	})
}

// The leader dies before each of the writes that it makes while a worker has
// died, another one comes and shards are split: whoever is next finishes what
// it has begun.
func TestIncidentTheLeaderDiesBetweenTwoWrites(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		for n := 1; n <= 30; n++ {
			t.Run(fmt.Sprint("before write ", n), func(t *testing.T) {
				told.incident(t, 6, func(s *stage) {
					s.join("a", "b", "c")
					s.flood()
					s.settled(time.Minute)
					s.wait(time.Minute)
					leader, other := s.leader()
					var once sync.Once
					left := n
					leader.line.lieInWait(func(write) fate {
						if left--; left > 0 {
							return passes
						}
						once.Do(leader.crash)
						return requestLost
					})
					s.join("d")
					other.crash()
					if err := s.stream.UpdateShardCount(s.ctx, 8); err != nil {
						s.t.Fatal(err)
					}
					s.flowing(2*noticed + leaderless)
					s.settled(handoff)
				})
			})
		}
	})
}

// A whole fleet is replaced by a new revision, one machine after the other:
// nothing is repeated, no record waits for long, and few leases move twice.
func TestIncidentARollingDeploy(t *testing.T) {
	play(t, func(t *testing.T, told *telling) {
		const workers, shards = 6, 24
		r := told.incident(t, shards, func(s *stage) {
			for i := range workers {
				s.joinAs(fmt.Sprint("old", i), setup{code: "1"})
			}
			s.flood()
			s.settled(time.Minute)
			s.wait(5 * time.Minute)
			before := s.rows.Moves().Owners
			s.mu.Lock()
			s.putAt = map[place]time.Time{}
			s.mu.Unlock()
			for i := range workers {
				s.joinAs(fmt.Sprint("new", i), setup{code: "2"})
				s.wait(20 * time.Second)
				m := s.named[fmt.Sprint("old", i)]
				m.stop()
				<-m.ended
				s.wait(10 * time.Second)
			}
			s.wait(time.Minute)
			if moved := s.rows.Moves().Owners - before; moved > 2*shards {
				s.t.Errorf("%d leases moved, want at most two moves for each of %d", moved, shards)
			}
			s.mu.Lock()
			s.took = s.report.Latency
			s.mu.Unlock()
			if limit := planInterval + 2*time.Second; s.took > limit {
				s.t.Errorf("a record took %v, want at most %v", s.took, limit)
			}
		})
		if r.Checked.Repeats > 0 {
			t.Errorf("%d records came again", r.Checked.Repeats)
		}
	})
}
