package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
)

func TestPutRecordsStoresWhatTheSDKSends(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{Shards: 3})
	in := &kinesis.PutRecordsInput{StreamName: aws.String("orders")}
	for i := range 500 {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{
			PartitionKey: aws.String(fmt.Sprintf("key \"%d\" é漢😀\n", i)), Data: []byte(strings.Repeat(string(rune('a'+i%26)), i)),
		})
	}
	out, err := h.client().PutRecords(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if *out.FailedRecordCount != 0 || len(out.Records) != 500 || out.EncryptionType != "" {
		t.Fatalf("%d of %d failed", *out.FailedRecordCount, len(out.Records))
	}
	got := map[string]types.Record{}
	for i := range 3 {
		it := h.iterator(&kinesis.GetShardIteratorInput{ShardId: aws.String(fmt.Sprint(i)), ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
		for _, r := range h.get(it, 0).Records {
			got[*r.SequenceNumber] = r
		}
	}
	if len(got) != 500 {
		t.Fatalf("%d records are there, want 500", len(got))
	}
	for i, r := range out.Records {
		stored := got[*r.SequenceNumber]
		if stored.PartitionKey == nil || *stored.PartitionKey != *in.Records[i].PartitionKey || string(stored.Data) != string(in.Records[i].Data) {
			t.Errorf("record %d is %+v", i, stored)
		}
	}
}

func TestPutRecordsTellsWhichRecordsWereBeyondTheLimits(t *testing.T) {
	h := start(t, Config{Limits: engine.KinesisLimits})
	h.stream("orders", engine.StreamConfig{Limits: engine.KinesisLimits})
	in := &kinesis.PutRecordsInput{StreamName: aws.String("orders")}
	for range 5 {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: make([]byte, 300<<10)})
	}
	out, err := h.client().PutRecords(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if *out.FailedRecordCount != 2 {
		t.Fatalf("%d records failed, want 2 of 1.5 MiB", *out.FailedRecordCount)
	}
	for i, r := range out.Records {
		if failed := i >= 3; failed != (r.ErrorCode != nil) || failed == (r.SequenceNumber != nil) {
			t.Errorf("record %d: %+v", i, r)
		} else if failed && (*r.ErrorCode != "ProvisionedThroughputExceededException" ||
			*r.ErrorMessage != "Rate exceeded for shard shardId-000000000000 in stream orders under account 000000000000.") {
			t.Errorf("record %d: %s: %s", i, *r.ErrorCode, *r.ErrorMessage)
		}
	}
	var exceeded *types.ProvisionedThroughputExceededException
	_, err = h.client().PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("orders"), PartitionKey: aws.String("k"), Data: make([]byte, 600<<10)})
	if !errors.As(err, &exceeded) {
		t.Errorf("PutRecord: %v", err)
	}
}

func TestPutRecordsRefusesWhatIsNoListOfRecords(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	one := `{"Data":"eA==","PartitionKey":"k"}`
	many := func(n int, record string) string { return strings.TrimSuffix(strings.Repeat(record+",", n), ",") }
	for _, c := range []struct{ body, name, message string }{
		{`{"StreamName":"orders"}`, "ValidationException", "1 validation error detected: Value null at 'records' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Records":null}`, "ValidationException", "1 validation error detected: Value null at 'records' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Records":[]}`, "ValidationException", "1 validation error detected: Value '[0 records]' at 'records' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{`{"StreamName":"orders","Records":[` + many(501, one) + `]}`, "ValidationException", "1 validation error detected: Value '[501 records]' at 'records' failed to satisfy constraint: Member must have length less than or equal to 500"},
		{`{"StreamName":"orders","Records":[` + one + `,{"PartitionKey":"k"}]}`, "ValidationException", "1 validation error detected: Value null at 'records.2.member.data' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Records":[` + one + `,null]}`, "ValidationException", "1 validation error detected: Value null at 'records.2.member.data' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Records":[{"Data":"eA=="}]}`, "ValidationException", "1 validation error detected: Value null at 'records.1.member.partitionKey' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Records":[{"Data":"eA==","PartitionKey":""}]}`, "ValidationException", "1 validation error detected: Value '' at 'records.1.member.partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{`{"StreamName":"orders","Records":[{"Data":"eA==","PartitionKey":"` + strings.Repeat("é", 257) + `"}]}`, "ValidationException", ""},
		{`{"StreamName":"orders","Records":[{"Data":"eA==","PartitionKey":"k","ExplicitHashKey":"01"}]}`, "ValidationException", `1 validation error detected: Value '01' at 'records.1.member.explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: ^(0|([1-9]\d{0,38}))$`},
		{`{"StreamName":"orders","Records":[{"Data":"eA==","PartitionKey":"k","ExplicitHashKey":"340282366920938463463374607431768211456"}]}`, "InvalidArgumentException", "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was 340282366920938463463374607431768211456"},
		{`{"StreamName":"or ders","Records":[` + one + `]}`, "ValidationException", "1 validation error detected: Value 'or ders' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"},
		{`{"StreamName":"orders","Records":[{"Data":"` + text(1<<20) + `","PartitionKey":"k"}]}`, "ValidationException", "1 validation error detected: Value '1048577 bytes' at 'records.1.member.data' failed to satisfy constraint: Member must have length less than or equal to 1048576"},
		{`{"StreamName":"orders","Records":[` + many(11, `{"Data":"`+text(1<<20-1)+`","PartitionKey":"k"}`) + `]}`, "InvalidArgumentException", "Records size exceeds 10 MB limit"},
		{`{"StreamName":"absent","Records":[` + one + `]}`, "ResourceNotFoundException", "Stream absent under account 000000000000 not found."},
		{`{"Records":[` + one + `]}`, "InvalidArgumentException", "Either StreamName or StreamARN must be provided."},
		{`{"StreamName":"orders","Records":[` + one + `],"DryRun":true}`, "DryRunOperationException", "Request would have succeeded, but DryRun flag is set."},
		{`{"StreamName":"orders","Records":{}}`, "SerializationException", ""},
		{`{"StreamName":"orders","Records":[{"Data":"e","PartitionKey":"k"}]}`, "SerializationException", ""},
		{`{"StreamName":"orders","Records":[{"Data":3,"PartitionKey":"k"}]}`, "SerializationException", ""},
		{`{"StreamName":"orders","Records":[` + one, "SerializationException", ""},
		{`[]`, "SerializationException", ""},
		{``, "ValidationException", ""},
	} {
		h.post("PutRecords", c.body).wantFault(t, c.name, c.message)
	}
	if got := h.get(h.oldest(), 0); len(got.Records) != 0 {
		t.Errorf("%d records were stored", len(got.Records))
	}
}

