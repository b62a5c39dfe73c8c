package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// The streams of the Java applications whose rows are given here.
var (
	orders = stream.Identity{Name: "arn:aws:kinesis:eu-central-1:123456789012:stream/orders", Created: time.UnixMilli(1_700_000_000_321)}
	bills  = stream.Identity{Name: "arn:aws:kinesis:eu-central-1:123456789012:stream/bills", Created: time.UnixMilli(1_710_000_000_000)}

	singleStream = Config{Application: "billing", SingleStream: orders.Name}
	multiStream  = Config{Application: "billing", MultiStream: map[string]string{
		"123456789012:orders:1700000000": orders.Name, "123456789012:bills:1710000000": bills.Name,
	}}
)

const (
	seqText  = "49590338271490256608559692538361571095921575989136588898"
	nextText = "49590338271490256608559692540925702759324208523137515618"
)

func after(text string, sub uint64) stream.Position {
	seq, err := stream.ParseSequence(text)
	if err != nil {
		panic(err)
	}
	return stream.After(seq.WithSub(sub))
}

// row makes an item of names and values in turn.
func row(pairs ...any) item {
	it := item{}
	for i := 0; i < len(pairs); i += 2 {
		it[pairs[i].(string)] = pairs[i+1].(types.AttributeValue)
	}
	return it
}

func ss(of ...string) types.AttributeValue { return &types.AttributeValueMemberSS{Value: of} }

// fixture is a row as a version of the KCL writes it, and what it says.
type fixture struct {
	name   string
	config Config
	row    item
	want   lease.Lease // Key, Stream, StreamID and Shard are those of stream and shard
	stream stream.Identity
	shard  string
}

func (f fixture) lease() lease.Lease {
	l := f.want
	l.Stream, l.StreamID, l.Shard = f.stream.Name, f.stream.ID(), f.shard
	l.Key = lease.Key(l.StreamID, l.Shard)
	return l
}

const halfHash = "170141183460469231731687303715884105727"

var lowHalf = stream.HashRange{End: stream.FullRange.Middle().Prev()}

