package wal

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/stream"
)

// Known is what is known of a log apart from its own files.
type Known struct {
	// OpenGen counts the openings of the log, this one included. It is durable.
	OpenGen uint64
	// Files are those that count; the zero value for a new log.
	Files Files
	// Durable is a place before which everything was durable once.
	Durable Pos
	// Shards are all shards that exist. Records of others are ignored.
	Shards []ShardState
}

// Report is what opening a log found.
type Report struct {
	// Damage lists what was durable once and cannot be read.
	Damage []Damage
	// Cut tells where an unfinished end was cut off, and how many records of
	// it, that nobody was told of, were whole.
	Cut        string
	CutRecords int
	// Segments and Blocks count what was read of the log.
	Segments, Blocks int
}

// Damage is a part of a file that cannot be trusted.
type Damage struct {
	File           string
	Offset, Length int64
	Detail         string

	gen uint64 // of the segment
}

func (d Damage) String() string {
	return fmt.Sprintf("%s, offset %d, %d bytes: %s", d.File, d.Offset, d.Length, d.Detail)
}

// Open reads the log in the directory, or begins one, and makes it ready for
// appends. What it lets readers see is durable. Close must be called.
func Open(opt Options, known Known) (*Log, Report, error) {
	l := &Log{
		opt:         opt.withDefaults(),
		openGen:     known.OpenGen,
		shards:      make(map[uint64]*Shard, len(known.Shards)),
		cur:         &group{},
		growTo:      math.MaxInt64,
		turn:        make(chan struct{}, 1),
		atOpen:      map[uint64][]int64{},
		wantSegment: make(chan struct{}, 1),
		filled:      make(chan struct{}, 1),
		kickWriter:  make(chan struct{}, 1),
		kickSyncer:  make(chan struct{}, 1),
		kickMarker:  make(chan struct{}, 1),
		syncSlot:    make(chan struct{}, 1),
	}
	files := known.Files.clone()
	files.First = max(1, files.First)
	files.NextChunk = max(chunkBit|1, files.NextChunk)
	l.segs = segments{byGen: map[uint64]*segment{}, files: files}
	l.cache.limit = l.opt.CacheBytes
	for _, state := range known.Shards {
		l.shards[state.Handle] = l.makeShard(state)
	}
	report, err := l.recover(known)
	if err != nil {
		l.closeFiles()
		return nil, report, err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	l.stop, l.stopped = stop, ctx.Done()
	l.wg.Go(l.runPreparer)
	l.wg.Go(l.runWriter)
	l.wg.Go(l.runSyncer)
	l.wg.Go(l.runMarker)
	signal(l.wantSegment)
	signal(l.filled)
	return l, report, nil
}

// listFiles finds the generations of the log, in order, and the closed files
// that are there. The pool gets what is neither: it is left from a crash.
func (l *Log) listFiles() (gens []uint64, closed map[uint64]bool, err error) {
	names, err := l.opt.FS.List()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		prefix, number, ok := parseSpareName(name)
		switch {
		case !ok:
			continue
		case prefix == badPrefix:
			l.segs.bad = append(l.segs.bad, name)
		default:
			l.segs.pool = append(l.segs.pool, name)
		}
		l.segs.pooled = max(l.segs.pooled, number)
	}
	wanted := make(map[uint64]bool, len(l.segs.files.Closed))
	for _, gen := range l.segs.files.Closed {
		wanted[gen] = true
	}
	closed = make(map[uint64]bool, len(wanted))
	for _, name := range names {
		gen, ok := parseSegmentName(name)
		switch {
		case !ok:
		case wanted[gen]:
			closed[gen] = true
		case isChunk(gen) || gen < l.segs.files.First:
			if err := l.moveToPool(name); err != nil {
				return nil, nil, err
			}
		default:
			gens = append(gens, gen)
		}
	}
	slices.Sort(gens)
	return gens, closed, nil
}

func (l *Log) moveToPool(name string) error {
	to, err := l.renameToPool(name)
	if err == nil {
		l.segs.putPooled(to)
	}
	return err
}

// renameToPool takes a file's name away, for one of the pool.
func (l *Log) renameToPool(name string) (to string, err error) { return l.renameTo(poolPrefix, name) }

// renameTo takes a file's name away, for a new one with that prefix.
func (l *Log) renameTo(prefix, name string) (to string, err error) {
	to = l.segs.newName(prefix)
	if err := l.opt.FS.Rename(name, to); err != nil {
		return "", fmt.Errorf("take %s out of use: %w", name, err)
	}
	return to, nil
}

// Close refuses further appends, makes durable what was appended, and frees
// everything. It returns why the log has failed, if it has.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	waiting := l.takeWaitingLocked()
	l.mu.Unlock()
	wake(waiting)
	err := l.Flush(context.Background())
	l.stop(stream.ErrClosed)
	l.wg.Wait()
	l.closeFiles()
	return err
}

func (l *Log) closeFiles() {
	l.segs.mu.Lock()
	defer l.segs.mu.Unlock()
	for _, seg := range l.segs.byGen {
		seg.file.Close()
	}
}
