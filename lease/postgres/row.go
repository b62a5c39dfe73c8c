package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
	"github.com/millrace/millrace/stream"
)

// stateColumns are the columns that a swap replaces, as one array a column, a
// row in each. Many rows are one statement through unnest, which is several
// times cheaper than a statement for each.
type stateColumns struct {
	owner, checkpointOwner []string
	term                   []int64
	checkpoint, pending    []string
	pendingData, progress  [][]byte
	parents, children      []string // as array literals: unnest would take rows of arrays apart
	hashStart, hashEnd     []string
	bytes, records         []float64
}

func newStateColumns(rows int) *stateColumns {
	texts := make([]string, 8*rows) // of one piece, cut into columns
	column := func(i int) []string { return texts[i*rows : (i+1)*rows : (i+1)*rows] }
	blobs := make([][]byte, 2*rows)
	rates := make([]float64, 2*rows)
	return &stateColumns{
		owner: column(0), checkpointOwner: column(1), term: make([]int64, rows),
		checkpoint: column(2), pending: column(3), pendingData: blobs[:rows], progress: blobs[rows:],
		parents: column(4), children: column(5), hashStart: column(6), hashEnd: column(7),
		bytes: rates[:rows], records: rates[rows:],
	}
}

func (c *stateColumns) set(i int, l *lease.Lease) {
	c.owner[i], c.checkpointOwner[i], c.term[i] = l.Owner, l.CheckpointOwner, l.Term
	c.checkpoint[i], c.pending[i] = l.Checkpoint.Position.String(), l.Checkpoint.Pending.Position.String()
	c.pendingData[i], c.progress[i] = sqlstore.Blob(l.Checkpoint.Pending.Data), sqlstore.Blob(l.Checkpoint.Progress)
	c.parents[i], c.children[i] = list(l.Parents), list(l.Children)
	c.hashStart[i], c.hashEnd[i] = l.Hash.Start.String(), l.Hash.End.String()
	c.bytes[i], c.records[i] = l.Load.BytesPerSecond, l.Load.RecordsPerSecond
}

func (c *stateColumns) values() []any {
	return []any{
		c.owner, c.checkpointOwner, c.term, c.checkpoint, c.pending, c.pendingData, c.progress,
		c.parents, c.children, c.hashStart, c.hashEnd, c.bytes, c.records,
	}
}

// storableLease refuses a row with names that cannot be stored.
func storableLease(l lease.Lease) error {
	return errors.Join(
		storable("lease", l.Key), storable("stream", l.Stream, l.StreamID), storable("shard", l.Shard),
		storable("owner", l.Owner, l.CheckpointOwner), storable("parent", l.Parents...), storable("child", l.Children...),
	)
}

var types = pgtype.NewMap()

// list returns ids as the literal of a text[].
func list(ids []string) string {
	if len(ids) == 0 {
		return "{}"
	}
	text, err := types.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, ids, nil)
	if err != nil {
		panic(err) // strings always have a literal
	}
	return string(text)
}

// scanLease reads the columns of leaseColumns. With [lease.ErrUnreadable] it returns
// the row's key.
func scanLease(row pgx.CollectableRow) (l lease.Lease, err error) {
	var position, pending, start, end string
	if err := row.Scan(
		&l.Key, &l.Stream, &l.StreamID, &l.Shard, &l.Owner, &l.CheckpointOwner, &l.Counter, &l.Term,
		&position, &pending, &l.Checkpoint.Pending.Data, &l.Checkpoint.Progress,
		&l.Parents, &l.Children, &start, &end,
		&l.Load.BytesPerSecond, &l.Load.RecordsPerSecond,
	); err != nil {
		return lease.Lease{}, err
	}
	if err := errors.Join(
		sqlstore.Parse("checkpoint", position, &l.Checkpoint.Position, stream.ParsePosition),
		sqlstore.Parse("pending", pending, &l.Checkpoint.Pending.Position, stream.ParsePosition),
		sqlstore.Parse("hash_start", start, &l.Hash.Start, stream.ParseHash),
		sqlstore.Parse("hash_end", end, &l.Hash.End, stream.ParseHash),
	); err != nil {
		return lease.Lease{Key: l.Key}, fmt.Errorf("lease %s: %w: %w", l.Key, lease.ErrUnreadable, err)
	}
	return l, nil
}

// scanListed reads a row of a listing.
func scanListed(row pgx.CollectableRow) (sqlstore.Listed, error) {
	return sqlstore.List(scanLease(row))
}

// memberValues returns the arguments that joinMember and swapMember share.
func (s *Store) memberValues(incarnation string, version int64, m lease.Member, wakes bool) []any {
	return []any{
		s.application, incarnation, version,
		m.Worker, m.Beats, m.Revision, m.Fenced, m.Draining,
		m.Load.BytesPerSecond, m.Load.RecordsPerSecond, m.MaxLeases, m.Code, m.Zone, m.Host, string(m.Streams), string(m.Blocked),
		m.FailoverTime.Milliseconds(), m.HandoffTimeout.Milliseconds(), s.channelFor(wakes),
	}
}

// storableMember refuses a row with names that cannot be stored.
func storableMember(m lease.Member) error {
	return errors.Join(
		storable("member", m.Incarnation), storable("worker", m.Worker),
		storable("code, zone or host", m.Code, m.Zone, m.Host), storable("streams", string(m.Streams)), storable("what is blocked", string(m.Blocked)),
	)
}

// scanMember reads the columns of memberColumns.
func scanMember(row pgx.CollectableRow) (m lease.Member, err error) {
	var failover, handoff int64
	err = row.Scan(
		&m.Incarnation, &m.Worker, &m.Version, &m.Beats, &m.Revision, &m.Fenced, &m.Draining,
		&m.Load.BytesPerSecond, &m.Load.RecordsPerSecond, &m.MaxLeases, &m.Code, &m.Zone, &m.Host, &m.Streams, &m.Blocked,
		&failover, &handoff,
	)
	m.FailoverTime, m.HandoffTimeout = time.Duration(failover)*time.Millisecond, time.Duration(handoff)*time.Millisecond
	return m, err
}
