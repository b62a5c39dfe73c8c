package main

import (
	"encoding/binary"
	"errors"
)

// numbered is a line with its place in its source, counted from 1: the payload
// of a record.
type numbered struct {
	source, line int64
	text         []byte
}

// encode returns source and line as varints, followed by the text.
func (n numbered) encode() []byte {
	data := make([]byte, 0, 2*binary.MaxVarintLen64+len(n.text))
	data = binary.AppendUvarint(data, uint64(n.source))
	data = binary.AppendUvarint(data, uint64(n.line))
	return append(data, n.text...)
}

var errNotNumbered = errors.New("the record does not begin with the numbers of its source and line")

// decode reads what encode wrote; text is a view of data.
func decode(data []byte) (n numbered, err error) {
	source, i := binary.Uvarint(data)
	line, j := binary.Uvarint(data[max(i, 0):])
	if i <= 0 || j <= 0 || int64(source) < 1 || int64(line) < 1 {
		return n, errNotNumbered
	}
	return numbered{int64(source), int64(line), data[i+j:]}, nil
}
