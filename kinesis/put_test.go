package kinesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

func TestPutsGoInGroupsThatKinesisTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 2)
		st := s.stream(Config{})
		var entries []stream.Entry
		for i := range 1203 {
			entries = append(entries, stream.Entry{PartitionKey: fmt.Sprintf("key-%d", i), Data: fmt.Append(nil, i)})
		}
		for range 3 {
			entries = append(entries, stream.Entry{PartitionKey: "large", Data: make([]byte, 4<<20)})
		}
		entries = append(entries, stream.Entry{PartitionKey: "largest", Data: make([]byte, 10<<20-7)}, stream.Entry{PartitionKey: "small"})
		results, err := st.Put(t.Context(), entries...)
		if err != nil || len(results) != len(entries) {
			t.Fatalf("%d results, %v", len(results), err)
		}
		for i, r := range results {
			if r.Err != nil || r.Shard == "" {
				t.Errorf("entry %d: %+v", i, r)
			}
		}
		for i, group := range s.puts {
			size := 0
			for _, e := range group {
				size += len(*e.PartitionKey) + len(e.Data)
			}
			if len(group) > 500 || len(group) > 1 && size > 5<<20 {
				t.Errorf("request %d has %d records and %d bytes", i, len(group), size)
			}
		}
		if n := s.count("DescribeStreamSummary"); n != 1 {
			t.Errorf("how large records may be was asked %d times", n)
		}
	})
}

func TestWhatIsRefusedIsPutAgainInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		refusals := map[string]int{}
		s.refuseRecords = func(e types.PutRecordsRequestEntry, n int) string {
			refusals[string(e.Data)]++
			switch {
			case e.Data[0] == 'a' && refusals[string(e.Data)] < 4:
				return "ProvisionedThroughputExceededException"
			case e.Data[0] == 'b' && refusals[string(e.Data)] < 2:
				return "InternalFailure"
			}
			return ""
		}
		data := strings.Fields("c0 a0 b0 c1 a1 b1 c2 a2")
		var entries []stream.Entry
		for _, d := range data {
			entries = append(entries, stream.Entry{PartitionKey: "k", Data: []byte(d)})
		}
		results, err := s.stream(Config{}).Put(t.Context(), entries...)
		if err != nil {
			t.Fatal(err)
		}
		var stored []string
		for i, record := range s.shards[0].records {
			stored = append(stored, string(record.Data))
			at := strings.Index(strings.Join(data, " "), stored[i]) / 3
			if r := results[at]; r.Err != nil || r.Sequence.String() != *record.SequenceNumber {
				t.Errorf("entry %s: %+v, is stored at %s", data[at], r, *record.SequenceNumber)
			}
		}
		if got := strings.Join(stored, " "); got != "c0 c1 c2 b0 b1 a0 a1 a2" {
			t.Errorf("stored: %s", got)
		}
	})
}

func TestAPutGivesUpWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.refuseRecords = func(e types.PutRecordsRequestEntry, n int) string {
			if string(e.Data) == "never" {
				return "ProvisionedThroughputExceededException"
			}
			return ""
		}
		begin := time.Now()
		results, err := s.stream(Config{Timeout: 10 * time.Second}).Put(t.Context(),
			stream.Entry{PartitionKey: "k", Data: []byte("good")}, stream.Entry{PartitionKey: "k", Data: []byte("never")})
		if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, stream.ErrThrottled) {
			t.Errorf("%+v, %v", results, err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		// All of a request may be refused, too.
		s.fault = func(string, int) error { return &types.LimitExceededException{} }
		if results, err = s.stream(Config{Timeout: time.Second}).Put(t.Context(), stream.Entry{PartitionKey: "k"}); err != nil || !errors.Is(results[0].Err, stream.ErrThrottled) {
			t.Errorf("%+v, %v", results, err)
		}
	})
}

