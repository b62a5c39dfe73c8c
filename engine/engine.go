package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/engine/internal/manifest"
	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// Engine keeps streams in one directory. All methods may be called at the same
// time.
type Engine struct {
	cfg    Config
	fs     vfs.FS
	lock   io.Closer
	log    *wal.Log
	logger *slog.Logger

	mu      sync.RWMutex
	streams map[string]*Stream
	damage  []Damage // found when opening

	// control is held by who changes what the manifest says, and with it what
	// follows. It is a channel and not a mutex, since its holder waits for disks.
	control     chan struct{}
	openings    uint64
	nextHandle  uint64
	lastCreated int64

	done   chan struct{}           // closed by Close
	stop   context.CancelCauseFunc // ends what the engine does by itself
	once   sync.Once
	closed error // what Close returned
	wg     sync.WaitGroup
}

// Open opens the engine in a directory, which is made, for its user alone, if it
// does not exist, and brings back everything that was acknowledged before. It locks
// the directory ([ErrLocked]) until Close, starts goroutines, and may take seconds
// when there is much to read.
//
// Damage to stored data does not hinder it: it is logged, listed by
// [Engine.Damage], and met by those who read there. Two kinds of directories are
// refused: one that cannot be understood at all (its manifest is missing, or both
// copies of it are damaged, or a newer version has written it), and one of which
// the disk cannot read (EIO) what may be the end of the log: that error names the
// place and says what can be done. All records stay as they are then; but the
// manifest may count one more opening, one copy of a file's header may have been
// mended by the other, and files without records may have other names.
func Open(dir string, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults(false)
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	fs := cfg.fs
	if fs == nil {
		if dir == "" {
			return nil, fmt.Errorf("open engine: %w", invalid("directory", "", "name one, or use OpenMemory"))
		}
		if err := vfs.MakeDir(dir); err != nil {
			return nil, fmt.Errorf("open engine: %w", err)
		}
		fs = vfs.Dir(dir)
	}
	return open(fs, cfg)
}

// OpenMemory opens an engine that has no directory and loses everything at
// Close. It is the same engine over files in memory, for tests and trials: it
// does no real I/O, and may be used inside a bubble of testing/synctest.
func OpenMemory(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults(true)
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	return open(vfs.Memory(), cfg)
}

func open(fs vfs.FS, cfg Config) (_ *Engine, err error) {
	lock, err := fs.Lock()
	if err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
			err = fmt.Errorf("open engine: %w", err)
		}
	}()
	m, err := loadManifest(fs, cfg.Logger)
	if err != nil {
		return nil, err
	}
	// No counter of this opening is given before this is durable.
	m.Openings++
	if err := manifest.Save(fs, m); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, fs: fs, lock: lock, logger: cfg.Logger,
		streams:     map[string]*Stream{},
		control:     make(chan struct{}, 1),
		openings:    m.Openings,
		nextHandle:  m.NextHandle,
		lastCreated: m.LastCreated,
		done:        make(chan struct{}),
	}
	known := wal.Known{
		OpenGen: m.Openings, Durable: wal.Pos(m.Durable),
		Files: wal.Files{First: m.FirstSegment, Closed: m.Closed, NextChunk: m.NextChunk},
	}
	for _, s := range m.Streams {
		for _, sh := range s.Shards {
			known.Shards = append(known.Shards, shardState(&s, sh))
		}
	}
	log, report, err := wal.Open(cfg.log(fs), known)
	if err != nil {
		return nil, err
	}
	e.log = log
	if m.Openings > 1 && log.Durable() != known.Durable {
		e.logger.Info("recovered the log of an engine that was not closed",
			"dir", fs.Path(""), "segments", report.Segments, "blocks", report.Blocks)
	}
	for i := range m.Streams {
		s := e.loadStream(&m.Streams[i])
		e.streams[s.name] = s
	}
	e.tell(report)
	if err := e.save(context.Background(), nil); err != nil {
		log.Close()
		return nil, err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	e.stop = stop
	e.wg.Go(e.runSweeper)
	e.wg.Go(func() { e.runRewriter(ctx) })
	return e, nil
}

// loadManifest reads the manifest, or makes the one of an empty directory.
func loadManifest(fs vfs.FS, logger *slog.Logger) (*manifest.Manifest, error) {
	m, repair, err := manifest.Load(fs)
	if err != nil {
		return nil, err
	}
	if repair {
		logger.Warn("one copy of the manifest is damaged; restoring it from the other", "file", fs.Path(manifest.Name))
	}
	if m != nil {
		return m, nil
	}
	names, err := fs.List()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(names, wal.IsSegment) {
		return nil, fmt.Errorf("%s is missing and there are log files: it belongs to them, restore it", fs.Path(manifest.Name))
	}
	return &manifest.Manifest{FirstSegment: 1, NextHandle: 1}, nil
}

func shardState(s *manifest.Stream, sh manifest.Shard) wal.ShardState {
	state := wal.ShardState{
		Handle: sh.Handle, Base: sequenceBase(s.Created, sh.Index),
		Last: sh.Last, Ended: sh.ClosedMs != 0, Trimmed: sh.Trimmed, Arrival: s.TrimmedBefore,
	}
	for _, a := range sh.Accepted {
		state.Accepted = append(state.Accepted, wal.Range{First: a[0], Last: a[1]})
	}
	return state
}

