package server

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/stream"
)

// iterator is a place in a shard, as clients carry it from one GetRecords to the
// next: sealed, so that nobody makes one by himself. It belongs to one incarnation
// of a stream, and is of use for five minutes, also to the server's next process.
//
//	version u8 | issued | created | shard | kind u8 | place | name of the stream
//
// Numbers are varints; the place is a sequence number of three words, a time, or
// nothing. Times are Unix milliseconds, but for that of issue in nanoseconds: no
// two iterators are alike.
type iterator struct {
	issued  time.Time
	stream  string
	created int64 // of the stream, Unix ms
	shard   string
	from    stream.Position
}

const (
	iteratorVersion = 1
	iteratorKind    = "ShardIterator" // of token
	iteratorLife    = 300_000 * time.Millisecond
)

// The kinds of places. LATEST is none of them: it is made concrete when the
// iterator is issued.
const (
	placeOldest = iota
	placeAt
	placeAfter
	placeTime
)

// issue seals an iterator that is born now.
func (s *Server) issue(v view, shard string, from stream.Position) string {
	it := iterator{time.Now(), v.name, v.created.UnixMilli(), shard, from}
	return s.seal(iteratorKind, it.append(make([]byte, 0, 256)))
}

func (it *iterator) append(dst []byte) []byte {
	dst = append(dst, iteratorVersion)
	dst = binary.AppendVarint(dst, it.issued.UnixNano())
	dst = binary.AppendVarint(dst, it.created)
	number, _ := strconv.ParseUint(strings.TrimPrefix(it.shard, "shardId-"), 10, 64)
	dst = binary.AppendUvarint(dst, number)
	if seq, after, ok := it.from.Sequence(); ok {
		kind := byte(placeAt)
		if after {
			kind = placeAfter
		}
		hi, mid, lo := seq.Words()
		dst = append(dst, kind)
		dst = binary.AppendUvarint(dst, hi)
		dst = binary.AppendUvarint(dst, mid)
		dst = binary.AppendUvarint(dst, lo)
	} else if t, ok := it.from.Time(); ok {
		dst = append(dst, placeTime)
		dst = binary.AppendVarint(dst, t.UnixMilli())
	} else {
		dst = append(dst, placeOldest)
	}
	return append(dst, it.stream...)
}

// openIterator reads an iterator that this server has issued. AWS takes it in
// quotes as well, as it stands in answers.
func (s *Server) openIterator(token string) (it iterator, err error) {
	if len(token) > 2 && strings.HasPrefix(token, `"`) && strings.HasSuffix(token, `"`) {
		token = token[1 : len(token)-1]
	}
	text, ok := s.unseal(iteratorKind, token)
	if ok {
		it, ok = parseIterator(text)
	}
	if !ok {
		return it, invalidArgument("Invalid ShardIterator.")
	}
	if now := time.Now(); now.Sub(it.issued) > iteratorLife {
		const form = "Mon Jan 02 15:04:05 MST 2006"
		return it, expiredIterator("Iterator expired. The iterator was created at time %s while right now it is %s which is further in the future than the tolerated delay of %d milliseconds.",
			it.issued.UTC().Format(form), now.UTC().Format(form), iteratorLife.Milliseconds())
	}
	return it, nil
}

func parseIterator(text []byte) (it iterator, ok bool) {
	r := varints{rest: text, ok: true}
	if r.byte() != iteratorVersion {
		return it, false
	}
	it.issued = time.Unix(0, r.signed())
	it.created = r.signed()
	it.shard, _ = fullShardID(strconv.FormatUint(r.unsigned(), 10))
	switch r.byte() {
	case placeOldest:
		it.from = stream.TrimHorizon
	case placeAt:
		it.from = stream.At(stream.MakeSequence(r.unsigned(), r.unsigned(), r.unsigned()))
	case placeAfter:
		it.from = stream.After(stream.MakeSequence(r.unsigned(), r.unsigned(), r.unsigned()))
	case placeTime:
		it.from = stream.AtTime(time.UnixMilli(r.signed()))
	default:
		return it, false
	}
	it.stream = string(r.rest)
	return it, r.ok && it.shard != "" && it.stream != ""
}

// varints reads numbers; ok is false after one that is not there.
type varints struct {
	rest []byte
	ok   bool
}

func (r *varints) byte() byte {
	if len(r.rest) == 0 {
		r.ok = false
		return 0xff
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *varints) signed() int64 {
	n, size := binary.Varint(r.rest)
	r.skip(size)
	return n
}

func (r *varints) unsigned() uint64 {
	n, size := binary.Uvarint(r.rest)
	r.skip(size)
	return n
}

func (r *varints) skip(size int) {
	if size <= 0 {
		r.ok = false
		return
	}
	r.rest = r.rest[size:]
}
