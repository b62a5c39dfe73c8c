package dynamodb

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
)

// manyStreams returns the set of n streams, as Kinesis names them.
func manyStreams(n int) lease.StreamSet {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("arn:aws:kinesis:eu-central-1:123456789012:stream/tenant-%05d-events:%d", i*7919%100_000, 1_700_000_000_000+i*104_729)
	}
	return lease.NewStreamSet(ids...)
}

func swapMember(t *testing.T, s *Store, old, next lease.Member) lease.Member {
	t.Helper()
	row, err := s.SwapMember(t.Context(), old, next)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func membersOf(t *testing.T, s *Store) map[string]lease.Member {
	t.Helper()
	rows, err := s.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]lease.Member{}
	for _, m := range rows {
		all[m.Incarnation] = m
	}
	return all
}

// A beat writes the row of its member, and DynamoDB bills each KB of it.
func TestABeatIsOneWriteUnitHoweverManyStreamsItsWorkerServes(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		wire := testdynamo.NewWire(testdynamo.Transport(t))
		s := open(t, api.Client(t, wire), Config{})
		for _, n := range []int{1, 100, 6000, 40_000} {
			name := fmt.Sprintf("ip-10-0-0-1.eu-central-1.compute.internal-4711#%016d", n)
			m := swapMember(t, s, lease.Member{}, lease.Member{
				Incarnation: name, Worker: strings.TrimSuffix(name, "#"), Beats: 1 << 40, Revision: 1 << 30, Load: lease.Load{BytesPerSecond: 1.0 / 3, RecordsPerSecond: 1.0 / 7},
				FailoverTime: time.Hour, HandoffTimeout: time.Hour, MaxLeases: 1000, Code: "v1.2.3+4711.5f3a5f3a", Zone: "eu-central-1a", Host: "ip-10-0-0-1.eu-central-1.compute.internal", Streams: manyStreams(n),
			})
			if size := sizeOf(memberState(m)) + sizeOf(s.memberKey(name)); size > 1000 {
				t.Errorf("with %d streams the row of a member has %d bytes, which is more than one write unit", n, size)
			}
			wire.SetFault(nil)
			m.Beats++
			m = swapMember(t, s, m, m)
			if counts := wire.Counts(); len(counts) != 1 || counts["UpdateItem"] != 1 {
				t.Errorf("a beat took %v", counts)
			}
			// Somebody else lists the members for the first time, and the second.
			other := handle(t, api.Client(t, wire), s.config)
			for look := 1; look <= 2; look++ {
				wire.SetFault(nil)
				if got := membersOf(t, other)[name]; got != m {
					t.Errorf("%d streams: listed with %d, want all of them", n, len(got.Streams.IDs()))
				}
				if counts := wire.Counts(); look == 2 && counts["Query"] != 1 {
					t.Errorf("the second look at members took %v", counts)
				}
			}
			if swapMember(t, s, m, lease.Member{}) != (lease.Member{}) {
				t.Error("the member has not ended")
			}
			if rows, err := s.rowsOf(t.Context(), s.streamsKey(name), ""); err != nil || len(rows) != 0 {
				t.Errorf("the member has left %d rows, error %v", len(rows), err)
			}
		}
	})
}

func TestAMemberThatServesOthersIsListedWithThose(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		s := open(t, api.Client(t, nil), Config{})
		other := handle(t, api.Client(t, nil), s.config)
		m := swapMember(t, s, lease.Member{}, lease.Member{Incarnation: "w", Streams: manyStreams(3)})
		for _, n := range []int{4, 3, 0, 5} { // back to former ones, and none
			next := m
			next.Streams = manyStreams(n)
			m = swapMember(t, s, m, next)
			if got := membersOf(t, other)["w"]; got != m {
				t.Errorf("listed with %q, want %q", got.Streams.IDs(), m.Streams.IDs())
			}
			if rows, err := s.rowsOf(t.Context(), s.streamsKey("w"), ""); err != nil || len(rows) > min(n, 1) {
				t.Errorf("%d rows, error %v, want those of the present set alone", len(rows), err)
			}
		}
		// The row comes with its streams to whoever is in conflict with it, too.
		stale := m
		stale.Version--
		late := handle(t, api.Client(t, nil), s.config)
		if got, err := late.SwapMember(t.Context(), stale, stale); err == nil || got != m {
			t.Errorf("conflict: %+v, error %v, want %+v", got, err, m)
		}
		// A leader bumps and fences without a word on streams.
		fenced := membersOf(t, other)["w"]
		fenced.Fenced = true
		fenced = swapMember(t, other, fenced, fenced)
		if got := membersOf(t, s)["w"]; got != fenced || got.Streams != m.Streams {
			t.Errorf("after the fence: %+v, want %+v", got, fenced)
		}
	})
}

