package state

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// Name is the file's name.
const (
	Name     = "SERVER"
	tempName = "SERVER.tmp"
)

// Store keeps the state of one server. Its methods may be called at the same time.
type Store struct {
	dir vfs.FS
	// turn is held by who changes something. It is a channel and not a mutex,
	// since its holder waits for disks.
	turn chan struct{}
	now  atomic.Pointer[State]
	// saved is the checksum of what the file has, or zero when that is not known.
	// It belongs to who has the turn.
	saved [sha256.Size]byte
}

// OpenDir opens the state in the engine's directory, and makes it where there
// is none.
func OpenDir(path string) (*Store, error) { return Open(vfs.Dir(path)) }

// OpenMemory opens a state that is forgotten with the process.
func OpenMemory() (*Store, error) { return Open(vfs.Memory()) }

// Open opens the state in a directory, and makes it where there is none.
// [ErrVersion] and [ErrDamaged] say that there is one that cannot be used.
func Open(dir vfs.FS) (*Store, error) {
	s := &Store{dir: dir, turn: make(chan struct{}, 1)}
	b, err := read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fresh := &State{Secret: make([]byte, 32), Streams: map[string]*Stream{}}
		rand.Read(fresh.Secret)
		if b, err = encode(fresh); err == nil {
			err = write(dir, b)
		}
		if err != nil {
			return nil, fmt.Errorf("make the server's state: %w", err)
		}
		s.now.Store(fresh)
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("load the server's state: %w", err)
	}
	loaded, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("load the server's state %s: %w", dir.Path(Name), err)
	}
	s.now.Store(loaded)
	return s, nil
}

// Load returns the state of this moment.
func (s *Store) Load() *State { return s.now.Load() }

// Draft is a copy of the state in the hands of who has the turn to change it.
type Draft struct {
	State
	store *Store
	own   map[string]bool // streams that are copied already
}

// Begin waits for the turn to change something, and returns the state as it is,
// to be changed through the draft's methods and saved. [Draft.End] has to be called.
func (s *Store) Begin(ctx context.Context) (*Draft, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	d := &Draft{State: *s.now.Load(), store: s, own: map[string]bool{}}
	d.Streams = maps.Clone(d.Streams)
	return d, nil
}

// End gives the turn back. What was not saved is forgotten.
func (d *Draft) End() { <-d.store.turn }

// Stream returns what is known of an incarnation of a stream, to be changed.
func (d *Draft) Stream(name string, created int64) *Stream {
	s := d.Streams[name]
	switch {
	case s == nil || s.Created != created:
		s = &Stream{Created: created}
	case d.own[name]:
		return s
	default:
		s = s.clone()
	}
	d.own[name] = true
	d.Streams[name] = s
	return s
}

// Forget takes away what is known of a stream.
func (d *Draft) Forget(name string) {
	delete(d.Streams, name)
	delete(d.own, name)
}

// Prune takes away what is known of streams that are not there any more, and
// of consumers that are gone. exists returns when the stream of a name that is
// there now was created; its error ends the pruning. What was said of a stream
// before it was made is now said of that stream: a crash came in between.
func (d *Draft) Prune(now time.Time, exists func(name string) (created int64, ok bool, err error)) error {
	for name, s := range d.Streams {
		created, ok, err := exists(name)
		switch {
		case err != nil:
			return err
		case !ok || s.Created != 0 && s.Created != created:
			d.Forget(name)
			continue
		case s.Created == 0:
			s = d.Stream(name, 0)
			s.Created = created
		}
		if slices.ContainsFunc(s.Consumers, func(c *Consumer) bool { return c.over(now) }) {
			s = d.Stream(name, s.Created)
			s.Consumers = slices.DeleteFunc(s.Consumers, func(c *Consumer) bool { return c.over(now) })
		}
	}
	return nil
}

// Save makes the draft durable, if anything in it is different, and then what
// everybody sees. What is as it is for every stream at that moment is left out.
// After an error the state is as before, as long as the process lives; the next
// one may find either. The draft can be changed and saved again.
func (d *Draft) Save(now time.Time) error {
	maps.DeleteFunc(d.Streams, func(_ string, s *Stream) bool { return s.blank(now) })
	saved := d.State
	saved.Streams = maps.Clone(d.Streams)
	clear(d.own)
	b, err := encode(&saved)
	if err != nil {
		return fmt.Errorf("save the server's state: %w", err)
	}
	sum := sha256.Sum256(b)
	if sum == d.store.saved {
		return nil
	}
	d.store.saved = [sha256.Size]byte{} // unknown, until it is written
	if err := write(d.store.dir, b); err != nil {
		return fmt.Errorf("save the server's state: %w", err)
	}
	d.store.saved = sum
	d.store.now.Store(&saved)
	return nil
}

func read(dir vfs.FS) ([]byte, error) {
	f, err := dir.Open(Name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxSize {
		return nil, fmt.Errorf("%s has %d bytes: %w", dir.Path(Name), size, ErrDamaged)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// write puts a state in the place of the one before.
func write(dir vfs.FS, b []byte) error {
	f, err := dir.Create(tempName)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = dir.Rename(tempName, Name)
	}
	if err == nil {
		err = dir.SyncDir()
	}
	return err
}