func kclRows() []fixture {
	horizon := checkpoint.State{Position: stream.TrimHorizon}
	return []fixture{
		{name: "2.x, just created", config: singleStream, stream: orders, shard: "shardId-000000000000",
			row: row("leaseKey", text("shardId-000000000000"), "leaseCounter", integer(0), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text("TRIM_HORIZON"), "checkpointSubSequenceNumber", integer(0), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Checkpoint: horizon, Hash: lowHalf}},
		{name: "2.2, without hash keys and sub-sequence", config: singleStream, stream: orders, shard: "shardId-000000000001",
			row: row("leaseKey", text("shardId-000000000001"), "leaseOwner", text("ip-10-0-0-1:5f3a"), "leaseCounter", integer(77),
				"ownerSwitchesSinceCheckpoint", integer(3), "checkpoint", text(seqText)),
			want: lease.Lease{Owner: "ip-10-0-0-1:5f3a", Counter: 77, Checkpoint: checkpoint.State{Position: after(seqText, 0)}, Hash: stream.FullRange}},
		{name: "2.x, prepared inside an aggregate", config: singleStream, stream: orders, shard: "shardId-000000000002",
			row: row("leaseKey", text("shardId-000000000002"), "leaseOwner", text("w"), "leaseCounter", integer(12345), "ownerSwitchesSinceCheckpoint", integer(1),
				"checkpoint", text(seqText), "checkpointSubSequenceNumber", integer(7),
				"pendingCheckpoint", text(nextText), "pendingCheckpointSubSequenceNumber", integer(2), "pendingCheckpointState", binary([]byte("about to")),
				"startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "w", Counter: 12345, Hash: lowHalf, Checkpoint: checkpoint.State{Position: after(seqText, 7),
				Pending: checkpoint.Pending{Position: after(nextText, 2), Data: []byte("about to")}}}},
		{name: "2.x, child of a merge, its pending state a number by mistake", config: singleStream, stream: orders, shard: "shardId-000000000005",
			row: row("leaseKey", text("shardId-000000000005"), "leaseCounter", integer(0), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text("TRIM_HORIZON"), "checkpointSubSequenceNumber", integer(0), "pendingCheckpointState", integer(0),
				"parentShardId", ss("shardId-000000000003", "shardId-000000000004"), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Checkpoint: horizon, Hash: lowHalf, Parents: []string{"shardId-000000000003", "shardId-000000000004"}}},
		{name: "2.x, ended by a split", config: singleStream, stream: orders, shard: "shardId-000000000006",
			row: row("leaseKey", text("shardId-000000000006"), "leaseOwner", text("w"), "leaseCounter", integer(9), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text("SHARD_END"), "checkpointSubSequenceNumber", integer(0), "childShardIds", ss("shardId-000000000007", "shardId-000000000008"),
				"parentShardId", ss("shardId-000000000001"), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "w", Counter: 9, Checkpoint: checkpoint.State{Position: stream.ShardEnd}, Hash: lowHalf,
				Parents: []string{"shardId-000000000001"}, Children: []string{"shardId-000000000007", "shardId-000000000008"}}},
		{name: "2.x, to begin at the latest record", config: singleStream, stream: orders, shard: "shardId-000000000009",
			row: row("leaseKey", text("shardId-000000000009"), "leaseCounter", integer(0), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text("LATEST"), "checkpointSubSequenceNumber", integer(0), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Checkpoint: checkpoint.State{Position: stream.Latest}, Hash: lowHalf}},
		{name: "2.x, to begin at a time that only its configuration knows", config: singleStream, stream: orders, shard: "shardId-000000000010",
			row: row("leaseKey", text("shardId-000000000010"), "leaseCounter", integer(0), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text("AT_TIMESTAMP"), "checkpointSubSequenceNumber", integer(0), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Checkpoint: horizon, Hash: lowHalf}},
		{name: "3.x, held", config: singleStream, stream: orders, shard: "shardId-000000000011",
			row: row("leaseKey", text("shardId-000000000011"), "leaseOwner", text("w"), "leaseCounter", integer(4711), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text(seqText), "checkpointSubSequenceNumber", integer(0), "throughputKBps", number("12.345678"),
				"startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "w", Counter: 4711, Checkpoint: checkpoint.State{Position: after(seqText, 0)}, Hash: lowHalf,
				Load: lease.Load{BytesPerSecond: 12.345678 * 1024}}},
		{name: "3.x, a handoff in flight", config: singleStream, stream: orders, shard: "shardId-000000000012",
			row: row("leaseKey", text("shardId-000000000012"), "leaseOwner", text("new"), "checkpointOwner", text("old"), "leaseCounter", integer(500),
				"ownerSwitchesSinceCheckpoint", integer(2), "checkpoint", text(seqText), "checkpointSubSequenceNumber", integer(0),
				"throughputKBps", number("0"), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "new", CheckpointOwner: "old", Counter: 500, Checkpoint: checkpoint.State{Position: after(seqText, 0)}, Hash: lowHalf}},
		{name: "3.5, single table", config: singleStream, stream: orders, shard: "shardId-000000000013",
			row: row("leaseKey", text("shardId-000000000013"), "entityType", text("LEASE"), "leaseOwner", text("w"), "leaseCounter", integer(1),
				"ownerSwitchesSinceCheckpoint", integer(1), "checkpoint", text(seqText), "checkpointSubSequenceNumber", integer(1),
				"throughputKBps", number("1024.5"), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "w", Counter: 1, Checkpoint: checkpoint.State{Position: after(seqText, 1)}, Hash: lowHalf,
				Load: lease.Load{BytesPerSecond: 1024.5 * 1024}}},

		{name: "2.x, multi-stream", config: multiStream, stream: orders, shard: "shardId-000000000000",
			row: row("leaseKey", text("123456789012:orders:1700000000:shardId-000000000000"), "streamName", text("123456789012:orders:1700000000"),
				"shardId", text("shardId-000000000000"), "leaseOwner", text("w"), "leaseCounter", integer(8), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text(seqText), "checkpointSubSequenceNumber", integer(0), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "w", Counter: 8, Checkpoint: checkpoint.State{Position: after(seqText, 0)}, Hash: lowHalf}},
		{name: "3.5, multi-stream, a child in a handoff", config: multiStream, stream: bills, shard: "shardId-000000000003",
			row: row("leaseKey", text("123456789012:bills:1710000000:shardId-000000000003"), "streamName", text("123456789012:bills:1710000000"),
				"shardId", text("shardId-000000000003"), "entityType", text("LEASE"), "leaseOwner", text("new"), "checkpointOwner", text("old"),
				"leaseCounter", integer(80), "ownerSwitchesSinceCheckpoint", integer(1), "checkpoint", text("TRIM_HORIZON"), "checkpointSubSequenceNumber", integer(0),
				"parentShardId", ss("shardId-000000000001"), "throughputKBps", number("0.5"), "startingHashKey", text("0"), "endingHashKey", text(halfHash)),
			want: lease.Lease{Owner: "new", CheckpointOwner: "old", Counter: 80, Checkpoint: horizon, Hash: lowHalf,
				Parents: []string{"shardId-000000000001"}, Load: lease.Load{BytesPerSecond: 512}}},
	}
}