func TestTheStreamsOfAMemberAreThereBeforeItsRow(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		wire.SetFault(func(op string, _ int) testdynamo.Fault {
			if op == "PutItem" { // as when it dies there
				return testdynamo.Deny
			}
			return testdynamo.Pass
		})
		if _, err := s.SwapMember(t.Context(), lease.Member{}, lease.Member{Incarnation: "w", Streams: manyStreams(3)}); err == nil {
			t.Error("it joins without its streams")
		}
		if got := membersOf(t, other); len(got) != 0 {
			t.Errorf("members are %+v", got)
		}
	})
}

// late is an API in which the member changes its streams between the list of members
// and the look at the rows that these refer to.
type late struct {
	*sdk.Client
	meanwhile func()
}

func (a *late) Query(ctx context.Context, in *sdk.QueryInput, opts ...func(*sdk.Options)) (*sdk.QueryOutput, error) {
	if do := a.meanwhile; do != nil && in.ExpressionAttributeValues[":prefix"] != nil {
		a.meanwhile = nil
		do()
	}
	return a.Client.Query(ctx, in, opts...)
}

func TestAMemberThatChangesItsStreamsMeanwhileIsListedAsItIsThen(t *testing.T) {
	api := testdynamo.Any(t)
	s := open(t, api.Client(t, nil), Config{})
	m := swapMember(t, s, lease.Member{}, lease.Member{Incarnation: "w", Streams: manyStreams(3)})
	a := &late{Client: api.Client(t, nil)}
	a.meanwhile = func() {
		next := m
		next.Streams = manyStreams(4)
		m = swapMember(t, s, m, next)
	}
	if got := membersOf(t, handle(t, a, s.config))["w"]; got != m {
		t.Errorf("listed with %d streams, want %d", len(got.Streams.IDs()), len(m.Streams.IDs()))
	}
	a.meanwhile = func() { m = swapMember(t, s, m, lease.Member{}) }
	if got := membersOf(t, handle(t, a, s.config)); len(got) != 0 {
		t.Errorf("listed are %+v, and the member has ended", got)
	}
}

// Somebody has cleaned up. The fleet must not stand still for that: the worker counts
// as serving nothing, and says what it serves when somebody writes its row.
func TestAMemberWhoseStreamsAreGoneIsToldOfAndHealed(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		s := open(t, api.Client(t, nil), Config{})
		m := swapMember(t, s, lease.Member{}, lease.Member{Incarnation: "w", Streams: manyStreams(3)})
		s.sweepStreams(t.Context(), "w", "")
		var log bytes.Buffer
		config := s.config
		config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		leader := handle(t, api.Client(t, nil), config)
		got := membersOf(t, leader)["w"]
		if got.Streams != "" || got.Version != m.Version {
			t.Fatalf("listed as %+v", got)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "start that worker again") {
			t.Errorf("the log has %d lines, want one:\n%s", n, log.String())
		}
		got.Revision++ // a bump
		swapMember(t, leader, got, got)
		beat := m
		beat.Beats++
		now, err := s.SwapMember(t.Context(), m, beat)
		if err == nil {
			t.Fatal("no conflict")
		}
		next := now
		next.Beats, next.Streams = now.Beats+1, manyStreams(3) // as a session does
		m = swapMember(t, s, now, next)
		if got := membersOf(t, leader)["w"]; got != m || got.Streams != manyStreams(3) {
			t.Errorf("after its next beat it is listed as %+v, want %+v", got, m)
		}
	})
}
