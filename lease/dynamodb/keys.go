package dynamodb

import (
	"strings"

	"github.com/millrace/millrace/stream"
)

// layout says how leases are written as rows: which keys they have, and what
// the KCL's words mean that it explains in its configuration alone.
type layout struct {
	single string            // the stream of a single-stream application
	multi  map[string]string // streams by the KCL's names, account:stream:epoch
	names  map[string]string // and the other way round
	at     stream.Position   // what AT_TIMESTAMP means
}

func newLayout(c Config) *layout {
	f := &layout{single: c.SingleStream, multi: c.MultiStream, names: make(map[string]string, len(c.MultiStream)), at: stream.TrimHorizon}
	for name, of := range c.MultiStream {
		f.names[of] = name
	}
	if !c.Timestamp.IsZero() {
		f.at = stream.AtTime(c.Timestamp)
	}
	return f
}

// kcl reports whether the table is one of a KCL application.
func (f *layout) kcl() bool { return f.single != "" || len(f.multi) > 0 }

// tableKey returns the leaseKey of a lease. It depends on the key alone, and
// not on rows: two workers never write two rows for one lease. Incarnations of a
// stream that the KCL knows have the same keys: the rows of one have to go before
// those of the next can come.
func (f *layout) tableKey(key string) string {
	name, shard, ok := parts(key)
	switch {
	case !ok:
		return key
	case name == f.single:
		return shard
	case f.names[name] != "":
		return f.names[name] + ":" + shard
	default:
		return key
	}
}

// parts divides the key of a lease, as [lease.Key] makes it, into the name of its
// stream and the ID of its shard.
func parts(key string) (name, shard string, ok bool) {
	slash := strings.LastIndexByte(key, '/')
	if slash < 0 {
		return "", "", false
	}
	colon := strings.LastIndexByte(key[:slash], ':')
	if colon < 0 {
		return "", "", false
	}
	return key[:colon], key[slash+1:], true
}

// ofKCL says of which shard of which stream a row is that does not say so itself,
// since the KCL wrote it.
func (f *layout) ofKCL(tableKey string) (name, shard string, ok bool) {
	name, shard = f.single, tableKey
	if name == "" {
		var prefix string
		prefix, shard = multiKey(tableKey)
		name = f.multi[prefix]
	}
	return name, shard, name != "" && !strings.Contains(shard, "/")
}

// multiKey divides a key of the KCL's multi-stream form into its name of the
// stream and the shard.
func multiKey(tableKey string) (name, shard string) {
	colon := strings.LastIndexByte(tableKey, ':')
	return tableKey[:max(colon, 0)], tableKey[colon+1:]
}
