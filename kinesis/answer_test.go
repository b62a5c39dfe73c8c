package kinesis

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/wire"
)

// number returns a sequence number in Kinesis' form.
func number(i int) string { return fmt.Sprintf("49590338271490256608559692538361571095%018d", i) }

// answerOf returns an answer with n records of that many bytes.
func answerOf(n, size int) *sdk.GetRecordsOutput {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	out := &sdk.GetRecordsOutput{NextShardIterator: aws.String("AAAAAAAAAAEv0/t3XxQJh9Gk" + strconv.Itoa(n)), MillisBehindLatest: aws.Int64(int64(min(n, 1) * 1234))}
	for i := range n {
		data := make([]byte, size)
		for at := range data {
			data[at] = byte(random.Uint32())
		}
		arrival := time.UnixMilli(1_790_000_000_000 + int64(i)).UTC()
		out.Records = append(out.Records, types.Record{
			SequenceNumber: aws.String(number(i)), PartitionKey: aws.String(fmt.Sprintf("customer-%06d", i)),
			Data: data, ApproximateArrivalTimestamp: &arrival, EncryptionType: types.EncryptionTypeNone,
		})
	}
	return out
}

// inJSON writes an answer as Kinesis does.
func inJSON(out *sdk.GetRecordsOutput) []byte {
	b := []byte(`{"ChildShards":[`)
	for i, c := range out.ChildShards {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"HashKeyRange":{"EndingHashKey":`...)
		b = wire.AppendJSONString(b, *c.HashKeyRange.EndingHashKey)
		b = wire.AppendJSONString(append(b, `,"StartingHashKey":`...), *c.HashKeyRange.StartingHashKey)
		b = append(b, `},"ParentShards":[`...)
		for i, p := range c.ParentShards {
			if i > 0 {
				b = append(b, ',')
			}
			b = wire.AppendJSONString(b, p)
		}
		b = append(wire.AppendJSONString(append(b, `],"ShardId":`...), *c.ShardId), '}')
	}
	b = append(b, `],"MillisBehindLatest":`...)
	b = strconv.AppendInt(b, aws.ToInt64(out.MillisBehindLatest), 10)
	b = append(b, `,"NextShardIterator":`...)
	if out.NextShardIterator == nil {
		b = append(b, `null`...)
	} else {
		b = wire.AppendJSONString(b, *out.NextShardIterator)
	}
	b = append(b, `,"Records":[`...)
	for i, r := range out.Records {
		if i > 0 {
			b = append(b, ',')
		}
		b = wire.AppendJSONMillis(append(b, `{"ApproximateArrivalTimestamp":`...), r.ApproximateArrivalTimestamp.UnixMilli())
		b = wire.AppendJSONBytes(append(b, `,"Data":`...), r.Data)
		if r.EncryptionType != "" {
			b = wire.AppendJSONString(append(b, `,"EncryptionType":`...), string(r.EncryptionType))
		}
		b = wire.AppendJSONString(append(b, `,"PartitionKey":`...), *r.PartitionKey)
		b = append(wire.AppendJSONString(append(b, `,"SequenceNumber":`...), *r.SequenceNumber), '}')
	}
	return append(b, `]}`...)
}

// inCBOR writes an answer as Kinesis does: maps and lists without a length, and
// times in milliseconds.
func inCBOR(out *sdk.GetRecordsOutput) []byte { return cborAnswer(out, wire.AppendCBORMillis) }

// inSmithyCBOR writes it with times in seconds.
func inSmithyCBOR(out *sdk.GetRecordsOutput) []byte { return cborAnswer(out, wire.AppendCBORSeconds) }

func cborAnswer(out *sdk.GetRecordsOutput, appendTime func([]byte, int64) []byte) []byte {
	text := func(b []byte, s string) []byte { return wire.AppendCBORText(b, s) }
	b := wire.BeginCBORMap(nil)
	if out.ChildShards != nil {
		b = wire.BeginCBORArray(text(b, "ChildShards"))
		for _, c := range out.ChildShards {
			b = text(text(wire.BeginCBORMap(b), "ShardId"), *c.ShardId)
			b = wire.BeginCBORArray(text(b, "ParentShards"))
			for _, p := range c.ParentShards {
				b = text(b, p)
			}
			b = wire.BeginCBORMap(text(wire.EndCBOR(b), "HashKeyRange"))
			b = text(text(b, "StartingHashKey"), *c.HashKeyRange.StartingHashKey)
			b = text(text(b, "EndingHashKey"), *c.HashKeyRange.EndingHashKey)
			b = wire.EndCBOR(wire.EndCBOR(b))
		}
		b = wire.EndCBOR(b)
	}
	b = wire.BeginCBORArray(text(b, "Records"))
	for _, r := range out.Records {
		b = text(text(wire.BeginCBORMap(b), "SequenceNumber"), *r.SequenceNumber)
		b = appendTime(text(b, "ApproximateArrivalTimestamp"), r.ApproximateArrivalTimestamp.UnixMilli())
		b = wire.AppendCBORBytes(text(b, "Data"), r.Data)
		b = text(text(b, "PartitionKey"), *r.PartitionKey)
		if r.EncryptionType != "" {
			b = text(text(b, "EncryptionType"), string(r.EncryptionType))
		}
		b = wire.EndCBOR(b)
	}
	b = wire.EndCBOR(b)
	if out.NextShardIterator != nil {
		b = text(text(b, "NextShardIterator"), *out.NextShardIterator)
	}
	b = wire.AppendCBORInt(text(b, "MillisBehindLatest"), aws.ToInt64(out.MillisBehindLatest))
	return wire.EndCBOR(b)
}
