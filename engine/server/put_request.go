package server

import (
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

// putRequest is the input of PutRecord and PutRecords. It has a decoder of its
// own, which works in the request's body and allocates nothing for a record:
//
//	{"StreamName":"s","Records":[{"Data":"aGk=","PartitionKey":"k"},…]}
//	                                      └──┬─┘                 └┬┘
//	                     decoded in place: entries[0].Data    PartitionKey
//
// So the entries are valid only as long as the body is.
type putRequest struct {
	streamRef
	dryRun  bool
	entries []stream.Entry
	// bytes is the size of all records, data and partition keys.
	bytes int
	// keyless is a record that has no partition key, counted from 1; 0 for none.
	keyless int

	violations violations
	hashKey    string // the first one beyond the hash space, or empty
}

const (
	mostEntries = 500
	// mostPut bounds the data and partition keys of one call.
	mostPut = 10 << 20
	// mostData is what the service model allows; the stream may allow less.
	mostData = 10 << 20
	mostKey  = 256
)

var putRequests = sync.Pool{New: func() any { return new(putRequest) }}

// recycle lets go of the body.
func (in *putRequest) recycle() {
	clear(in.entries)
	*in = putRequest{entries: in.entries[:0]}
	putRequests.Put(in)
}

// decodeRecords reads the input of PutRecords.
func (in *putRequest) decodeRecords(p protocol, body []byte) error {
	return in.decode(p, body, func(r wire.Reader) {
		records := false
		for r.Object(); r.Member(); {
			switch {
			case string(r.Key()) == "Records" && !r.Null():
				records = true
				in.list(r)
			case string(r.Key()) != "Records":
				in.member(r)
			}
		}
		if !records {
			in.violations.add("null", "records", "Member must not be null")
		}
	})
}

// decodeRecord reads the input of PutRecord.
func (in *putRequest) decodeRecord(p protocol, body []byte) error {
	return in.decode(p, body, func(r wire.Reader) {
		var one parts
		for r.Object(); r.Member(); {
			if !one.member(r) {
				in.member(r)
			}
		}
		in.add(&one, "")
	})
}

func (in *putRequest) decode(p protocol, body []byte, read func(wire.Reader)) error {
	if len(body) == 0 {
		body = []byte("{}")
		p = json11
	}
	r := cursor(p, body)
	read(r)
	if err := r.End(); err != nil {
		return serialization("%v", err)
	}
	if err := in.violations.err(); err != nil {
		return err
	}
	if in.hashKey != "" {
		return invalidArgument("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s", in.hashKey)
	}
	return nil
}

// member reads what both operations have beside records.
func (in *putRequest) member(r wire.Reader) {
	key := string(r.Key())
	if r.Null() {
		return
	}
	var to *string
	switch key {
	case "StreamName":
		to = &in.StreamName
	case "StreamARN":
		to = &in.StreamARN
	case "StreamId":
		to = &in.StreamId
	case "DryRun":
		in.dryRun = r.Bool()
		return
	case "SequenceNumberForOrdering":
		// Records of a shard are in the order of their puts in any case.
		var ordering struct {
			SequenceNumberForOrdering string `wire:"pattern=sequenceNumber"`
		}
		ordering.SequenceNumberForOrdering = string(r.Text())
		in.check(&ordering, key)
		return
	default:
		r.Skip()
		return
	}
	*to = string(r.Text())
	in.check(&in.streamRef, key)
}

// check notes what a member that was given does not meet.
func (in *putRequest) check(shape any, name string) {
	v := reflect.ValueOf(shape).Elem()
	members := shapeOf(v.Type()).members
	for i := range members {
		if m := &members[i]; m.name == name {
			in.violations.check(m, v.FieldByIndex(m.index), m.path)
		}
	}
}

// list reads the records of PutRecords.
func (in *putRequest) list(r wire.Reader) {
	in.entries, in.bytes, in.keyless = in.entries[:0], 0, 0 // of several lists, the last one counts
	n := 0
	for r.Array(); r.Item(); n++ {
		if n >= mostEntries {
			r.Skip()
			continue
		}
		var one parts
		if !r.Null() {
			for r.Object(); r.Member(); {
				if !one.member(r) {
					r.Skip()
				}
			}
		}
		in.add(&one, "records.")
	}
	if r.Err() != nil {
		return
	}
	if n > mostEntries || n == 0 {
		limit := bound{"len", mostEntries, n > 0}
		if n == 0 {
			limit.limit = 1
		}
		in.violations.add(fmt.Sprintf("'[%d records]'", n), "records", limit.String())
	}
}

// parts are the members of one record.
type parts struct {
	data, key, hash          []byte
	hasData, hasKey, hasHash bool
}

// member reads a member, if it is one of a record.
func (p *parts) member(r wire.Reader) bool {
	var to *[]byte
	var has *bool
	switch string(r.Key()) {
	case "Data":
		if !r.Null() {
			p.data, p.hasData = r.Bytes(), true
		}
		return true
	case "PartitionKey":
		to, has = &p.key, &p.hasKey
	case "ExplicitHashKey":
		to, has = &p.hash, &p.hasHash
	default:
		return false
	}
	if !r.Null() {
		*to, *has = r.Text(), true
	}
	return true
}

// add takes over a record, and notes what is wrong with it. prefix is what its
// members are called by, but for its number.
func (in *putRequest) add(p *parts, prefix string) {
	e := stream.Entry{Data: p.data, PartitionKey: unsafe.String(unsafe.SliceData(p.key), len(p.key))}
	if !p.hasKey && in.keyless == 0 {
		in.keyless = len(in.entries) + 1
	}
	ok := p.hasData && len(p.data) <= mostData
	if n := len(p.key); p.hasKey && (n == 0 || n > mostKey) {
		ok = ok && n > 0 && utf8.RuneCount(p.key) <= mostKey
	}
	if p.hasHash {
		var err error
		if hash := string(p.hash); !hashKey(hash) {
			ok = false
		} else if e.HashKey, err = stream.ParseHash(hash); err != nil && in.hashKey == "" {
			in.hashKey = hash
		}
		e.HasHashKey = true
	}
	in.entries = append(in.entries, e)
	in.bytes += e.Size()
	if !ok {
		in.refuse(p, memberPath(prefix, len(in.entries)))
	}
}

func memberPath(prefix string, number int) string {
	if prefix == "" {
		return ""
	}
	return prefix + strconv.Itoa(number) + ".member."
}

// hashKey reports whether a text is a decimal number of at most 39 digits.
func hashKey(text string) bool {
	if len(text) == 0 || len(text) > 39 || text[0] == '0' && len(text) > 1 {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// refuse tells what is wrong with a record, in the words of AWS.
func (in *putRequest) refuse(p *parts, path string) {
	add := func(member, value string, demand string) {
		if len(in.violations) < mostViolations {
			in.violations.add(value, path+member, demand)
		}
	}
	text := func(b []byte) string { return quote(reflect.ValueOf(string(b))) }
	switch n := utf8.RuneCount(p.key); {
	case p.hasKey && n == 0:
		add("partitionKey", "''", bound{"len", 1, false}.String())
	case n > mostKey:
		add("partitionKey", text(p.key), bound{"len", mostKey, true}.String())
	}
	if p.hasHash && !hashKey(string(p.hash)) {
		add("explicitHashKey", text(p.hash), pattern{text: patterns["hashKey"]}.String())
	}
	switch {
	case !p.hasData:
		add("data", "null", "Member must not be null")
	case len(p.data) > mostData:
		add("data", quote(reflect.ValueOf(p.data)), bound{"len", mostData, true}.String())
	}
}
