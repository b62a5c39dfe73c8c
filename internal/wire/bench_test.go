package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/fxamacker/cbor/v2"
)

// The bodies of PutRecords and of GetRecords, as others know them.
type benchEntry struct {
	Data         []byte
	PartitionKey string
}

type benchPut struct {
	StreamName string
	Records    []benchEntry
}

type benchRecord struct {
	Data                        []byte
	PartitionKey                string
	SequenceNumber              string
	ApproximateArrivalTimestamp float64
}

type benchGet struct {
	MillisBehindLatest int64
	NextShardIterator  string
	Records            []benchRecord
}

func benchBodies(size int) (benchPut, benchGet) {
	random := rand.New(rand.NewPCG(1, 2))
	put, get := benchPut{StreamName: "orders"}, benchGet{NextShardIterator: "AAAAAAAAAAE="}
	for i := range 500 {
		data := make([]byte, size)
		for k := range data {
			data[k] = byte(random.Uint32())
		}
		key := fmt.Sprintf("partition-key-%d", i)
		put.Records = append(put.Records, benchEntry{data, key})
		get.Records = append(get.Records, benchRecord{data, key, "49590338271490256608559692538361571095921575989136588898", 1441215410.867})
	}
	return put, get
}

// readPut reads what a server needs of a put, allocating nothing for a record.
func readPut(r Reader, into []benchView) []benchView {
	into = into[:0]
	for r.Object(); r.Member(); {
		if string(r.Key()) != "Records" {
			r.Skip()
			continue
		}
		for r.Array(); r.Item(); {
			var v benchView
			for r.Object(); r.Member(); {
				switch string(r.Key()) {
				case "Data":
					v.data = r.Bytes()
				case "PartitionKey":
					v.key = r.Text()
				default:
					r.Skip()
				}
			}
			into = append(into, v)
		}
	}
	return into
}

type benchView struct{ data, key []byte }

// cpu is what the process has used, which others on the machine do not change.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perRecord(b *testing.B, since time.Duration) {
	b.ReportMetric(float64(cpu(b)-since)/float64(b.N)/500, "cpu-ns/record")
}

func BenchmarkReadPutRecords(b *testing.B) {
	for _, size := range []int{100, 1024} {
		put, _ := benchBodies(size)
		text, err := json.Marshal(put)
		if err != nil {
			b.Fatal(err)
		}
		message, err := cbor.Marshal(put)
		if err != nil {
			b.Fatal(err)
		}
		scratch := make([]byte, max(len(text), len(message)))
		views := make([]benchView, 0, 500)
		run := func(name string, body []byte, f func(body []byte) (int, error)) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				since := cpu(b)
				for b.Loop() {
					copy(scratch, body) // as it would come from the network
					n, err := f(scratch[:len(body)])
					if n != 500 || err != nil {
						b.Fatal(n, err)
					}
				}
				perRecord(b, since)
			})
		}
		run("JSON", text, func(body []byte) (int, error) {
			r := NewJSON(body)
			views = readPut(&r, views)
			return len(views), r.End()
		})
		run("encoding-json", text, func(body []byte) (int, error) {
			var in benchPut
			err := json.Unmarshal(body, &in)
			return len(in.Records), err
		})
		run("CBOR", message, func(body []byte) (int, error) {
			r := NewCBOR(body, time.Second)
			views = readPut(&r, views)
			return len(views), r.End()
		})
		run("fxamacker-cbor", message, func(body []byte) (int, error) {
			var in benchPut
			err := cbor.Unmarshal(body, &in)
			return len(in.Records), err
		})
	}
}

func appendJSONRecords(dst []byte, records []benchRecord) []byte {
	dst = append(dst, `{"MillisBehindLatest":0,"Records":[`...)
	for i := range records {
		if i > 0 {
			dst = append(dst, ',')
		}
		r := &records[i]
		dst = append(dst, `{"Data":`...)
		dst = AppendJSONBytes(dst, r.Data)
		dst = append(dst, `,"PartitionKey":`...)
		dst = AppendJSONString(dst, r.PartitionKey)
		dst = append(dst, `,"SequenceNumber":`...)
		dst = AppendJSONString(dst, r.SequenceNumber)
		dst = append(dst, `,"ApproximateArrivalTimestamp":`...)
		dst = AppendJSONMillis(dst, 1441215410867)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

func appendCBORRecords(dst []byte, records []benchRecord) []byte {
	dst = AppendCBORInt(AppendCBORText(BeginCBORMap(dst), "MillisBehindLatest"), 0)
	dst = BeginCBORArray(AppendCBORText(dst, "Records"))
	for i := range records {
		r := &records[i]
		dst = AppendCBORBytes(AppendCBORText(BeginCBORMap(dst), "Data"), r.Data)
		dst = AppendCBORText(AppendCBORText(dst, "PartitionKey"), r.PartitionKey)
		dst = AppendCBORText(AppendCBORText(dst, "SequenceNumber"), r.SequenceNumber)
		dst = AppendCBORMillis(AppendCBORText(dst, "ApproximateArrivalTimestamp"), 1441215410867)
		dst = EndCBOR(dst)
	}
	return EndCBOR(EndCBOR(dst))
}

func BenchmarkAppendGetRecords(b *testing.B) {
	for _, size := range []int{100, 1024} {
		_, get := benchBodies(size)
		var dst []byte
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				since := cpu(b)
				for b.Loop() {
					f()
				}
				perRecord(b, since)
			})
		}
		run("JSON", func() { dst = appendJSONRecords(dst[:0], get.Records) })
		run("encoding-json", func() { json.Marshal(get) })
		run("CBOR", func() { dst = appendCBORRecords(dst[:0], get.Records) })
		run("fxamacker-cbor", func() { cbor.Marshal(get) })
	}
}

func BenchmarkFrame(b *testing.B) {
	payload := make([]byte, 64<<10)
	headers := []Header{{":message-type", "event"}, {":event-type", "SubscribeToShardEvent"}, {":content-type", "application/json"}}
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		var dst []byte
		for b.Loop() {
			dst = EndFrame(append(BeginFrame(dst[:0], headers...), payload...), 0)
			if _, err := ParseFrame(dst); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("SDK", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		var message eventstream.Message
		for _, h := range headers {
			message.Headers.Set(h.Name, eventstream.StringValue(h.Value))
		}
		message.Payload = payload
		encoder, decoder := eventstream.NewEncoder(), eventstream.NewDecoder()
		var dst bytes.Buffer
		for b.Loop() {
			dst.Reset()
			if err := encoder.Encode(&dst, message); err != nil {
				b.Fatal(err)
			}
			if _, err := decoder.Decode(&dst, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
