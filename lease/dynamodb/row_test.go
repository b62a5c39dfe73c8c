package dynamodb

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

func sequences(t *rapid.T) stream.Sequence {
	u := rapid.Uint64()
	return stream.MakeSequence(u.Draw(t, "hi"), u.Draw(t, "mid"), u.Draw(t, "lo")).
		WithSub(rapid.OneOf(rapid.Just[uint64](0), u).Draw(t, "sub"))
}

func positions(t *rapid.T, label string) stream.Position {
	switch rapid.IntRange(0, 6).Draw(t, label) {
	case 0:
		return stream.Position{}
	case 1:
		return stream.TrimHorizon
	case 2:
		return stream.Latest
	case 3:
		return stream.ShardEnd
	case 4:
		return stream.AtTime(time.UnixMilli(rapid.Int64Range(-1e12, 1e14).Draw(t, "time")))
	case 5:
		return stream.At(sequences(t))
	default:
		return stream.After(sequences(t))
	}
}

func hashes(t *rapid.T) stream.Hash {
	return stream.Hash{Hi: rapid.Uint64().Draw(t, "hash"), Lo: rapid.Uint64().Draw(t, "hash")}
}

// leases draws a lease of a stream that the layout knows.
func leases(t *rapid.T) lease.Lease {
	ids := rapid.SliceOfN(rapid.StringMatching(`shardId-[0-9]{1,3}`), 0, 3)
	data := rapid.SliceOfN(rapid.Byte(), 1, 9)
	name := rapid.SampledFrom([]string{"", "w#1", "v#2", "köln"})
	l := lease.NewLease(orders.Name, orders.ID(), stream.Shard{ID: "shardId-7", Parents: ids.Draw(t, "parents")}, positions(t, "checkpoint"))
	l.Children = ids.Draw(t, "children")
	l.Owner, l.CheckpointOwner = name.Draw(t, "owner"), name.Draw(t, "checkpoint owner")
	l.Counter, l.Term = rapid.Int64().Draw(t, "counter"), rapid.Int64().Draw(t, "term")
	l.Hash = rapid.SampledFrom([]stream.HashRange{stream.FullRange, {}, lowHalf, {Start: hashes(t), End: hashes(t)}}).Draw(t, "range")
	l.Load = lease.Load{BytesPerSecond: math.Abs(rapid.Float64().Draw(t, "bytes")), RecordsPerSecond: rapid.Float64().Draw(t, "records")}
	l.Checkpoint.Pending = checkpoint.Pending{Position: positions(t, "pending"), Data: data.Draw(t, "note")}
	l.Checkpoint.Progress = data.Draw(t, "progress")
	return l
}

func normal(l lease.Lease) lease.Lease {
	if len(l.Parents) == 0 {
		l.Parents = nil
	}
	if len(l.Children) == 0 {
		l.Children = nil
	}
	return l
}

func TestEveryLeaseComesBackAndTheKCLCanReadItsRow(t *testing.T) {
	for _, config := range []Config{{}, singleStream, multiStream, {SingleStream: orders.Name, Timestamp: time.UnixMilli(5)}} {
		f := newLayout(config)
		rapid.Check(t, func(t *rapid.T) {
			l := leases(t)
			row := f.newRow(l, "mark")
			got, err := f.lease(row)
			if err != nil || !reflect.DeepEqual(normal(got), normal(l)) {
				t.Fatalf("%+v\ncomes back as\n%+v, error %v", l, got, err)
			}
			if err := readable(row); err != nil {
				t.Fatalf("%+v\nis no row for the KCL: %v\n%s", l, err, show(row))
			}
			if missed := kclBegins(t, f, row); missed.Compare(l.Checkpoint.Position) > 0 && l.Checkpoint.Position != (stream.Position{}) {
				t.Fatalf("the KCL goes on at %v, beyond %v", missed, l.Checkpoint.Position)
			}
		})
	}
}

// kclBegins returns the record at or before which the KCL takes all for done.
func kclBegins(t *rapid.T, f *layout, row item) stream.Position {
	r := reader{item: row}
	p, err := f.position(r.text(checkpointNumber), parse(&r, checkpointSub, r.number, parseSub))
	if err != nil {
		t.Fatal(err)
	}
	if p == stream.TrimHorizon {
		return stream.Position{} // before everything
	}
	return p
}

