package main

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

func TestTheAnswersAreTheSameRecordsInBothForms(t *testing.T) {
	set := answerSet{pages: 3, records: 20, size: 100}
	web := httptest.NewServer(set.handler())
	defer web.Close()
	read := func(e kinesis.Encoding) []stream.Record {
		a := newAPI(web.URL)
		defer a.close()
		s, err := kinesis.New(a.sdkClient(), consumedStream, kinesis.Config{Encoding: e, MinPoll: time.Millisecond, Logger: logs.Quiet})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), consumedShard, stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var all []stream.Record
		for len(all) < set.pages*set.records {
			var b stream.Batch
			if err := r.Next(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			all = append(all, b.Records...)
		}
		return all
	}
	inJSON, inCBOR := read(kinesis.JSON), read(kinesis.CBOR)
	if len(inJSON) != len(inCBOR) || len(inJSON) != set.pages*set.records {
		t.Fatalf("%d records in JSON, %d in CBOR, want %d", len(inJSON), len(inCBOR), set.pages*set.records)
	}
	for i, j := range inJSON {
		c := inCBOR[i]
		if j.Sequence != c.Sequence || j.PartitionKey != c.PartitionKey || !bytes.Equal(j.Data, c.Data) || !j.Arrival.Equal(c.Arrival) {
			t.Errorf("record %d is %v in JSON, %v in CBOR", i, j, c)
		}
		if len(j.PartitionKey)+len(j.Data) != set.size {
			t.Errorf("record %d has %d bytes, want %d", i, len(j.PartitionKey)+len(j.Data), set.size)
		}
	}
}

func TestAServerThatDoesNotStartSaysWhy(t *testing.T) {
	_, err := startProcess(inRole(answersRole, "nonsense"))
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error %v, want one with its words", err)
	}
}