// Who puts the refused ones again has the records of each key in their order.
func TestBehindAnEntryThatWasGivenUpNoneOfItsKeyIsPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		full := true
		s.refuseRecords = func(e types.PutRecordsRequestEntry, n int) string {
			if full && (string(e.Data) == "400" || *e.PartitionKey == "c") {
				return "ProvisionedThroughputExceededException"
			}
			return ""
		}
		var entries []stream.Entry
		for i := range 3000 {
			entries = append(entries, stream.Entry{PartitionKey: string("ab"[i%2]), Data: fmt.Append(nil, i)})
		}
		for i := 600; i < 3000; i += 100 {
			entries[i].PartitionKey = "c" // which is refused in each request from the second on
		}
		st := s.stream(Config{Timeout: 10 * time.Second})
		began := time.Now()
		results, err := st.Put(t.Context(), entries...)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("it took %v", took)
		}
		var again []stream.Entry
		for i, r := range results {
			refused := i == 400 || i > 499 && entries[i].PartitionKey != "b"
			if refused != errors.Is(r.Err, stream.ErrThrottled) || !refused && r.Err != nil {
				t.Fatalf("entry %d of key %s: %v", i, entries[i].PartitionKey, r.Err)
			}
			if refused {
				again = append(again, entries[i])
			}
		}
		full = false
		if _, err := st.Put(t.Context(), again...); err != nil {
			t.Fatal(err)
		}
		last := map[string]int{}
		for _, r := range s.shards[0].records {
			n, _ := strconv.Atoi(string(r.Data))
			if n < last[*r.PartitionKey] && n != 400 { // in whose request others were taken
				t.Fatalf("key %s: %d is stored behind %d", *r.PartitionKey, n, last[*r.PartitionKey])
			}
			last[*r.PartitionKey] = n
		}
		if n := len(s.shards[0].records); n != len(entries) {
			t.Errorf("%d records are stored", n)
		}
	})
}

func TestAPutEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.refuseRecords = func(e types.PutRecordsRequestEntry, n int) string {
			if string(e.Data) == "never" {
				return "InternalFailure"
			}
			return ""
		}
		why := errors.New("the test wants it")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		results, err := s.stream(Config{}).Put(ctx, stream.Entry{PartitionKey: "k", Data: []byte("never")}, stream.Entry{PartitionKey: "k", Data: []byte("good")})
		if err != nil || !errors.Is(results[0].Err, why) || results[1].Err != nil {
			t.Errorf("%+v, %v", results, err)
		}
	})
}

func TestATroubledRequestLeavesTheEarlierOnesTheirResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		trouble := errors.New("the cable is out")
		s.fault = func(op string, n int) error {
			if op == "PutRecords" && n == 2 {
				return trouble
			}
			return nil
		}
		entries := make([]stream.Entry, 1200)
		for i := range entries {
			entries[i] = stream.Entry{PartitionKey: "k"}
		}
		entries[900].PartitionKey = "" // refused by itself
		results, err := s.stream(Config{}).Put(t.Context(), entries...)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if (i < 500) != (r.Err == nil) || i >= 500 && i != 900 && !errors.Is(r.Err, trouble) {
				t.Fatalf("entry %d: %+v", i, r)
			}
		}
		if s.fault = func(string, int) error { return trouble }; second(s.stream(Config{}).Put(t.Context(), entries...)) == nil {
			t.Error("nothing was put, and there is no error")
		}
	})
}

func TestEntriesThatKinesisWouldRefuseAreRefusedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		bad := []stream.Entry{
			{PartitionKey: ""},
			{PartitionKey: strings.Repeat("ü", 257)},
			{PartitionKey: "\xff"},
			{PartitionKey: "k", Data: bytes.Repeat([]byte("x"), 10<<20)},
		}
		good := stream.Entry{PartitionKey: strings.Repeat("ü", 256)}
		for _, e := range bad {
			results, err := s.stream(Config{}).Put(t.Context(), good, e, good)
			if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, ErrEntry) || results[2].Err != nil {
				t.Errorf("key %.10q, %d bytes: %+v, %v", e.PartitionKey, len(e.Data), results, err)
			}
		}
	})
}
