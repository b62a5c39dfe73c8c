package logs

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLog keeps each record under shard and number, so that a shard can be
// read in order. Pebble has group commit of its own.
type pebbleLog struct {
	db   *pebble.DB
	next atomic.Uint64
	how  *pebble.WriteOptions
}

// OpenPebble opens a Pebble store in dir; durable says whether an append waits
// for the sync.
func OpenPebble(dir string, durable bool) (Log, error) {
	db, err := pebble.Open(dir, &pebble.Options{
		Logger: quietPebble{},
		// Large tables and room for many of them: a log is written once, and its
		// compactions only sort what is in order by shard already.
		MemTableSize:                64 << 20,
		MemTableStopWritesThreshold: 8,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       1000,
	})
	if err != nil {
		return nil, err
	}
	l := &pebbleLog{db: db, how: pebble.NoSync}
	if durable {
		l.how = pebble.Sync
	}
	return l, nil
}

func (l *pebbleLog) Writer() Writer { return &pebbleWriter{log: l} }
func (l *pebbleLog) Close() error   { return l.db.Close() }

type pebbleWriter struct {
	log *pebbleLog
	key []byte
}

func (w *pebbleWriter) Append(_ context.Context, records []Record) error {
	batch := w.log.db.NewBatch()
	defer batch.Close()
	number := w.log.next.Add(uint64(len(records))) - uint64(len(records))
	for i := range records {
		w.key = binary.BigEndian.AppendUint32(w.key[:0], uint32(records[i].Shard))
		w.key = binary.BigEndian.AppendUint64(w.key, number+uint64(i))
		w.key = append(w.key, records[i].Key...)
		if err := batch.Set(w.key, records[i].Data, nil); err != nil {
			return err
		}
	}
	return batch.Commit(w.log.how)
}

type quietPebble struct{}

func (quietPebble) Infof(string, ...any)  {}
func (quietPebble) Errorf(string, ...any) {}
func (quietPebble) Fatalf(format string, args ...any) {
	pebble.DefaultLogger.Fatalf(format, args...)
}