// strangers are rows of other kinds, which a KCL 3.5 keeps in the same table, or
// that somebody else has left there.
func strangers() []item {
	return []item{
		row("leaseKey", text("Leader"), "entityType", text("LEADER"), "ownerName", text("w"), "leaseDuration", text("120000"), "recordVersionNumber", text("5f3a")),
		row("leaseKey", text("Migration3.0"), "entityType", text("CLIENT_VERSION_MIGRATION"), "cv", text("CLIENT_VERSION_3X"), "mb", text("w"), "mts", integer(1)),
		row("leaseKey", text("w"), "entityType", text("WORKER_METRIC_STATS"), "lut", integer(1_700_000_000), "sup", integer(1)),
		row("leaseKey", text("some-stream"), "entityType", text("STREAM"), "streamId", text("x")),
	}
}

func put(t *testing.T, s *Store, it item) {
	t.Helper()
	if _, err := s.api.PutItem(t.Context(), &sdk.PutItemInput{TableName: &s.config.Table, Item: it}); err != nil {
		t.Fatal(err)
	}
}

// raw returns a row as it is in the table.
func raw(t *testing.T, s *Store, key string) item {
	t.Helper()
	out, err := s.api.GetItem(t.Context(), &sdk.GetItemInput{TableName: &s.config.Table, Key: item{leaseKey: text(key)}, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Item { // sets have no order
		if v, ok := v.(*types.AttributeValueMemberSS); ok {
			slices.Sort(v.Value)
		}
	}
	return out.Item
}

// kcl opens a store for an application of Java's, on tables of its own.
func kcl(t *testing.T, api testdynamo.API, config Config, log *bytes.Buffer) *Store {
	t.Helper()
	config.Table = testdynamo.TableName()
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	s := open(t, api.Client(t, nil), config)
	log.Reset() // of what making the tables tells
	return s
}

// listing returns the leases that are listed, and the error with which that ends.
func listing(t *testing.T, s *Store) (all []lease.Lease, err error) {
	t.Helper()
	for l, err := range s.Leases(t.Context()) {
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

// inherit does for the rows of a KCL what a leader does first.
func inherit(t *testing.T, s *Store) {
	t.Helper()
	for _, id := range []stream.Identity{orders, bills} {
		if id.Name == s.config.SingleStream || s.config.MultiStream != nil {
			s.Inherit(id)
		}
	}
	if _, err := listing(t, s); err != nil {
		t.Fatal(err)
	}
}

// readable returns why the KCL would fail on a row, as far as it is known to.
func readable(it item) error {
	r := reader{item: it}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, name := range []string{"leaseKey", "leaseCounter", "ownerSwitchesSinceCheckpoint", "checkpoint", "checkpointSubSequenceNumber"} {
		if it[name] == nil {
			bad("%s is missing", name)
		}
	}
	r.integer("leaseCounter")
	r.integer("ownerSwitchesSinceCheckpoint")
	for _, name := range []string{"leaseOwner", "checkpointOwner"} {
		if it[name] != nil && r.text(name) == "" {
			bad("%s is empty", name)
		}
	}
	for _, name := range []string{"checkpoint", "pendingCheckpoint"} {
		switch s := r.text(name); s {
		case "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END":
		default:
			if it[name] != nil && !digits(s) {
				bad("%s is %q", name, s)
			}
		}
	}
	if (it["pendingCheckpoint"] == nil) != (it["pendingCheckpointSubSequenceNumber"] == nil) {
		bad("half a pending checkpoint")
	}
	for _, name := range []string{"parentShardId", "childShardIds"} {
		if v, there := it[name]; there {
			if set, ok := v.(*types.AttributeValueMemberSS); !ok || len(set.Value) == 0 {
				bad("%s is no set of strings, or empty: %v", name, v)
			}
		}
	}
	start, end := r.text("startingHashKey"), r.text("endingHashKey")
	if (start == "") != (end == "") {
		bad("half a hash range")
	} else if start != "" {
		var a, b big.Int
		if _, ok := a.SetString(start, 10); !ok {
			bad("startingHashKey %q", start)
		}
		if _, ok := b.SetString(end, 10); !ok {
			bad("endingHashKey %q", end)
		}
		if a.Cmp(&b) >= 0 {
			bad("hash range %s-%s", start, end)
		}
	}
	if kind := r.text("entityType"); kind != "" && kind != "LEASE" {
		bad("entityType %q", kind)
	}
	if (it["streamName"] == nil) != (it["shardId"] == nil) {
		bad("half a multi-stream row")
	} else if it["streamName"] != nil && r.text("leaseKey") != r.text("streamName")+":"+r.text("shardId") {
		bad("multi-stream row %q of %q and %q", r.text("leaseKey"), r.text("streamName"), r.text("shardId"))
	}
	return errors.Join(append(problems, r.err())...)
}

func TestRowsOfTheKCLAreRead(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		for name, config := range map[string]Config{"single": singleStream, "multi": multiStream} {
			var log bytes.Buffer
			s := kcl(t, api, config, &log)
			want := map[string]lease.Lease{}
			for _, f := range kclRows() {
				if f.config.MultiStream == nil == (config.MultiStream == nil) {
					if err := readable(f.row); err != nil && !strings.HasPrefix(f.name, "2.2") {
						t.Errorf("the fixture %s is wrong: %v", f.name, err)
					}
					put(t, s, f.row)
					want[f.lease().Key] = f.lease()
				}
			}
			for _, it := range strangers() {
				put(t, s, it)
			}
			put(t, s, row("leaseKey", text("shardId-000000000099"), "ShardID", text("x"), "AssignedTo", text("vmware")))
			inherit(t, s)

			var keys []string
			for l, err := range s.Leases(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, l.Key)
				if !reflect.DeepEqual(l, want[l.Key]) {
					t.Errorf("%s: row is read as\n%+v, want\n%+v", name, l, want[l.Key])
				}
				if rows, err := s.Read(t.Context(), l.Key); err != nil || len(rows) != 1 || !reflect.DeepEqual(rows[0], l) {
					t.Errorf("%s: read of %s: %+v, error %v", name, l.Key, rows, err)
				}
			}
			if len(keys) != len(want) {
				t.Errorf("%s: %d leases, want %d", name, len(keys), len(want))
			}
			if owned, err := s.Owned(t.Context(), "old"); err != nil || len(owned) != 1 || owned[0].CheckpointOwner != "old" {
				t.Errorf("%s: owned by the former owner of a handoff: %+v, error %v", name, owned, err)
			}
			// The damaged row is told of, once; those of other kinds are not.
			for range s.Leases(t.Context()) {
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "shardId-000000000099") {
				t.Errorf("%s: the log has %d lines, want one on the damaged row:\n%s", name, n, log.String())
			}
		}
	})
}

// A term of ours on a row of Java's leaves a row from which Java goes on.
// Whoever took such rows for none would begin their shards anew.
func TestATableOfAnotherConfigurationIsRefused(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		refused := func(s *Store, what string) {
			t.Helper()
			for _, err := range s.Leases(t.Context()) {
				if err != nil && strings.Contains(err.Error(), "Config.SingleStream") {
					return
				}
			}
			t.Errorf("%s: the listing has no error that names the configuration", what)
		}
		var log bytes.Buffer
		s := kcl(t, api, Config{Application: "app"}, &log)
		put(t, s, kclRows()[0].row)
		refused(s, "rows of the KCL, and neither SingleStream nor MultiStream")

		s = kcl(t, api, Config{Application: "app", SingleStream: "orders"}, &log) // and not its ARN
		put(t, s, kclRows()[0].row)
		s.Inherit(orders)
		refused(s, "the stream of the rows is misnamed")

		s = kcl(t, api, Config{Application: "app"}, &log)
		l := lease.NewLease(orders.Name, orders.ID(), stream.Shard{ID: "shardId-000000000000", Hash: stream.FullRange}, stream.TrimHorizon)
		if err := s.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		config := s.config
		config.SingleStream = orders.Name
		refused(handle(t, s.api, config), "our rows from before SingleStream was set")
	})
}

