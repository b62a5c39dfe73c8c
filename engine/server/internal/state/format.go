package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// The file is a line with the version of the format and the checksum of what
// follows, and then the state as JSON:
//
//	millrace-server 1 5f0a33c1
//	{"secret":"…","streams":{…}}
const (
	// Version is the version that is written, and the greatest one that is read.
	Version = 1
	header  = "millrace-server %d %08x\n"
	// maxSize bounds what is read and written. A stream takes some hundred bytes;
	// with everything that the API lets one have, half a megabyte.
	maxSize = 256 << 20
)

var (
	// ErrVersion says that a newer version has written the file.
	ErrVersion = errors.New("it was written by a newer version: use that one")
	// ErrDamaged says that the file is not what was written.
	ErrDamaged = errors.New("the file is damaged: restore it from a copy of the directory, or remove it; " +
		"without it consumers, modes and policies are forgotten, records are not")
	// ErrFull says that there is more to remember than a file may hold.
	ErrFull = errors.New("the server's state is full: deregister consumers, or delete streams")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(s *State) ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if len(body) > maxSize-64 {
		return nil, ErrFull
	}
	return sealed(body), nil
}

func sealed(body []byte) []byte {
	b := fmt.Appendf(make([]byte, 0, len(body)+64), header, Version, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

func decode(b []byte) (*State, error) {
	line, body, found := bytes.Cut(b, []byte("\n"))
	if !found {
		return nil, ErrDamaged
	}
	var version int
	var sum uint32 // compared as text: numbers can be written in several ways
	if n, _ := fmt.Sscanf(string(line)+"\n", header, &version, &sum); n < 1 || version < 1 {
		return nil, ErrDamaged
	}
	if version > Version {
		return nil, fmt.Errorf("version %d of its format: %w", version, ErrVersion)
	}
	if string(line)+"\n" != fmt.Sprintf(header, version, crc32.Checksum(body, castagnoli)) {
		return nil, ErrDamaged
	}
	s := new(State)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(s.Secret) < 32 {
		return nil, fmt.Errorf("%w: it has no secret", ErrDamaged)
	}
	if s.Streams == nil {
		s.Streams = map[string]*Stream{}
	}
	maps.DeleteFunc(s.Streams, func(_ string, one *Stream) bool { return one == nil })
	for _, one := range s.Streams {
		one.Consumers = slices.DeleteFunc(one.Consumers, func(c *Consumer) bool { return c == nil })
	}
	return s, nil
}
