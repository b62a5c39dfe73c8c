package kinesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"github.com/millrace/millrace/stream"
)

// allOf reads a page to its end.
func allOf(p *page) []stream.Record {
	if p.left() == 0 {
		return nil
	}
	b := stream.Batch{}
	p.fill(&b)
	return b.Records
}

// endAnswer is the last answer of a shard that was split.
func endAnswer() *sdk.GetRecordsOutput {
	out := answerOf(2, 10)
	out.NextShardIterator, out.MillisBehindLatest = nil, aws.Int64(0)
	for i, half := range []string{"0 99", "100 340282366920938463463374607431768211455"} {
		start, end, _ := strings.Cut(half, " ")
		out.ChildShards = append(out.ChildShards, types.ChildShard{
			ShardId: aws.String(fmt.Sprintf("shardId-%012d", 7+i)), ParentShards: []string{"shardId-000000000003"},
			HashKeyRange: &types.HashKeyRange{StartingHashKey: &start, EndingHashKey: &end},
		})
	}
	return out
}

func TestAnswersAreDecodedInEveryForm(t *testing.T) {
	odd := answerOf(3, 5)
	odd.Records[0].PartitionKey = aws.String("ключ \"quoted\" \\ / \t\u2028 😀")
	odd.Records[1].Data = []byte{}
	odd.Records[2].Data = bytes.Repeat([]byte("large"), chunkBytes)
	odd.Records[2].EncryptionType = ""
	for name, out := range map[string]*sdk.GetRecordsOutput{
		"nothing": answerOf(0, 0), "small": answerOf(1, 1), "many": answerOf(500, 1000), "odd": odd, "the end": endAnswer(),
	} {
		want, err := pageOf(out)
		if err != nil {
			t.Fatal(err)
		}
		records := allOf(want)
		for form, decoded := range map[string]func() (*page, error){
			"JSON":       func() (*page, error) { return decodeJSON(inJSON(out)) },
			"CBOR":       func() (*page, error) { return decodeCBOR(inCBOR(out), time.Millisecond) },
			"Smithy RPC": func() (*page, error) { return decodeCBOR(inSmithyCBOR(out), time.Second) },
		} {
			p, err := decoded()
			if err != nil {
				t.Errorf("%s in %s: %v", name, form, err)
				continue
			}
			got := allOf(p)
			if !slices.EqualFunc(got, records, sameRecord) || p.next != want.next || p.behind != want.behind || !slices.EqualFunc(p.children, want.children, sameShard) {
				t.Errorf("%s in %s: %d records, next %q, behind %v, children %v; want %d, %q, %v, %v", name, form,
					len(got), p.next, p.behind, p.children, len(records), want.next, want.behind, want.children)
			}
		}
	}
}

func sameRecord(a, b stream.Record) bool {
	return a.Sequence == b.Sequence && a.PartitionKey == b.PartitionKey && bytes.Equal(a.Data, b.Data) && a.Arrival.Equal(b.Arrival)
}

func sameShard(a, b stream.Shard) bool {
	return a.ID == b.ID && slices.Equal(a.Parents, b.Parents) && a.Hash == b.Hash && a.Closed == b.Closed
}

func TestWhatKinesisDoesNotSendIsUnusual(t *testing.T) {
	record := `{"SequenceNumber":"1","Data":"eA==","PartitionKey":"k"}`
	for _, answer := range []string{
		``, `{`, `[]`, `null`, `{"Records":{}}`, `{"Records":[` + record, `{"Records":[` + record + `]} x`,
		`{"Records":[null]}`,
		`{"Records":[{"Data":"eA==","PartitionKey":"k"}]}`,
		`{"Records":[{"SequenceNumber":"one","Data":"eA=="}]}`,
		`{"Records":[{"SequenceNumber":"1/2","Data":"eA=="}]}`,
		`{"Records":[{"SequenceNumber":1,"Data":"eA=="}]}`,
		`{"Records":[{"SequenceNumber":"1","SequenceNumber":"2","Data":"eA=="}]}`,
		`{"Records":[{"SequenceNumber":"1","Data":"not base64"}]}`,
		`{"Records":[{"SequenceNumber":"1","Data":[120]}]}`,
		`{"Records":[{"SequenceNumber":"1","Data":"eA==","ApproximateArrivalTimestamp":"today"}]}`,
		`{"Records":[],"Records":[]}`,
		`{"Records":[],"MillisBehindLatest":"0"}`,
		`{"Records":[],"NextShardIterator":7}`,
		`{"Records":[],"ChildShards":[{"ShardId":"a","ParentShards":["b"]}]}`,
		`{"Records":[],"ChildShards":[{"ShardId":"a","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}}]}`,
	} {
		if _, err := decodeJSON([]byte(answer)); !errors.Is(err, errUnusual) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	if _, err := decodeMillis(inSmithyCBOR(answerOf(1, 1))); !errors.Is(err, errUnusual) {
		t.Errorf("seconds in place of milliseconds: %v", err)
	}
	cbor := inCBOR(answerOf(3, 30))
	for n := range cbor {
		if _, err := decodeCBOR(bytes.Clone(cbor[:n]), time.Millisecond); !errors.Is(err, errUnusual) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(cbor), err)
		}
	}
}

