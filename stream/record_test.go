package stream_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

func TestResettingABatchKeepsItsLimitsAndItsMemory(t *testing.T) {
	b := stream.Batch{MaxRecords: 2, MaxBytes: 3, Records: make([]stream.Record, 5, 9), Bytes: 4, Footprint: 5, Behind: time.Second}
	b.Records[0].Data = []byte("kept alive")
	first := &b.Records[0]
	b.Reset()
	if b.MaxRecords != 2 || b.MaxBytes != 3 || len(b.Records) != 0 || cap(b.Records) != 9 || b.Bytes != 0 || b.Footprint != 0 || b.Behind != 0 {
		t.Errorf("%+v", b)
	}
	if first.Data != nil {
		t.Error("the former records keep their payloads alive")
	}
}

func TestSizeCountsPayloadAndPartitionKey(t *testing.T) {
	if n := (&stream.Record{PartitionKey: "abc", Data: make([]byte, 10)}).Size(); n != 13 {
		t.Errorf("record: %d", n)
	}
	if n := (&stream.Entry{PartitionKey: "abc", Data: make([]byte, 10)}).Size(); n != 13 {
		t.Errorf("entry: %d", n)
	}
}

func TestTheIdentityOfAStreamIsItsNameAndBirth(t *testing.T) {
	if got := (stream.Identity{Name: "orders", Created: time.UnixMilli(1700000000123)}).ID(); got != "orders:1700000000123" {
		t.Error(got)
	}
}