// What others wrote to the KCL's attributes holds, whatever ours say.
func TestOursGiveWayToWhatOthersWroteSince(t *testing.T) {
	f := newLayout(singleStream)
	rapid.Check(t, func(t *rapid.T) {
		l := leases(t)
		row := f.newRow(l, "mark")
		row[leaseCounter] = integer(l.Counter + 1)
		row[checkpointNumber], row[checkpointSub] = text(seqText), integer(4)
		delete(row, pendingNumber)
		delete(row, pendingSub)
		delete(row, pendingState)
		row[childShards] = ss("shardId-90", "shardId-91")
		got, err := f.lease(row)
		if err != nil {
			t.Fatal(err)
		}
		want := checkpoint.State{Position: after(seqText, 4)}
		if got.Term != 0 || !reflect.DeepEqual(got.Checkpoint, want) || !slices.Equal(got.Children, []string{"shardId-90", "shardId-91"}) {
			t.Fatalf("read as %+v", got)
		}
	})
}

// Rows are written by anybody: reading one must not fail but with an error.
func TestAnyAttributesAreReadOrRefused(t *testing.T) {
	f := newLayout(singleStream)
	rapid.Check(t, func(t *rapid.T) {
		row := f.newRow(leases(t), "mark")
		names := slices.Sorted(func(yield func(string) bool) {
			for name := range row {
				if !yield(name) {
					return
				}
			}
		})
		odd := rapid.SampledFrom([]types.AttributeValue{
			text("x"), text("-1"), number("1e400"), number("-5"), number("1.5"), binary([]byte{0xff}), boolean(true), ss("a"), list([]string{"1", "2"}),
			&types.AttributeValueMemberNULL{Value: true}, &types.AttributeValueMemberM{}, &types.AttributeValueMemberL{Value: []types.AttributeValue{number("1")}},
		})
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			if inner, ok := row[name].(*types.AttributeValueMemberM); ok && len(inner.Value) > 0 && rapid.Bool().Draw(t, "inside") {
				for inside := range inner.Value {
					inner.Value[inside] = odd.Draw(t, "value")
					break
				}
			} else {
				row[name] = odd.Draw(t, "value")
			}
		}
		l, err := f.lease(row)
		if err != nil {
			return
		}
		if again, err := f.lease(f.newRow(l, "mark")); err != nil || !reflect.DeepEqual(normal(again), normal(l)) {
			t.Fatalf("%+v\ncomes back as\n%+v, error %v", l, again, err)
		}
	})
}

func FuzzWhatTheKCLWroteIsReadOrRefused(f *testing.F) {
	f.Add("TRIM_HORIZON", "0", "0", "shardId-1", "")
	f.Add(seqText, "7", "12345", "123456789012:orders:1700000000:shardId-1", "LEASE")
	f.Add("SHARD_END", "-1", "1e3", ":", "LEADER")
	f.Add("1/2", "", "", "::::", "")
	f.Fuzz(func(t *testing.T, at, sub, counter, key, kind string) {
		for _, config := range []Config{{}, singleStream, multiStream} {
			layout := newLayout(config)
			it := row("leaseKey", text(key), "checkpoint", text(at), "checkpointSubSequenceNumber", number(sub),
				"leaseCounter", number(counter), "entityType", text(kind))
			if l, err := layout.lease(it); err == nil {
				t.Errorf("a row that nobody has inherited is read as %+v", l)
			}
			name, shard, ok := layout.ofKCL(key)
			if !ok {
				continue
			}
			it[shardOf] = shardAttribute(name, stream.Identity{Name: name, Created: orders.Created}.ID(), shard)
			l, err := layout.lease(it)
			if err != nil {
				continue
			}
			if got := layout.tableKey(l.Key); got != key {
				t.Errorf("the row %q is lease %q, which is row %q", key, l.Key, got)
			}
			again, err := layout.lease(layout.newRow(l, "mark"))
			if err != nil || !reflect.DeepEqual(again, l) {
				t.Errorf("%+v comes back as %+v, error %v", l, again, err)
			}
		}
	})
}
