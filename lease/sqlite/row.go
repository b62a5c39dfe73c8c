package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
	"github.com/millrace/millrace/stream"
)

// stateValues adds the values of the columns from term on.
func stateValues(values []any, l *lease.Lease) []any {
	return append(values,
		l.Term,
		l.Checkpoint.Position.String(), l.Checkpoint.Pending.Position.String(),
		sqlstore.Blob(l.Checkpoint.Pending.Data), sqlstore.Blob(l.Checkpoint.Progress),
		list(l.Parents), list(l.Children),
		l.Hash.Start.String(), l.Hash.End.String(),
		l.Load.BytesPerSecond, l.Load.RecordsPerSecond,
	)
}

// storable refuses names that would come back as something else: JSON has no way
// to say what is no UTF-8. Keys are asked for by lists of them, and parents and
// children are lists.
func storable(lists ...[]string) error {
	for _, names := range lists {
		for _, name := range names {
			if !utf8.ValidString(name) {
				return fmt.Errorf("%q: %w", name, ErrText)
			}
		}
	}
	return nil
}

// list returns ids as a JSON array.
func list(ids []string) string {
	if len(ids) == 0 {
		return "[]"
	}
	text, err := json.Marshal(ids)
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	return string(text)
}

// scanLease reads the columns of leaseColumns. With [lease.ErrUnreadable] it returns
// the row's key.
func scanLease(c *columns) (l lease.Lease, err error) {
	l.Key, l.Stream, l.StreamID, l.Shard = next[string](c), next[string](c), next[string](c), next[string](c)
	l.Owner, l.CheckpointOwner = next[string](c), next[string](c)
	l.Counter, l.Term = next[int64](c), next[int64](c)
	position, pending := next[string](c), next[string](c)
	l.Checkpoint.Pending.Data, l.Checkpoint.Progress = next[[]byte](c), next[[]byte](c)
	parents, children := next[string](c), next[string](c)
	start, end := next[string](c), next[string](c)
	l.Load.BytesPerSecond, l.Load.RecordsPerSecond = next[float64](c), next[float64](c)
	if c.err != nil { // the tables are strict: it is the driver's doing, and not the row's
		return lease.Lease{}, c.err
	}
	if err := errors.Join(
		sqlstore.Parse("checkpoint", position, &l.Checkpoint.Position, stream.ParsePosition),
		sqlstore.Parse("pending", pending, &l.Checkpoint.Pending.Position, stream.ParsePosition),
		sqlstore.Parse("parents", parents, &l.Parents, parseList),
		sqlstore.Parse("children", children, &l.Children, parseList),
		sqlstore.Parse("hash_start", start, &l.Hash.Start, stream.ParseHash),
		sqlstore.Parse("hash_end", end, &l.Hash.End, stream.ParseHash),
	); err != nil {
		return lease.Lease{Key: l.Key}, fmt.Errorf("lease %s: %w: %w", l.Key, lease.ErrUnreadable, err)
	}
	return l, nil
}

// scanListed reads a row of a listing.
func scanListed(c *columns) (sqlstore.Listed, error) { return sqlstore.List(scanLease(c)) }

// parseList reads what list returns.
func parseList(text string) (ids []string, err error) {
	if text == "[]" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text), &ids)
	return ids, err
}

// memberValues returns the values of the columns that joinMember and swapMember
// write.
func memberValues(m lease.Member) []any {
	return []any{
		m.Worker, m.Beats, m.Revision, m.Fenced, m.Draining,
		m.Load.BytesPerSecond, m.Load.RecordsPerSecond, int64(m.MaxLeases), m.Code, m.Zone, m.Host, string(m.Streams), string(m.Blocked),
		m.FailoverTime.Milliseconds(), m.HandoffTimeout.Milliseconds(),
	}
}

// scanMember reads the columns of memberColumns.
func scanMember(c *columns) (m lease.Member, err error) {
	m.Incarnation, m.Worker = next[string](c), next[string](c)
	m.Version, m.Beats, m.Revision = next[int64](c), next[int64](c), next[int64](c)
	m.Fenced, m.Draining = next[int64](c) != 0, next[int64](c) != 0
	m.Load.BytesPerSecond, m.Load.RecordsPerSecond = next[float64](c), next[float64](c)
	m.MaxLeases = int(next[int64](c))
	m.Code, m.Zone, m.Host = next[string](c), next[string](c), next[string](c)
	m.Streams, m.Blocked = lease.StreamSet(next[string](c)), lease.BlockedSet(next[string](c))
	m.FailoverTime = time.Duration(next[int64](c)) * time.Millisecond
	m.HandoffTimeout = time.Duration(next[int64](c)) * time.Millisecond
	return m, c.err
}