func TestAfterATermOfOursTheKCLGoesOn(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		for _, f := range kclRows() {
			if f.want.Checkpoint.Position == stream.ShardEnd {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				ctx := t.Context()
				var log bytes.Buffer
				s := kcl(t, api, f.config, &log)
				f.row["ofAnother"] = text("kept") // what nobody here knows
				put(t, s, f.row)
				inherit(t, s)
				l := readOne(t, s, f.lease().Key)
				swap := func(next lease.Lease) {
					t.Helper()
					var err error
					if l, err = s.Swap(ctx, l, next); err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(l, readOne(t, s, l.Key)) {
						t.Fatalf("swap returned\n%+v, the row is\n%+v", l, readOne(t, s, l.Key))
					}
				}
				before := l
				swap(lease.Forced(lease.Assigned(l, "millrace#1")))
				swap(lease.Taken(l, "millrace#1"))
				done, err := lease.Checkpointed(l, checkpoint.State{Position: after(nextText, 3), Progress: []byte("ahead")})
				if err != nil {
					t.Fatal(err)
				}
				done.Load = lease.Load{BytesPerSecond: 2048.123456789, RecordsPerSecond: 7}
				swap(done)
				swap(lease.Released(l, "millrace#1"))

				key := f.row[leaseKey].(*types.AttributeValueMemberS).Value
				got := raw(t, s, key)
				if err := readable(got); err != nil {
					t.Errorf("the KCL cannot read it: %v", err)
				}
				want := item{}
				for name, v := range f.row {
					switch name {
					case leaseOwner, checkpointOwner, pendingNumber, pendingSub, pendingState:
					default:
						want[name] = v
					}
				}
				want[leaseCounter] = integer(before.Counter + 4)
				want[checkpointNumber], want[checkpointSub] = text(nextText), integer(3)
				want[ownerSwitches] = integer(1) // the release, after the checkpoint
				want[throughput] = number("2.000121")
				want[shardOf] = shardAttribute(f.stream.Name, f.stream.ID(), f.shard)
				want[millrace] = got[millrace]
				if !reflect.DeepEqual(got, want) {
					t.Errorf("the row is\n%s, want\n%s", show(got), show(want))
				}

				if log.Len() > 0 {
					t.Errorf("a term that nobody disturbs is told of:\n%s", log.String())
				}
				javaTakes(t, s, key, before.Counter+4)
				if _, err := s.Swap(ctx, l, l); !errors.Is(err, lease.ErrConflict) {
					t.Errorf("a swap after Java took the lease: %v, want %v", err, lease.ErrConflict)
				}
				if !strings.Contains(log.String(), "stop the KCL application") {
					t.Errorf("nobody is told that a KCL is at work, too:\n%s", log.String())
				}
				stolen := readOne(t, s, l.Key)
				if stolen.Owner != "java" || stolen.Term != 0 || stolen.Checkpoint.Progress != nil || stolen.Checkpoint.Position != after(nextText, 3) {
					t.Errorf("after Java took it the row is read as %+v", stolen)
				}
			})
		}
	})
}

