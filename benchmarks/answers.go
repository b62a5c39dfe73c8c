package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/internal/wire"
)

// answerSet is one shard whose answers are made in advance, so that it takes its
// endpoint next to nothing to give them: pages of records, one behind the other.
type answerSet struct{ pages, records, size int }

// answersProcess is an endpoint as a process of its own.
func answersProcess(s answerSet) (*process, error) {
	return startProcess(inRole(answersRole, strconv.Itoa(s.pages), strconv.Itoa(s.records), strconv.Itoa(s.size)))
}

// serveAnswers is the life of that process.
func serveAnswers(ctx context.Context, args []string, out io.Writer) error {
	var s answerSet
	if _, err := fmt.Sscan(strings.Join(args, " "), &s.pages, &s.records, &s.size); err != nil {
		return fmt.Errorf("answers of %q: %w", args, err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s.handler()}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })()
	fmt.Fprintf(out, "http://%s\n", listener.Addr())
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// iterator is the number of a page, among what makes it as long as those of Kinesis.
func (s answerSet) iterator(page int) string {
	return strings.Repeat("A", 200) + fmt.Sprintf("%04d", page)
}

func (s answerSet) handler() http.Handler {
	inJSON, inCBOR := make([][]byte, s.pages), make([][]byte, s.pages)
	made := load{size: s.size, shards: 1}.records(s.records)
	for page := range s.pages {
		inJSON[page], inCBOR[page] = s.inJSON(page, made), s.inCBOR(page, made)
	}
	summary := []byte(`{"StreamDescriptionSummary":{"StreamName":"orders","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/orders",` +
		`"StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1790000000,"EnhancedMonitoring":[],"OpenShardCount":1}}`)
	first := []byte(`{"ShardIterator":"` + s.iterator(0) + `"}`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		media := r.Header.Get("Content-Type")
		var answer []byte
		switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
		case "DescribeStreamSummary":
			answer = summary
		case "GetShardIterator":
			answer = first
		case "GetRecords":
			for page := range s.pages {
				if bytes.Contains(asked, []byte(s.iterator(page))) {
					if answer = inJSON[page]; media == mediaCBOR {
						answer = inCBOR[page]
					}
				}
			}
		}
		if answer == nil {
			http.Error(w, `{"__type":"InvalidArgumentException"}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer) // who does not read to the end has gone
	})
}

// arrived is when the first record of a set came, and lag how far behind a reader is
// told to be.
const (
	arrived = 1_790_000_000_000 // Unix ms
	lag     = 60_000            // ms
)

// number is the sequence number of a record, in Kinesis' form.
func (s answerSet) number(page, i int) string {
	return fmt.Sprintf("49590338271490256608559692538361571095%018d", page*s.records+i)
}

// inJSON writes a page as Kinesis does.
func (s answerSet) inJSON(page int, made []logs.Record) []byte {
	type record struct {
		ApproximateArrivalTimestamp json.Number
		Data                        []byte
		PartitionKey                string
		SequenceNumber              string
	}
	answer := struct {
		MillisBehindLatest int
		NextShardIterator  string
		Records            []record
	}{MillisBehindLatest: lag, NextShardIterator: s.iterator(page + 1)}
	for i, m := range made {
		ms := int64(arrived + page*s.records + i)
		answer.Records = append(answer.Records, record{json.Number(fmt.Sprintf("%d.%03d", ms/1000, ms%1000)), m.Data, m.Key, s.number(page, i)})
	}
	text, _ := json.Marshal(answer) // plain values
	return text
}

// inCBOR writes a page as Kinesis does for the SDK for Java.
func (s answerSet) inCBOR(page int, made []logs.Record) []byte {
	b := wire.BeginCBORMap(nil)
	b = wire.AppendCBORInt(wire.AppendCBORText(b, "MillisBehindLatest"), lag)
	b = wire.AppendCBORText(wire.AppendCBORText(b, "NextShardIterator"), s.iterator(page+1))
	b = wire.BeginCBORArray(wire.AppendCBORText(b, "Records"))
	for i, m := range made {
		b = wire.BeginCBORMap(b)
		b = wire.AppendCBORMillis(wire.AppendCBORText(b, "ApproximateArrivalTimestamp"), int64(arrived+page*s.records+i))
		b = wire.AppendCBORBytes(wire.AppendCBORText(b, "Data"), m.Data)
		b = wire.AppendCBORText(wire.AppendCBORText(b, "PartitionKey"), m.Key)
		b = wire.AppendCBORText(wire.AppendCBORText(b, "SequenceNumber"), s.number(page, i))
		b = wire.EndCBOR(b)
	}
	return wire.EndCBOR(wire.EndCBOR(b))
}
