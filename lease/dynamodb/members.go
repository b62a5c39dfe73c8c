package dynamodb

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/lease"
)

// The attributes of the members table. Its key is application, which is
// [Config.fleet], and incarnation.
const (
	memberApplication = "application"
	memberIncarnation = "incarnation"
	memberWorker      = "worker"
	memberVersion     = "version"
	memberBeats       = "beats"
	memberRevision    = "revision"
	memberFenced      = "fenced"
	memberDraining    = "draining"
	memberBytesPerS   = "bytesPerSecond"
	memberRecordsPerS = "recordsPerSecond"
	memberMaxLeases   = "maxLeases"
	memberStreams     = "streams" // a digest of them
	memberBlocked     = "blocked"
	memberCode        = "code"
	memberZone        = "zone"
	memberHost        = "host"
	memberFailoverMs  = "failoverMs"
	memberHandoffMs   = "handoffMs"
	memberWrite       = "write" // the mark of the last write
)

// beating are the attributes that a swap sets or removes.
var beating = []string{
	memberWorker, memberVersion, memberBeats, memberRevision, memberFenced, memberDraining, memberBytesPerS, memberRecordsPerS,
	memberMaxLeases, memberStreams, memberBlocked, memberCode, memberZone, memberHost, memberFailoverMs, memberHandoffMs, memberWrite,
}

func memberState(m lease.Member) item {
	it := item{
		memberVersion: integer(m.Version), memberBeats: integer(m.Beats), memberRevision: integer(m.Revision),
		memberFenced: boolean(m.Fenced), memberDraining: boolean(m.Draining), memberMaxLeases: integer(int64(m.MaxLeases)),
	}
	setText(it, memberWorker, m.Worker)
	setFloat(it, memberBytesPerS, m.Load.BytesPerSecond)
	setFloat(it, memberRecordsPerS, m.Load.RecordsPerSecond)
	setText(it, memberStreams, digest(m.Streams))
	setText(it, memberBlocked, string(m.Blocked))
	setText(it, memberCode, m.Code)
	setText(it, memberZone, m.Zone)
	setText(it, memberHost, m.Host)
	setMilliseconds(it, memberFailoverMs, m.FailoverTime)
	setMilliseconds(it, memberHandoffMs, m.HandoffTimeout)
	return it
}

// readMember reads a row. Of the streams it returns the digest.
func readMember(it item) (m lease.Member, streams string, err error) {
	r := &reader{item: it}
	m = lease.Member{
		Incarnation: r.text(memberIncarnation), Worker: r.text(memberWorker),
		Version: r.integer(memberVersion), Beats: r.integer(memberBeats), Revision: r.integer(memberRevision),
		Fenced: r.boolean(memberFenced), Draining: r.boolean(memberDraining),
		Load:      lease.Load{BytesPerSecond: r.float(memberBytesPerS), RecordsPerSecond: r.float(memberRecordsPerS)},
		MaxLeases: int(r.integer(memberMaxLeases)), Blocked: lease.BlockedSet(r.text(memberBlocked)),
		Code: r.text(memberCode), Zone: r.text(memberZone), Host: r.text(memberHost),
		FailoverTime: r.milliseconds(memberFailoverMs), HandoffTimeout: r.milliseconds(memberHandoffMs),
	}
	streams = r.text(memberStreams)
	if err := r.err(); err != nil {
		return lease.Member{}, "", fmt.Errorf("member %q: %w", m.Incarnation, err)
	}
	return m, streams, nil
}

// Members implements [lease.Store] by a consistent query. A row that cannot be
// understood is an error: a worker that is not listed counts as gone. One whose
// streams cannot be found is listed as serving none, so that others take over what
// it has.
func (s *Store) Members(ctx context.Context) ([]lease.Member, error) {
	members, err := s.members(ctx)
	for look := 1; look < looks && errors.Is(err, errNoStreams) && pause(ctx, look); look++ {
		members, err = s.members(ctx)
	}
	if errors.Is(err, errNoStreams) && ctx.Err() == nil {
		s.tell(ctx, "a member counts as serving no stream: start that worker again, which writes what is missing", s.config.MembersTable, err)
		err = nil
	}
	if err != nil {
		return nil, failed(ctx, err, "list members in table %s", s.config.MembersTable)
	}
	return members, nil
}

// members lists the members once. With errNoStreams it returns them all, some
// without their streams.
func (s *Store) members(ctx context.Context) (members []lease.Member, err error) {
	rows, err := s.rowsOf(ctx, s.config.fleet(), "")
	if err != nil {
		return nil, err
	}
	var missing error
	for _, it := range rows {
		m, err := s.member(ctx, it)
		if errors.Is(err, errNoStreams) {
			missing = err
		} else if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, missing
}

// member reads a row completely. With errNoStreams it returns all but the streams.
func (s *Store) member(ctx context.Context, it item) (lease.Member, error) {
	m, of, err := readMember(it)
	if err == nil {
		m.Streams, err = s.streams(ctx, m.Incarnation, of)
	}
	return m, err
}

// SwapMember implements [lease.Store].
func (s *Store) SwapMember(ctx context.Context, old, next lease.Member) (row lease.Member, err error) {
	var nobody lease.Member
	var current item
	switch {
	case old == nobody && next == nobody:
		return nobody, errors.New("dynamodb: swap member: both rows are zero; give the row to join as next, or the row to end as old")
	case next == nobody:
		if current, err = s.deleteRow(ctx, s.memberKey(old.Incarnation), atVersion(old.Version)); err == nil && old.Streams != "" {
			s.sweepStreams(ctx, old.Incarnation, "")
		}
	case old == nobody:
		next.Version = 1
		current, err = s.putMember(ctx, old, next, absent)
	default:
		next.Incarnation, next.Version = old.Incarnation, old.Version+1
		current, err = s.putMember(ctx, old, next, atVersion(old.Version))
	}
	switch {
	case err == nil:
		return next, nil
	case !errors.Is(err, lease.ErrConflict):
	case current == nil:
		return nobody, lease.ErrConflict
	default:
		row, unreadable := s.member(ctx, current)
		if unreadable == nil || errors.Is(unreadable, errNoStreams) { // the next listing tells of those
			return row, lease.ErrConflict
		}
		err = unreadable
	}
	return nobody, failed(ctx, err, "swap member %s in table %s", old.Incarnation+next.Incarnation, s.config.MembersTable)
}

func (s *Store) memberKey(incarnation string) item { return keyIn(s.config.fleet(), incarnation) }

// putMember writes a row whose version is already the new one. The rows of its
// streams are there before it, and those of its former ones go after it.
func (s *Store) putMember(ctx context.Context, old, next lease.Member, only condition) (current item, err error) {
	key, it := s.memberKey(next.Incarnation), memberState(next)
	if next.Streams == old.Streams {
		return s.putRow(ctx, key, only, it, beating)
	}
	if err := s.writeStreams(ctx, next.Incarnation, next.Streams); err != nil {
		return nil, err
	}
	current, err = s.putRow(ctx, key, only, it, beating)
	if err == nil && old.Streams != "" {
		s.sweepStreams(ctx, next.Incarnation, next.Streams)
	}
	return current, err
}