// javaTakes does what the KCL's takeLease does.
func javaTakes(t *testing.T, s *Store, key string, counter int64) {
	t.Helper()
	_, err := s.api.UpdateItem(t.Context(), &sdk.UpdateItemInput{
		TableName: &s.config.Table, Key: item{leaseKey: text(key)},
		ConditionExpression:       aws.String("leaseCounter = :n"),
		UpdateExpression:          aws.String("SET leaseOwner = :w, leaseCounter = :m REMOVE checkpointOwner ADD ownerSwitchesSinceCheckpoint :one"),
		ExpressionAttributeValues: item{":n": integer(counter), ":m": integer(counter + 1), ":w": text("java"), ":one": integer(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func show(it item) string {
	var b strings.Builder
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range it {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "  %s: %+v\n", name, it[name])
	}
	return b.String()
}

// The KCL hands a lease off without touching its counter: the owner is a guard, too.
func TestAHandoffByJavasLeaderMakesOurSwapsConflict(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		s := kcl(t, api, singleStream, &bytes.Buffer{})
		held := lease.NewLease(orders.Name, orders.ID(), stream.Shard{ID: "shardId-000000000000", Hash: stream.FullRange}, stream.TrimHorizon)
		held.Counter, held.Owner, held.Term = 1000, "millrace#1", 1000
		create(t, s, held)
		_, err := s.api.UpdateItem(t.Context(), &sdk.UpdateItemInput{
			TableName: &s.config.Table, Key: item{leaseKey: text("shardId-000000000000")},
			ConditionExpression:       aws.String("leaseOwner = :old AND attribute_not_exists(checkpointOwner)"),
			UpdateExpression:          aws.String("SET leaseOwner = :new, checkpointOwner = :old"),
			ExpressionAttributeValues: item{":old": text("millrace#1"), ":new": text("java")},
		})
		if err != nil {
			t.Fatal(err)
		}
		row, err := s.Swap(t.Context(), held, held)
		if !errors.Is(err, lease.ErrConflict) {
			t.Fatalf("swap: %v, want %v", err, lease.ErrConflict)
		}
		if lease.StandingOf(row, "millrace#1", 1000) != lease.Leaving {
			t.Errorf("the row says %v of our term, want leaving: %+v", lease.StandingOf(row, "millrace#1", 1000), row)
		}
		if row, err = s.Swap(t.Context(), row, lease.Released(row, "millrace#1")); err != nil || row.Owner != "java" || row.CheckpointOwner != "" {
			t.Errorf("release: %+v, %v", row, err)
		}
	})
}

func TestRowsThatAreCreatedAreTheKCLs(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		for _, c := range []struct {
			config Config
			key    string
			extra  item
		}{
			{singleStream, "shardId-000000000007", item{}},
			{multiStream, "123456789012:orders:1700000000:shardId-000000000007", item{
				"streamName": text("123456789012:orders:1700000000"), "shardId": text("shardId-000000000007")}},
		} {
			s := kcl(t, api, c.config, &bytes.Buffer{})
			l := lease.NewLease(orders.Name, orders.ID(), stream.Shard{
				ID: "shardId-000000000007", Hash: lowHalf, Parents: []string{"shardId-000000000005", "shardId-000000000002"},
			}, stream.TrimHorizon)
			l.Counter = 1_800_000_000_000
			create(t, s, l)
			got := raw(t, s, c.key)
			want := row("leaseKey", text(c.key), "leaseCounter", integer(1_800_000_000_000), "ownerSwitchesSinceCheckpoint", integer(0),
				"checkpoint", text("TRIM_HORIZON"), "checkpointSubSequenceNumber", integer(0),
				"parentShardId", ss("shardId-000000000002", "shardId-000000000005"),
				"startingHashKey", text("0"), "endingHashKey", text(halfHash), "entityType", text("LEASE"),
				"millraceShard", shardAttribute(orders.Name, orders.ID(), "shardId-000000000007"), "millrace", got["millrace"])
			for name, v := range c.extra {
				want[name] = v
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the row is\n%s, want\n%s", show(got), show(want))
			}
			if err := readable(got); err != nil {
				t.Error(err)
			}
			if again := readOne(t, s, l.Key); !reflect.DeepEqual(again, l) {
				t.Errorf("read back as\n%+v, want\n%+v", again, l)
			}
		}
	})
}

