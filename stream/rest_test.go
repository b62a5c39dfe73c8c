package stream_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
)

func TestABatchIsGivenOutInPartsWithinTheirLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := &stream.Batch{Footprint: rapid.IntRange(0, 1<<16).Draw(t, "footprint"), Behind: time.Second}
		for i := range rapid.IntRange(1, 50).Draw(t, "records") {
			r := stream.Record{
				Sequence:     stream.MakeSequence(0, 0, uint64(i)),
				PartitionKey: fmt.Sprint("key-", i),
				Data:         bytes.Repeat([]byte{byte(i)}, rapid.IntRange(0, 500).Draw(t, "size")),
				Arrival:      time.UnixMilli(int64(i)),
			}
			whole.Records = append(whole.Records, r)
			whole.Bytes += r.Size()
		}
		rest := stream.NewRest(whole)
		var got []stream.Record
		for !rest.Empty() {
			b := stream.Batch{
				MaxRecords:   rapid.IntRange(0, 10).Draw(t, "max records"),
				MaxBytes:     rapid.IntRange(0, 2000).Draw(t, "max bytes"),
				MaxFootprint: rapid.IntRange(0, 1<<16).Draw(t, "max footprint"),
			}
			rest.Fill(&b)
			size := 0
			for i := range b.Records {
				size += b.Records[i].Size()
			}
			last := len(got) + len(b.Records) - 1
			switch {
			case len(b.Records) == 0, b.Bytes != size, b.Footprint < b.Bytes,
				b.MaxRecords > 0 && len(b.Records) > b.MaxRecords,
				b.MaxBytes > 0 && b.Bytes > b.MaxBytes && len(b.Records) > 1,
				b.MaxFootprint > 0 && b.Footprint > max(b.MaxFootprint, 2*b.Bytes),
				b.Behind != time.Second+whole.Records[len(whole.Records)-1].Arrival.Sub(whole.Records[last].Arrival):
				t.Fatalf("%d records of %d bytes with %+v", len(b.Records), size, b)
			}
			got = append(got, b.Records...)
		}
		if !slices.EqualFunc(got, whole.Records, func(a, b stream.Record) bool {
			return a.Sequence == b.Sequence && a.PartitionKey == b.PartitionKey && bytes.Equal(a.Data, b.Data)
		}) {
			t.Fatalf("%v was given out as %v", whole.Records, got)
		}
	})
}
