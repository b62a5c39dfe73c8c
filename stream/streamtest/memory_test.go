package streamtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestAMemoryStreamWorksInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := streamtest.NewMemory("orders", 1)
		r, err := m.Open(t.Context(), "shardId-000000000000", stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-time.After(time.Hour)
			m.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: []byte("late")})
		}()
		start := time.Now()
		var b stream.Batch
		if err := r.Next(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != time.Hour {
			t.Errorf("Next waited %v, want an hour of virtual time", waited)
		}
		if !b.Records[0].Arrival.Equal(start.Add(time.Hour)) {
			t.Errorf("the record arrived at %v", b.Records[0].Arrival)
		}
	})
}
