package logs

import (
	"bytes"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// raftWAL is hashicorp/raft-wal with group commit. It has no shards. It is built
// for the small batches of one raft leader; merging more than maxRaftGroup makes
// it slower.
type raftWAL struct {
	*group
	wal  *wal.WAL
	next uint64
	logs []*raft.Log
}

// maxRaftGroup is how many bytes go into one StoreLogs: with 1 KiB as with 100 B
// it was fastest with about as many, of 512 to 16,384 records that were tried.
const maxRaftGroup = 1 << 20

// OpenRaftWAL opens a raft-wal in dir. It is always durable.
func OpenRaftWAL(dir string) (Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w, err := wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()), wal.WithCodec(rawCodec{}))
	if err != nil {
		return nil, err
	}
	r := &raftWAL{wal: w, next: 1}
	r.group = newGroup(maxRaftGroup, r.store)
	return r, nil
}

func (r *raftWAL) store(batch [][]Record) error {
	n := 0
	for _, records := range batch {
		for i := range records {
			if n == len(r.logs) {
				r.logs = append(r.logs, new(raft.Log))
			}
			l := r.logs[n]
			l.Index, l.Data, l.Extensions = r.next, records[i].Data, append(l.Extensions[:0], records[i].Key...)
			r.next++
			n++
		}
	}
	return r.wal.StoreLogs(r.logs[:n])
}

func (r *raftWAL) Close() error {
	r.group.close()
	return r.wal.Close()
}

// rawCodec writes key and data as they are: less work than the codec that
// raft-wal brings.
type rawCodec struct{}

func (rawCodec) ID() uint64 { return wal.FirstExternalCodecID }

func (rawCodec) Encode(l *raft.Log, w io.Writer) error {
	if b, ok := w.(*bytes.Buffer); ok {
		b.Grow(len(l.Extensions) + len(l.Data))
	}
	if _, err := w.Write(l.Extensions); err != nil {
		return err
	}
	_, err := w.Write(l.Data)
	return err
}

func (rawCodec) Decode(b []byte, l *raft.Log) error {
	l.Data = b
	return nil
}