func TestPutRecordsTakesTheLastListOfSeveral(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	const list = `"Records":[{"Data":"","PartitionKey":"k"},{"Data":"","PartitionKey":"k"}]`
	a := h.post("PutRecords", `{"StreamName":"orders","Records":[{"Data":""}],`+list+`,`+list+`}`)
	if n := strings.Count(string(a.body), "SequenceNumber"); a.status != 200 || n != 2 {
		t.Errorf("%d records are stored: %d %s", n, a.status, a.body)
	}
}

func TestPutRecordStoresARecord(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{Shards: 2, MaxRecordBytes: 1 << 20})
	last := ""
	for _, key := range []string{"0", "170141183460469231731687303715884105727"} {
		out, err := h.client().PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamARN: aws.String("arn:aws:kinesis:us-east-1:000000000000:stream/orders"), PartitionKey: aws.String("k"),
			Data: []byte("x"), ExplicitHashKey: aws.String(key), SequenceNumberForOrdering: aws.String("12"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if *out.ShardId != "shardId-000000000000" || *out.SequenceNumber <= last {
			t.Errorf("%s: %s %s", key, *out.ShardId, *out.SequenceNumber)
		}
		last = *out.SequenceNumber
	}
	for _, c := range []struct{ body, name, message string }{
		{`{"StreamName":"orders"}`, "ValidationException", ""},
		{`{"StreamName":"orders","PartitionKey":"k"}`, "ValidationException", "1 validation error detected: Value null at 'data' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Data":""}`, "ValidationException", "1 validation error detected: Value null at 'partitionKey' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","Data":"","PartitionKey":"k","SequenceNumberForOrdering":"x"}`, "ValidationException", ""},
		{`{"StreamName":"orders","Data":"","PartitionKey":"k","DryRun":true}`, "DryRunOperationException", ""},
		{`{"StreamName":"absent","Data":"","PartitionKey":"k"}`, "ResourceNotFoundException", ""},
		{`{"StreamName":"orders","Data":"` + text(1<<20) + `","PartitionKey":"k"}`, "ValidationException", "1 validation error detected: Value '1048577 bytes' at 'data' failed to satisfy constraint: Member must have length less than or equal to 1048576"},
	} {
		h.post("PutRecord", c.body).wantFault(t, c.name, c.message)
	}
	if a := h.post("PutRecord", `{"StreamName":"orders","Data":"","PartitionKey":"k"}`); a.status != 200 {
		t.Errorf("a record without data: %d %s", a.status, a.body)
	}
}

func TestALargeRecordGoesInAndOut(t *testing.T) {
	h, _ := open(t, t.TempDir(), Config{})
	h.stream("small", engine.StreamConfig{MaxRecordBytes: 1000})
	if st, err := h.engine.CreateStream(t.Context(), "orders", engine.StreamConfig{MaxRecordBytes: 1900 << 10}); err != nil {
		t.Fatal(err)
	} else if st.MaxRecordBytes() != 1900<<10 {
		t.Fatal(st.MaxRecordBytes())
	}
	data := []byte(strings.Repeat("0123456789", 190<<10-1))
	if _, err := h.client().PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("orders"), PartitionKey: aws.String("k"), Data: data}); err != nil {
		t.Fatal(err)
	}
	got := h.get(h.oldest(), 0)
	if len(got.Records) != 1 || string(got.Records[0].Data) != string(data) {
		t.Errorf("%d records came back", len(got.Records))
	}
	_, err := h.client().PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("small"), PartitionKey: aws.String("k"), Data: data})
	if err == nil || !strings.Contains(err.Error(), "less than or equal to 1000") {
		t.Errorf("%v", err)
	}
}