// A stream that was deleted and created again has the same shard IDs, and the KCL's
// table the same keys for them. Rows know which incarnation they are of.
func TestRowsOfAFormerIncarnationOfTheStreamAreNotItsOwn(t *testing.T) {
	api := testdynamo.Any(t)
	for name, config := range map[string]Config{"single": singleStream, "multi": multiStream} {
		s := kcl(t, api, config, &bytes.Buffer{})
		f := kclRows()[0] // which nobody of us ever writes
		f.row[leaseKey] = text(s.layout.tableKey(f.lease().Key))
		put(t, s, f.row)
		inherit(t, s)
		shard := stream.Shard{ID: "shardId-000000000001", Hash: stream.FullRange}
		old := lease.NewLease(orders.Name, orders.ID(), shard, stream.TrimHorizon)
		old.Counter = 1000
		create(t, s, old)

		renewed := stream.Identity{Name: orders.Name, Created: orders.Created.Add(24 * time.Hour)}
		s = handle(t, s.api, s.config)
		s.Inherit(renewed)
		listed, err := listing(t, s)
		if err != nil || len(listed) != 2 || listed[0].StreamID != orders.ID() || listed[1].StreamID != orders.ID() {
			t.Fatalf("%s: listed as %+v, error %v, want two leases of the former incarnation", name, listed, err)
		}
		next := lease.NewLease(renewed.Name, renewed.ID(), shard, stream.TrimHorizon)
		next.Counter = 2000
		create(t, s, next) // there is no room for it yet
		if rows, err := s.Read(t.Context(), next.Key); err != nil || len(rows) != 0 {
			t.Errorf("%s: the new shard has the rows %+v, error %v", name, rows, err)
		}
		for range 20 { // maps have no order
			if rows, err := s.Read(t.Context(), next.Key, old.Key); err != nil || len(rows) != 1 || rows[0].Key != old.Key {
				t.Fatalf("%s: both incarnations in one read: %+v, error %v, want the former one", name, rows, err)
			}
		}
		if err := s.Delete(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		create(t, s, next)
		if got := readOne(t, s, next.Key); !reflect.DeepEqual(got, next) {
			t.Errorf("%s: got %+v, want %+v", name, got, next)
		}
	}
}

// The stream itself says who it is, so nothing that is written down somewhere, and
// off by some seconds, can make the rows of a KCL those of another incarnation.
func TestTheRowsOfAKCLAreThoseOfThePresentIncarnation(t *testing.T) {
	api := testdynamo.Any(t)
	for name, config := range map[string]Config{"single": singleStream, "multi": multiStream} {
		var log bytes.Buffer
		s := kcl(t, api, config, &log)
		for _, f := range kclRows() {
			if f.config.MultiStream == nil == (config.MultiStream == nil) {
				put(t, s, f.row)
			}
		}
		// Nobody knows yet whose they are. They are told of, in one line for each stream.
		if rows, err := listing(t, s); err != nil || len(rows) != 0 {
			t.Errorf("%s: before the stream has answered: %+v, error %v", name, rows, err)
		}
		if n := strings.Count(log.String(), "\n"); n > 2 || !strings.Contains(log.String(), orders.Name) {
			t.Errorf("%s: the log has %d lines:\n%s", name, n, log.String())
		}
		log.Reset()
		present := stream.Identity{Name: orders.Name, Created: orders.Created.Add(2 * time.Second)}
		s.Inherit(present)
		s.Inherit(bills)
		rows, err := listing(t, s)
		if err != nil || len(rows) == 0 {
			t.Fatalf("%s: %+v, error %v", name, rows, err)
		}
		for _, l := range rows {
			if l.Stream == orders.Name && l.StreamID != present.ID() {
				t.Errorf("%s: %s is of %s, want %s", name, l.Shard, l.StreamID, present.ID())
			}
			done := lease.Sync(present, []stream.Shard{{ID: l.Shard, Hash: l.Hash}}, []lease.Lease{l}, stream.Latest)
			if len(done.Retire) > 0 {
				t.Errorf("%s: shard sync retires %+v", name, done.Retire)
			}
		}
		if told := strings.Contains(log.String(), "another epoch"); told != (config.MultiStream != nil) {
			t.Errorf("%s: the log tells of another epoch: %v\n%s", name, told, log.String())
		}
		counters := map[string]int64{}
		for _, l := range rows {
			counters[l.Key] = l.Counter
		}
		for _, f := range kclRows() {
			if counter, there := counters[f.lease().Key]; there && counter != f.want.Counter {
				t.Errorf("%s: the mark moved the KCL's counter of %s from %d to %d", name, f.name, f.want.Counter, counter)
			}
		}
	}
}

// Two leaders for a moment, one of which has not heard yet that the stream was
// created again; or a leader that lists the rows again.
func TestARowIsMarkedOnce(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		s := kcl(t, api, singleStream, &bytes.Buffer{})
		f := kclRows()[0]
		put(t, s, f.row)
		first, err := s.mark(t.Context(), f.shard, orders, f.shard)
		if err != nil {
			t.Fatal(err)
		}
		later := stream.Identity{Name: orders.Name, Created: orders.Created.Add(time.Hour)}
		again, err := s.mark(t.Context(), f.shard, later, f.shard)
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Errorf("the second mark makes of\n%s\n%s, error %v", show(first), show(again), err)
		}
		if it, err := s.mark(t.Context(), "gone", orders, "gone"); err != nil || it != nil || raw(t, s, "gone") != nil {
			t.Errorf("a row that is gone is marked as %+v, error %v", it, err)
		}
	})
}

