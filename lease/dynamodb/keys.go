package dynamodb

import (
	"errors"
	"strconv"
	"strings"

	"github.com/millrace/millrace/stream"
)

// layout says how leases are written as rows: which keys they have, and what
// the KCL's words mean that it explains in its configuration alone.
type layout struct {
	single   stream.Identity
	multi    map[string]stream.Identity // by the KCL's name, account:stream:epoch
	names    map[string]string          // the KCL's names, by stream ID
	prefixes map[string]string          // the KCL's names without the epoch, by stream name
	at       stream.Position            // what AT_TIMESTAMP means
}

func newLayout(c Config) *layout {
	f := &layout{single: c.SingleStream, multi: c.MultiStream, names: map[string]string{}, prefixes: map[string]string{}, at: stream.TrimHorizon}
	for name, id := range c.MultiStream {
		f.names[id.ID()] = name
		f.prefixes[id.Name] = name[:strings.LastIndexByte(name, ':')+1]
	}
	if !c.Timestamp.IsZero() {
		f.at = stream.AtTime(c.Timestamp)
	}
	return f
}

// tableKey returns the leaseKey of a lease. It depends on the key alone, and
// not on rows: two workers never write two rows for one lease. Another
// incarnation of a stream that the KCL knows has keys of the KCL's form, too: as
// there, its rows have to go before those of the next can come.
func (f *layout) tableKey(key string) string {
	slash := strings.LastIndexByte(key, '/')
	if slash < 0 {
		return key
	}
	id, shard := key[:slash], key[slash+1:]
	colon := strings.LastIndexByte(id, ':')
	if colon < 0 {
		return key
	}
	switch name := id[:colon]; {
	case f.single.Name != "" && name == f.single.Name:
		return shard
	case f.names[id] != "":
		return f.names[id] + ":" + shard
	case f.prefixes[name] != "":
		ms, err := strconv.ParseInt(id[colon+1:], 10, 64)
		if err != nil {
			return key
		}
		return f.prefixes[name] + strconv.FormatInt(ms/1000, 10) + ":" + shard
	default:
		return key
	}
}

// errStranger says that a row was written by somebody else, and of what stream
// it is cannot be known.
var errStranger = errors.New("it was not written by this program, and Config.SingleStream or Config.MultiStream does not say of which stream it is: " +
	"set it for a KCL application's table, or give this application a table of its own")

// identify says of which shard of which stream a row is that the KCL wrote.
func (f *layout) identify(tableKey string) (id stream.Identity, shard string, err error) {
	if f.single.Name != "" {
		return f.single, tableKey, nil
	}
	if colon := strings.LastIndexByte(tableKey, ':'); colon >= 0 {
		if id, known := f.multi[tableKey[:colon]]; known {
			return id, tableKey[colon+1:], nil
		}
	}
	return stream.Identity{}, "", errStranger
}

// errMoved says that a row lies under another key than it would be looked for.
var errMoved = errors.New("Config.SingleStream or Config.MultiStream is not what it was when the row was made: set it as it was then, in all workers")

// multiName returns the KCL's name of the stream in a key of its multi-stream
// form.
func (f *layout) multiName(tableKey string) (name string, ok bool) {
	colon := strings.LastIndexByte(tableKey, ':')
	if colon < 0 {
		return "", false
	}
	name = tableKey[:colon]
	for _, prefix := range f.prefixes {
		if epoch, found := strings.CutPrefix(name, prefix); found && digits(epoch) {
			return name, true
		}
	}
	return "", false
}
