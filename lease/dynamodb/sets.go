package dynamodb

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lease"
)

// A beat costs one write unit however many streams its worker serves: the row of
// a member has a digest of them. What it stands for is in rows of their own, which
// are written before the row that refers to them, and go after it.
//
//	application                 incarnation       streams
//	billing                     w-1#5f3a          9c1185a5…      ← beats
//	@streams/billing␊w-1#5f3a   9c1185a5…/00000   compressed     ← written when w-1 joins, and when
//	@streams/billing␊w-1#5f3a   9c1185a5…/00001   the rest         it serves others
//
// Who has read a digest's set once has it in memory.
const (
	// partBytes is how much of a set one row has.
	partBytes = 256 << 10
	// looks is how often the members are listed while the streams of one cannot be
	// found: it has changed its row meanwhile, or is gone.
	looks = 4
)

// sets are the sets that this handle has come across.
type sets struct {
	mu    sync.Mutex
	known map[string]lease.StreamSet // by digest
}

// digest returns what stands for a set; nothing stands for the empty one.
func digest(of lease.StreamSet) string {
	if of == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:16])
}

func (s *sets) get(digest string) (lease.StreamSet, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, ok := s.known[digest]
	return set, ok || digest == ""
}

// add remembers a set. Where fleets have changed theirs that often, only the last
// ones are still in use.
func (s *sets) add(digest string, set lease.StreamSet) {
	const most = 64
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= most {
		clear(s.known)
	}
	s.known[digest] = set
}

// errNoStreams says that the rows of a member's streams are not there.
var errNoStreams = errors.New("its rows of streams are not there, or damaged")

// streams returns the set that a digest in the row of a member stands for, or
// errNoStreams.
func (s *Store) streams(ctx context.Context, incarnation, of string) (lease.StreamSet, error) {
	if set, ok := s.sets.get(of); ok {
		return set, nil
	}
	rows, err := s.rowsOf(ctx, s.streamsKey(incarnation), of+"/")
	if err != nil {
		return "", err
	}
	var packed []byte
	for _, it := range rows {
		r := reader{item: it}
		packed = append(packed, r.bytes(memberStreams)...)
	}
	unpacked, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if set := lease.StreamSet(unpacked); err == nil && digest(set) == of {
		s.sets.add(of, set)
		return set, nil
	}
	return "", fmt.Errorf("member %q: %w", incarnation, errNoStreams)
}

// streamsKey returns the hash key of a member's rows of streams.
func (s *Store) streamsKey(incarnation string) string {
	return streamsOf + s.config.fleet() + lineFeed + incarnation
}

// writeStreams makes sure that the rows are there which the digest of a set stands
// for.
func (s *Store) writeStreams(ctx context.Context, incarnation string, set lease.StreamSet) error {
	if set == "" {
		return nil
	}
	of, mark := digest(set), newMark()
	chunks := slices.Collect(slices.Chunk(packed(set), partBytes))
	err := parallel(ctx, len(chunks), func(ctx context.Context, i int) error {
		row := keyIn(s.streamsKey(incarnation), fmt.Sprintf("%s/%05d", of, i))
		row[memberStreams], row[memberWrite] = binary(chunks[i]), text(mark)
		_, _, err := request(ctx, s.api.PutItem, &sdk.PutItemInput{TableName: &s.config.MembersTable, Item: row})
		return err
	})
	if err == nil {
		s.sets.add(of, set)
	}
	return err
}

// packed compresses a set: names of streams differ in their last characters.
func packed(set lease.StreamSet) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err == nil {
		_, err = io.WriteString(w, string(set))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// sweepStreams deletes the rows of a member's streams but for those of one set. A
// row that was written since it was looked at stays. What cannot be deleted is
// left: it lies under a key that nobody asks for.
func (s *Store) sweepStreams(ctx context.Context, incarnation string, but lease.StreamSet) {
	rows, err := s.rowsOf(ctx, s.streamsKey(incarnation), "")
	if err != nil {
		return
	}
	keep := digest(but) + "/"
	_ = parallel(ctx, len(rows), func(ctx context.Context, i int) error {
		r := reader{item: rows[i]}
		name, mark := r.text(memberIncarnation), r.text(memberWrite)
		if but != "" && strings.HasPrefix(name, keep) {
			return nil
		}
		_, err := s.deleteRow(ctx, keyIn(s.streamsKey(incarnation), name), condition{memberWrite, text(mark)})
		if errors.Is(err, lease.ErrConflict) {
			return nil
		}
		return err
	})
}