func TestAMultiStreamTableTakesNoRowThatTheKCLCannotRead(t *testing.T) {
	s := kcl(t, testdynamo.Any(t), multiStream, &bytes.Buffer{})
	other := lease.NewLease("arn:aws:kinesis:eu-central-1:123456789012:stream/new", "arn:aws:kinesis:eu-central-1:123456789012:stream/new:5", stream.Shard{ID: "0"}, stream.TrimHorizon)
	if err := s.Create(t.Context(), other); err == nil || !strings.Contains(err.Error(), "Config.MultiStream") || !strings.Contains(err.Error(), other.Stream) {
		t.Errorf("got error %v, want one that names the stream and Config.MultiStream", err)
	}
	if rows, err := listing(t, s); err != nil || len(rows) != 0 {
		t.Errorf("%+v, error %v", rows, err)
	}
}

func TestATimestampOfTheConfigurationIsKnown(t *testing.T) {
	config := singleStream
	config.Timestamp = time.UnixMilli(1_750_000_000_000)
	f := newLayout(config)
	p, err := f.position("AT_TIMESTAMP", 0)
	if err != nil || p != stream.AtTime(config.Timestamp) {
		t.Fatalf("AT_TIMESTAMP is %v, error %v", p, err)
	}
	if text, _, same := f.kclPosition(p); text != "AT_TIMESTAMP" || !same {
		t.Errorf("it goes back as %s", text)
	}
	if text, _, same := f.kclPosition(stream.AtTime(config.Timestamp.Add(time.Second))); text != "TRIM_HORIZON" || same {
		t.Errorf("another time goes back as %s", text)
	}
}

func TestARowThatCannotBeUnderstoodIsAnErrorToWhoAsksForIt(t *testing.T) {
	api := testdynamo.Any(t)
	s := kcl(t, api, singleStream, &bytes.Buffer{})
	put(t, s, row("leaseKey", text("shardId-0"), "leaseCounter", integer(5), "checkpoint", text("someday")))
	key := lease.Key(orders.ID(), "shardId-0")
	if rows, err := s.Read(context.WithoutCancel(t.Context()), key); !errors.Is(err, lease.ErrUnreadable) || !strings.Contains(err.Error(), "someday") {
		t.Errorf("read: %+v, error %v; want one that names the value", rows, err)
	}
	if _, err := s.Swap(t.Context(), lease.Lease{Key: key, Counter: 4}, lease.Lease{}); err == nil || errors.Is(err, lease.ErrConflict) {
		t.Errorf("swap: error %v, want one that is no conflict", err)
	}
}
