package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/millrace/millrace/stream"
)

// putRecords stores up to 500 records, each of which may be refused for itself.
func (s *Server) putRecords(c *call) error {
	in := putRequests.Get().(*putRequest)
	defer in.recycle()
	if err := in.decodeRecords(c.protocol, c.body); err != nil {
		return err
	}
	v, results, err := s.put(c.ctx, in, "records.")
	if err != nil {
		return err
	}
	d := document{p: c.protocol, buf: c.takeBody()} // the records are stored
	s.answerPut(&d, v, results)
	c.send(d.buf)
	return nil
}

// answerPut writes what became of the records.
func (s *Server) answerPut(d *document, v view, results []stream.PutResult) {
	failed := 0
	for i := range results {
		if results[i].Err != nil {
			failed++
		}
	}
	d.begin('{')
	d.name("FailedRecordCount")
	d.int(int64(failed))
	d.name("Records")
	d.begin('[')
	for i := range results {
		d.begin('{')
		if r := &results[i]; r.Err == nil {
			d.name("SequenceNumber")
			d.sequence(r.Sequence)
			d.name("ShardId")
			d.text(r.Shard)
		} else {
			code, text := s.putFailure(v.name, r)
			d.name("ErrorCode")
			d.text(code)
			d.name("ErrorMessage")
			d.text(text)
		}
		d.end('}')
	}
	d.end(']')
	if v.known.KeyID != "" {
		d.name("EncryptionType")
		d.text("KMS")
	}
	d.end('}')
}

// putFailure tells why one record was not stored.
func (s *Server) putFailure(name string, r *stream.PutResult) (code, text string) {
	if errors.Is(r.Err, stream.ErrThrottled) {
		return "ProvisionedThroughputExceededException", s.rateText(name, r.Shard)
	}
	s.tell("a record could not be stored", r.Err, "stream", name)
	return "InternalFailure", "Internal service failure."
}

// put stores the records of a request, and waits until they are durable. prefix
// is what the members of a record are called by, but for its number.
func (s *Server) put(ctx context.Context, in *putRequest, prefix string) (view, []stream.PutResult, error) {
	v, err := s.ready(in.streamRef)
	if err != nil {
		return v, nil, err
	}
	if err := in.fits(v, prefix); err != nil {
		return v, nil, err
	}
	if in.dryRun {
		return v, nil, wouldSucceed()
	}
	if v.known.AnyShard {
		in.scatter()
	}
	results, err := v.Put(ctx, in.entries...)
	return v, results, err
}

// fits refuses what this stream does not take.
func (in *putRequest) fits(v view, prefix string) error {
	if in.keyless > 0 && !v.known.AnyShard {
		in.violations.add("null", memberPath(prefix, in.keyless)+"partitionKey", "Member must not be null")
	}
	most := v.MaxRecordBytes()
	for i := range in.entries {
		if n := in.entries[i].Size(); n > most && len(in.violations) < mostViolations {
			in.violations.add(fmt.Sprintf("'%d bytes'", n), memberPath(prefix, i+1)+"data", bound{"len", int64(most), true}.String())
		}
	}
	if err := in.violations.err(); err != nil {
		return err
	}
	if in.bytes > mostPut {
		return invalidArgument("Records size exceeds 10 MB limit")
	}
	return nil
}

// scatter sends records to any shards, where the stream is to share them out
// regardless of their keys.
func (in *putRequest) scatter() {
	for i := range in.entries {
		e := &in.entries[i]
		if e.HasHashKey {
			continue
		}
		var b [16]byte
		rand.Read(b[:])
		e.HashKey = stream.Hash{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
		e.HasHashKey = true
	}
}