func TestMembersThatAreNullAreNotThere(t *testing.T) {
	p, err := decodeJSON([]byte(`{"ChildShards":null,"NextShardIterator":null,"MillisBehindLatest":null,"Later":{"x":[1,{}]},
		"Records":[{"SequenceNumber":"5","Data":null,"PartitionKey":null,"ApproximateArrivalTimestamp":null,"EncryptionType":null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := allOf(p)[0]
	if p.next != "" || p.behind != 0 || r.PartitionKey != "" || len(r.Data) != 0 || !r.Arrival.IsZero() || r.Sequence.String() != "5" {
		t.Errorf("%+v, next %q", r, p.next)
	}
}

func TestDecodingARecordAllocatesNothing(t *testing.T) {
	out := answerOf(1000, 100)
	asJSON, asCBOR := inJSON(out), inCBOR(out)
	answer := make([]byte, max(len(asJSON), len(asCBOR)))
	for form, decode := range map[string]func() (*page, error){
		"JSON": func() (*page, error) { return decodeJSON(answer[:copy(answer, asJSON)]) },
		"CBOR": func() (*page, error) { return decodeCBOR(answer[:copy(answer, asCBOR)], time.Millisecond) },
	} {
		n := testing.AllocsPerRun(20, func() {
			p, err := decode()
			if err != nil {
				t.Fatal(err)
			}
			p.release()
		})
		if n > 20 { // the page, its chunks, and what the collector took from the pool
			t.Errorf("%s: %v allocations for 1000 records", form, n)
		}
	}
}

// bySDK lets the SDK decode an answer.
func bySDK(protocol smithyhttp.ClientProtocol, answer []byte) (*sdk.GetRecordsOutput, error) {
	op := smithy.NewOperationSchema(schemas.GetRecords, schemas.GetRecordsInput, schemas.GetRecordsOutput)
	resp := &smithyhttp.Response{Response: &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(answer))}}
	var out sdk.GetRecordsOutput
	return &out, protocol.DeserializeResponse(context.Background(), op, sdk.TypeRegistry, resp, &out)
}

// compare fails when this package and the SDK both read an answer, and do not
// read the same.
func compare(t *testing.T, p *page, err error, protocol smithyhttp.ClientProtocol, answer []byte) {
	if err != nil {
		return // it is left to the SDK
	}
	out, err := bySDK(protocol, answer)
	if err != nil {
		return // it is stricter: 1e3 is no whole number to it
	}
	want, err := pageOf(out)
	if err != nil {
		t.Fatalf("the SDK reads %q as %+v: %v", answer, out, err)
	}
	got, records := allOf(p), allOf(want)
	if len(got) != len(records) || p.next != want.next || p.behind != want.behind || !slices.EqualFunc(p.children, want.children, sameShard) {
		t.Fatalf("%q: %d records, next %q, behind %v, children %v; the SDK says %d, %q, %v, %v", answer,
			len(got), p.next, p.behind, p.children, len(records), want.next, want.behind, want.children)
	}
	for i := range got {
		a, b := got[i], records[i]
		// The SDK reads times by way of floating point.
		near := a.Arrival.Sub(b.Arrival).Abs() <= time.Millisecond || a.Arrival.Year() < 1900 || a.Arrival.Year() > 2200
		if b.Arrival = a.Arrival; !near || !sameRecord(a, b) {
			t.Fatalf("%q: record %d is %+v, by the SDK %+v", answer, i, a, records[i])
		}
	}
}

func FuzzJSONAnswer(f *testing.F) {
	for _, out := range []*sdk.GetRecordsOutput{answerOf(0, 0), answerOf(2, 20), endAnswer()} {
		f.Add(inJSON(out))
	}
	f.Add([]byte(`{"Records":[{"SequenceNumber":"\u0031","Data":"eA\/=","PartitionKey":"\ud83d\ude00","ApproximateArrivalTimestamp":1.79E9}],"NextShardIterator":null}`))
	f.Add([]byte(`{"Records":null,"MillisBehindLatest":1000,"x":[true,false,null,{"y":-0.5}]}`))
	protocol := awsjson.New11(schemas.Kinesis_20131202)
	f.Fuzz(func(t *testing.T, answer []byte) {
		p, err := decodeJSON(bytes.Clone(answer))
		compare(t, p, err, protocol, answer)
	})
}

func FuzzCBORAnswer(f *testing.F) {
	for _, out := range []*sdk.GetRecordsOutput{answerOf(0, 0), answerOf(2, 20), endAnswer()} {
		f.Add(inSmithyCBOR(out))
		f.Add(inCBOR(out))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		p, err := decodeCBOR(bytes.Clone(answer), time.Second)
		compare(t, p, err, rpcCBOR, answer)
	})
}
