package server

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server/internal/state"
	"github.com/millrace/millrace/stream"
)

// know changes what the server knows of a stream.
func know(t testing.TB, s *Server, name string, f func(*state.Stream)) {
	t.Helper()
	d, err := s.state.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.End()
	created, _, err := s.created(name)
	if err != nil {
		t.Fatal(err)
	}
	f(d.Stream(name, created))
	if err := d.Save(time.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsNeedNoPartitionKeyWhereTheStreamSharesThemOut(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{Shards: 4})
	const one = `{"StreamName":"orders","Records":[{"Data":"eA=="}]}`
	h.post("PutRecords", one).wantFault(t, "ValidationException", "")
	know(t, h.server, "orders", func(s *state.Stream) { s.OnDemand, s.AnyShard = true, true })
	in := &kinesis.PutRecordsInput{StreamName: aws.String("orders")}
	for i := range 100 {
		e := types.PutRecordsRequestEntry{Data: []byte("x")}
		if i >= 50 {
			e.PartitionKey = aws.String("the same")
		}
		in.Records = append(in.Records, e)
	}
	out, err := h.client().PutRecords(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	shards := map[string]int{}
	for _, r := range out.Records {
		shards[*r.ShardId]++
	}
	if len(shards) != 4 {
		t.Errorf("100 records are shared out as %v", shards)
	}
	keyless := 0
	for id := range shards {
		for _, r := range h.get(h.iterator(&kinesis.GetShardIteratorInput{ShardId: &id, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}), 0).Records {
			if r.PartitionKey == nil {
				keyless++
			} else if *r.PartitionKey != "the same" {
				t.Errorf("a record has the key %q", *r.PartitionKey)
			}
		}
	}
	if keyless != 50 {
		t.Errorf("%d records have no key, want 50", keyless)
	}
	if _, err := h.client().PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("orders"), Data: []byte("x")}); err != nil {
		t.Error(err)
	}
}

func TestRecordsOfAnEncryptedStreamSaySo(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 1)
	know(t, h.server, "orders", func(s *state.Stream) { s.KeyID = "alias/aws/kinesis" })
	one, err := h.client().PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("orders"), Data: []byte("x"), PartitionKey: aws.String("k")})
	if err != nil || one.EncryptionType != types.EncryptionTypeKms {
		t.Errorf("%v, %v", one, err)
	}
	many, err := h.client().PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: aws.String("orders"), Records: []types.PutRecordsRequestEntry{{Data: []byte("x"), PartitionKey: aws.String("k")}}})
	if err != nil || many.EncryptionType != types.EncryptionTypeKms {
		t.Errorf("%v, %v", many, err)
	}
	if got := h.get(h.oldest(), 0).Records; len(got) != 3 || got[0].EncryptionType != types.EncryptionTypeKms {
		t.Errorf("%+v", got)
	}
	e := nextEvent(t, h.subscribe(consumer(t, h.server, "orders", "app"), "0", types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}))
	if len(e.Records) != 3 || e.Records[0].EncryptionType != types.EncryptionTypeKms {
		t.Errorf("%+v", e.Records)
	}
}

func TestAStreamThatIsBeingCreatedTakesAndHasNoRecords(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	it := h.oldest()
	know(t, h.server, "orders", func(s *state.Stream) { s.Phase.Enter(state.Creating, time.Now(), time.Hour) })
	for operation, body := range map[string]string{
		"PutRecord":        `{"StreamName":"orders","Data":"","PartitionKey":"k"}`,
		"PutRecords":       `{"StreamName":"orders","Records":[{"Data":"","PartitionKey":"k"}]}`,
		"GetShardIterator": `{"StreamName":"orders","ShardId":"0","ShardIteratorType":"LATEST"}`,
		"GetRecords":       `{"ShardIterator":"` + it + `"}`,
	} {
		h.post(operation, body).wantFault(t, "ResourceNotFoundException", "Stream orders under account 000000000000 not found.")
	}
}

func TestAConsumerThatIsBeingCreatedCannotSubscribe(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	arn := consumer(t, h.server, "orders", "app")
	know(t, h.server, "orders", func(s *state.Stream) {
		s.Consumers[0].Phase.Enter(state.Creating, time.Now(), time.Hour)
	})
	a := h.post("SubscribeToShard", `{"ConsumerARN":"`+arn+`","ShardId":"0","StartingPosition":{"Type":"LATEST"}}`)
	a.wantFault(t, "ResourceInUseException", "")
	if !strings.HasSuffix(a.message, " is not in ACTIVE status.") || !strings.HasPrefix(a.message, "Consumer app with creation timestamp ") {
		t.Error(a.message)
	}
}

func TestAnIteratorIsNoLongerThanClientsAllow(t *testing.T) {
	h := start(t, Config{})
	name := strings.Repeat("n", 128)
	h.stream(name, engine.StreamConfig{})
	v, err := h.server.lookAt(name)
	if err != nil {
		t.Fatal(err)
	}
	largest := stream.MakeSequence(1<<64-1, 1<<64-1, 1<<64-1)
	if it := h.server.issue(v, "shardId-000000999999", stream.After(largest)); len(it) > 512 {
		t.Errorf("an iterator has %d characters", len(it))
	}
}

func TestTheMoreIsUnderWayTheLessEachReadGets(t *testing.T) {
	const limit = 256 << 20
	r := newAdmission(limit, 0)
	total := 0
	var granted []int
	for range 1000 {
		n := r.portion(mostRead, leastRead)
		r.leave(-n)
		if len(granted) > 0 && n > granted[len(granted)-1] || n < leastRead {
			t.Fatalf("%d bytes after %v", n, granted)
		}
		granted = append(granted, n)
		total += n
	}
	if granted[0] != mostRead || total > limit+1000*leastRead {
		t.Errorf("the first of a thousand gets %d bytes, all get %d", granted[0], total)
	}
	for _, n := range granted {
		r.leave(n)
	}
	if n := r.portion(mostRead, leastRead); n != mostRead {
		t.Errorf("when all is given back, one gets %d bytes", n)
	}
}