// tell logs what opening the log found.
func (e *Engine) tell(r wal.Report) {
	for _, d := range r.Damage {
		e.damage = append(e.damage, Damage{File: d.File, Offset: d.Offset, Length: d.Length, Detail: d.Detail})
		e.logger.Error("stored records are damaged; their readers are told, nothing was deleted",
			"file", d.File, "offset", d.Offset, "length", d.Length, "detail", d.Detail)
	}
	if r.Cut != "" {
		e.logger.Warn("cut off an unfinished end of the log; nothing of it was acknowledged as durable",
			"at", r.Cut, "records", r.CutRecords)
	}
}

// Close makes everything durable, ends all readers with [stream.ErrClosed],
// and gives the directory free. It returns why the engine was read-only, if it
// was. It may be called twice.
func (e *Engine) Close() error {
	e.once.Do(func() {
		close(e.done)
		e.stop(stream.ErrClosed)
		e.wg.Wait()
		e.control <- struct{}{} // wait for who has it; nobody gets it after this
		err := e.log.Close()
		if err == nil {
			err = e.save(context.Background(), nil)
		}
		e.closed = errors.Join(err, e.lock.Close())
	})
	return e.closed
}

// CreateStream makes a stream. It is durable when the call returns.
// [ErrStreamExists] when there is one of that name.
func (e *Engine) CreateStream(ctx context.Context, name string, cfg StreamConfig) (*Stream, error) {
	cfg = cfg.withDefaults(e.cfg)
	if err := errors.Join(checkName(name), cfg.validate(e.cfg)); err != nil {
		return nil, fmt.Errorf("create stream: %w", err)
	}
	end, err := e.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", name, err)
	}
	defer end()
	if _, err := e.Stream(name); err == nil {
		return nil, fmt.Errorf("create stream %s: %w", name, ErrStreamExists)
	}
	if err := e.log.Err(); err != nil {
		return nil, fmt.Errorf("create stream %s: %w", name, err)
	}
	e.lastCreated = max(time.Now().UnixMilli(), e.lastCreated+1)
	s := e.newStream(name, e.lastCreated)
	set := &settings{retention: cfg.Retention, maxRecord: cfg.MaxRecordBytes, limits: cfg.Limits, tags: cfg.Tags}
	var all []member
	for i, hash := range stream.SplitHashSpace(cfg.Shards) {
		all = append(all, member{shard: s.newShard(uint64(i), hash, nil, s.created, set)})
	}
	t := newTopology(uint64(cfg.Shards), all)
	if err := e.save(ctx, &change{stream: s, topology: t, settings: set}); err != nil {
		for _, m := range all {
			e.log.Forget(m.log)
		}
		return nil, fmt.Errorf("create stream %s: %w", name, err)
	}
	s.topology.Store(t)
	s.settings.Store(set)
	e.mu.Lock()
	e.streams[name] = s
	e.mu.Unlock()
	return s, nil
}

// Stream returns an existing stream; [stream.ErrStreamNotFound] when there is none.
func (e *Engine) Stream(name string) (*Stream, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	s, ok := e.streams[name]
	if !ok {
		return nil, fmt.Errorf("stream %s: %w", clip(name), stream.ErrStreamNotFound)
	}
	return s, nil
}

// EnsureStream returns the stream, and makes it if there is none: what a
// program wants at its start. An existing stream stays as it is, whatever cfg
// says.
func (e *Engine) EnsureStream(ctx context.Context, name string, cfg StreamConfig) (*Stream, error) {
	for {
		s, err := e.Stream(name)
		if err == nil {
			return s, nil
		}
		s, err = e.CreateStream(ctx, name, cfg)
		if !errors.Is(err, ErrStreamExists) {
			return s, err
		}
	}
}

// Streams returns the names of all streams, sorted.
func (e *Engine) Streams() []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Sorted(maps.Keys(e.streams))
}

// DeleteStream removes a stream with all its records. Its readers get
// [stream.ErrStreamNotFound]. A stream that is created under the same name
// later is another one: [Stream.Delete] never removes that.
func (e *Engine) DeleteStream(ctx context.Context, name string) error {
	end, err := e.begin(ctx)
	if err != nil {
		return fmt.Errorf("delete stream %s: %w", clip(name), err)
	}
	defer end()
	s, err := e.Stream(name)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return s.remove(ctx)
}

// remove takes the stream away. The caller has the control.
func (s *Stream) remove(ctx context.Context) error {
	e := s.e
	if err := e.save(ctx, &change{stream: s, remove: true}); err != nil {
		return fmt.Errorf("delete stream %s: %w", s.name, err)
	}
	e.mu.Lock()
	delete(e.streams, s.name)
	e.mu.Unlock()
	s.deleted.Store(true)
	for _, m := range s.topology.Load().all {
		e.log.Seal(m.log)
		e.log.Resume(m.log, false)
		e.log.Drop(m.log)
		e.log.Forget(m.log)
	}
	return nil
}

// Dir returns the engine's directory; "" for one in memory. It
// leaves alone what others keep there under names that it does not use (FORMAT.md).
func (e *Engine) Dir() string {
	dir, _ := e.fs.(vfs.Dir)
	return string(dir)
}

// Err returns why the engine takes no more records, wrapping
// [stream.ErrReadOnly]; nil while it does.
func (e *Engine) Err() error { return e.log.Err() }
