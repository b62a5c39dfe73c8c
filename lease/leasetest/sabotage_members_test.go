package leasetest

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/lease"
)

// brokenMembers are careless about who lives.
var brokenMembers = []sabotage{
	{"a beat creates its row", "ABeatOnAnAbsentRowNeverCreatesIt", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if _, ok := b.currentMember(old.Incarnation); !ok {
				old = nobody
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a beat at version zero joins", "ABeatOnAnAbsentRowNeverCreatesIt", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if old.Version == 0 {
				old = nobody
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a beat ignores the version", "ALateBeatCannotUndoAFence", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(old.Incarnation); ok {
				old = current
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a join writes over its row", "AMemberCanJoinOnceOnly", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(next.Incarnation); ok && old == nobody {
				old = current
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"an end ignores the version", "AnEndNeedsTheVersion", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(old.Incarnation); ok && next == nobody {
				old = current
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"an end leaves a zero row", "AnEndedMemberIsGone", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if next == nobody && old != nobody {
				next.Fenced = true
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"an end of nothing succeeds", "AnEndedMemberIsGone", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if _, ok := b.currentMember(old.Incarnation); !ok && next == nobody && old != nobody {
				return nobody, nil
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a swap of nobody is a conflict", "ASwapOfNobodyForNobodyIsAnErrorAndNoConflict", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if old == nobody && next == nobody {
				return nobody, lease.ErrConflict
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a member's conflict returns no row", "ABumpAndABeatDoNotEatEachOther", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			row, err := b.Memory.SwapMember(ctx, old, next)
			if err != nil {
				row = nobody
			}
			return row, err
		}
	}},
	{"a join answers with the version it was given", "AMemberJoinsAtVersionOneWithEveryField", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			row, err := b.Memory.SwapMember(ctx, old, next)
			if err == nil && old == nobody {
				row.Version = next.Version
			}
			return row, err
		}
	}},
	{"fences are dropped", "ABeatReplacesEveryField", losesMember(func(m *lease.Member) { m.Fenced = false })},
	{"fences stay for ever", "ABeatReplacesEveryField", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(old.Incarnation); ok && next != nobody {
				next.Fenced = next.Fenced || current.Fenced
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"draining is dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.Draining = false })},
	{"revisions are dropped", "ABeatReplacesEveryField", losesMember(func(m *lease.Member) { m.Revision = 0 })},
	{"beats are floating point", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.Beats = int64(float64(m.Beats)) })},
	{"the zone is dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.Zone = "" })},
	{"a member's load is dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.Load = lease.Load{} })},
	{"members are remembered", "ALateBeatCannotUndoAFence", func(b *broken) {
		var once sync.Once
		var rows []lease.Member
		b.members = func(ctx context.Context) ([]lease.Member, error) {
			once.Do(func() { rows, _ = b.Memory.Members(ctx) })
			return rows, context.Cause(ctx)
		}
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			row, err := b.Memory.SwapMember(ctx, old, next)
			if old == nobody {
				b.Members(ctx)
			}
			return row, err
		}
	}},
	{"a beat compares the whole row", "ABeatNeedsNothingButIncarnationAndVersion", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(old.Incarnation); ok && current != old {
				return current, lease.ErrConflict
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a beat lets greater versions pass", "ABeatNeedsTheVersion", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(old.Incarnation); ok {
				old.Version = min(old.Version, current.Version)
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a fence ignores the version", "ALateFenceCannotHitAWorkerThatBeat", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if current, ok := b.currentMember(old.Incarnation); ok && next.Fenced {
				old.Version = current.Version
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a swap writes the row that next names (members)", "TheIncarnationNeverChanges", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if named, ok := b.currentMember(next.Incarnation); ok && old != nobody {
				old = named
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"incarnations know no case", "MembersThatLookAlikeAreDifferentRows", losesMember(func(m *lease.Member) {
		m.Incarnation = strings.ToLower(m.Incarnation)
	})},
	{"members are rows among the leases", "MembersAndLeasesDoNotMeet", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			b.Memory.Create(ctx, lease.Lease{Key: "member " + next.Incarnation})
			return b.Memory.SwapMember(ctx, old, next)
		}
	}},
	{"a beat is two steps", "OfRacingMemberSwapsOneWins", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			current, ok := b.currentMember(old.Incarnation)
			if old == nobody || !ok || current.Version != old.Version {
				return b.Memory.SwapMember(ctx, old, next)
			}
			runtime.Gosched()
			row := next
			row.Version = old.Version + 1
			if current, _ = b.currentMember(old.Incarnation); current.Version == old.Version {
				b.Memory.SwapMember(ctx, current, next)
			}
			return row, nil
		}
	}},
	{"a join is two steps", "OfRacingJoinsOneWins", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if _, ok := b.currentMember(next.Incarnation); ok {
				return b.Memory.SwapMember(ctx, old, next)
			}
			runtime.Gosched()
			row, _ := b.Memory.SwapMember(ctx, old, next)
			return row, nil
		}
	}},
	{"the failover time is dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.FailoverTime = 0 })},
	{"the handoff timeout is kept in seconds", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.HandoffTimeout = m.HandoffTimeout.Truncate(time.Second) })},
	{"the largest number of leases is dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.MaxLeases = 0 })},
	{"what is blocked is dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.Blocked = "" })},
	{"the streams are dropped", "AMemberJoinsAtVersionOneWithEveryField", losesMember(func(m *lease.Member) { m.Streams = "" })},
}
