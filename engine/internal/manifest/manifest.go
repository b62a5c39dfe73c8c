// Package manifest is the engine's memory of everything but records: which
// streams and shards there are, and from where on the log counts.
//
//	          ┌──────────── MANIFEST ────────────┐
//	Save ───► │ copy A: head, checksum, JSON     │ ───► Load
//	          │ copy B: the same once more       │      (A, or else B)
//	          └──────────────────────────────────┘
//
// The file is replaced as a whole: written under another name, synced,
// renamed, and the directory synced. A crash leaves the old one or the new one.
// One damaged copy is restored from the other.
package manifest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

const (
	// Name is the file's name.
	Name     = "MANIFEST"
	tempName = "MANIFEST.tmp"

	// Version is the version of the format that is written, and the greatest
	// one that is read.
	Version  = 1
	headSize = 24
	magic    = 0x5453454e414d524d // "MRMANEST"
	// maxBody bounds what is believed of a length field.
	maxBody = 1 << 30
)

// Manifest is everything but records.
type Manifest struct {
	// Openings counts how often the directory was opened.
	Openings uint64 `json:"openings"`
	// FirstSegment is the generation of the oldest log segment that counts.
	FirstSegment uint64 `json:"first_segment"`
	// Closed are the numbers of the files that hold what was in the log before,
	// older blocks of a shard before newer ones.
	Closed []uint64 `json:"closed,omitempty"`
	// NextChunk is the number of the next file that is made for that.
	NextChunk uint64 `json:"next_chunk,omitempty"`
	// Durable is a place of the log before which all was durable when this was written.
	Durable uint64 `json:"durable"`
	// NextHandle is the next shard's number in the log. Numbers are not used again.
	NextHandle uint64 `json:"next_handle"`
	// LastCreated is the greatest creation time given to a stream so far, Unix
	// ms: the next one is greater, so that no two incarnations are alike.
	LastCreated int64    `json:"last_created"`
	Streams     []Stream `json:"streams,omitempty"`
}

// Stream is one stream.
type Stream struct {
	Name           string            `json:"name"`
	Created        int64             `json:"created"` // Unix ms
	NextShard      uint64            `json:"next_shard"`
	RetentionMs    int64             `json:"retention_ms"`
	TrimmedBefore  int64             `json:"trimmed_before,omitempty"` // arrivals, Unix ms: gone whatever retention says later
	MaxRecordBytes int               `json:"max_record_bytes"`
	Limits         string            `json:"limits,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Shards         []Shard           `json:"shards"`
}

// Shard is one shard. Counters are places in the shard: see FORMAT.md.
type Shard struct {
	Index    uint64      `json:"index"`
	Handle   uint64      `json:"handle"`
	Parents  []uint64    `json:"parents,omitempty"` // indexes
	Start    stream.Hash `json:"start"`
	End      stream.Hash `json:"end"`
	OpenedMs int64       `json:"opened,omitempty"` // Unix ms; 0 when nobody noted it
	ClosedMs int64       `json:"closed,omitempty"` // Unix ms; 0 while open
	// Last is the counter of the last record that was durable when this was
	// written; of a closed shard, the last one there is. 0 for none.
	Last uint64 `json:"last,omitempty"`
	// Trimmed is the counter of the last record that retention has dropped.
	Trimmed uint64 `json:"trimmed,omitempty"`
	// Accepted are the runs of counters whose loss somebody has accepted.
	Accepted [][2]uint64 `json:"accepted,omitempty"`
}

// ErrFull says that there are more streams and shards than a manifest may hold,
// some millions.
var ErrFull = errors.New("the manifest is full: delete streams, or wait until closed shards leave retention")

// ErrDamaged says that no copy of the manifest can be read.
var ErrDamaged = errors.New("both copies of the manifest are damaged: restore the file from a copy of the directory")

// ErrVersion says that the manifest was written by a newer version.
var ErrVersion = errors.New("unknown manifest version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the contents of the file.
func Encode(m *Manifest) ([]byte, error) { return encode(m, maxBody) }

func encode(m *Manifest, most int) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(body) > most {
		return nil, ErrFull // and could not be read again
	}
	le := binary.LittleEndian
	one := make([]byte, headSize, headSize+len(body))
	le.PutUint64(one[0:], magic)
	le.PutUint32(one[8:], Version)
	le.PutUint64(one[12:], uint64(len(body)))
	one = append(one, body...)
	le.PutUint32(one[20:], sum(one))
	return append(one, one...), nil
}

// sum is the checksum of a copy, taken with its own field left out.
func sum(one []byte) uint32 {
	return crc32.Update(crc32.Checksum(one[:20], castagnoli), castagnoli, one[headSize:])
}

// Decode reads the contents of the file. whole is false when one copy is damaged.
func Decode(b []byte) (m *Manifest, whole bool, err error) {
	m, errA := decodeCopy(b)
	half := len(b) / 2
	second, errB := decodeCopy(b[half:])
	switch {
	case errA == nil:
		return m, errB == nil && len(b)%2 == 0, nil
	case errB == nil:
		return second, false, nil
	case errors.Is(errA, ErrVersion):
		return nil, false, errA
	}
	return nil, false, ErrDamaged
}

func decodeCopy(b []byte) (*Manifest, error) {
	le := binary.LittleEndian
	if len(b) < headSize || le.Uint64(b) != magic {
		return nil, ErrDamaged
	}
	n := le.Uint64(b[12:])
	if n > maxBody || n > uint64(len(b)-headSize) {
		return nil, ErrDamaged
	}
	one := b[:headSize+n]
	if le.Uint32(one[20:]) != sum(one) {
		return nil, ErrDamaged
	}
	if v := le.Uint32(one[8:]); v != Version {
		return nil, fmt.Errorf("%w %d: this program reads version %d", ErrVersion, v, Version)
	}
	m := new(Manifest)
	if err := json.Unmarshal(one[headSize:], m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// Load reads the manifest of a directory; nil when there is none. repair says
// that one copy was damaged: [Save] restores it.
func Load(dir vfs.FS) (m *Manifest, repair bool, err error) {
	f, err := dir.Open(Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("load manifest: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, false, fmt.Errorf("load manifest: %w", err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("load manifest: %w", err)
	}
	m, whole, err := Decode(b)
	if err != nil {
		return nil, false, fmt.Errorf("load manifest %s: %w", dir.Path(Name), err)
	}
	return m, !whole, nil
}

// UnknownError says that a manifest could not be put in its place, and that
// after a crash either the old or the new one may be found there.
type UnknownError struct{ Err error }

func (e *UnknownError) Error() string {
	return "save manifest: it is unknown which one counts: " + e.Err.Error()
}
func (e *UnknownError) Unwrap() error { return e.Err }

// Save replaces the manifest, durably. After an error the old one counts,
// unless it is an [*UnknownError].
func Save(dir vfs.FS, m *Manifest) error {
	b, err := Encode(m)
	if err != nil {
		return fmt.Errorf("save manifest: %w", err)
	}
	if err := write(dir, b); err != nil {
		return fmt.Errorf("save manifest: %w", err)
	}
	if err := dir.Rename(tempName, Name); err != nil {
		return &UnknownError{err}
	}
	if err := dir.SyncDir(); err != nil {
		return &UnknownError{err}
	}
	return nil
}

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
	return err
}
