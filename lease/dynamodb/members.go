package dynamodb

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lease"
)

// The attributes of the members table. Its key is application and incarnation.
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
	memberCode        = "code"
	memberZone        = "zone"
	memberHost        = "host"
	memberWrite       = "write" // the mark of the last write
)

// beating are the attributes that a swap sets or removes.
var beating = []string{
	memberWorker, memberVersion, memberBeats, memberRevision, memberFenced, memberDraining, memberBytesPerS, memberRecordsPerS,
	memberMaxLeases, memberStreams, memberCode, memberZone, memberHost, memberWrite,
}

func memberState(m lease.Member, mark string) item {
	it := item{
		memberVersion: integer(m.Version), memberBeats: integer(m.Beats), memberRevision: integer(m.Revision),
		memberFenced: boolean(m.Fenced), memberDraining: boolean(m.Draining), memberMaxLeases: integer(int64(m.MaxLeases)),
		memberWrite: text(mark),
	}
	setText(it, memberWorker, m.Worker)
	setFloat(it, memberBytesPerS, m.Load.BytesPerSecond)
	setFloat(it, memberRecordsPerS, m.Load.RecordsPerSecond)
	setText(it, memberStreams, digest(m.Streams))
	setText(it, memberCode, m.Code)
	setText(it, memberZone, m.Zone)
	setText(it, memberHost, m.Host)
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
		MaxLeases: int(r.integer(memberMaxLeases)),
		Code:      r.text(memberCode), Zone: r.text(memberZone), Host: r.text(memberHost),
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
	rows, err := s.rowsOf(ctx, s.config.Application, "")
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

// rowsOf returns the rows of one partition of the members table, in order: all of
// them, or those whose second key begins like that.
func (s *Store) rowsOf(ctx context.Context, partition, prefix string) (rows []item, err error) {
	in := &sdk.QueryInput{
		TableName: &s.config.MembersTable, ConsistentRead: aws.Bool(true), Limit: s.pageSize,
		KeyConditionExpression:    aws.String("#application = :application"),
		ExpressionAttributeNames:  map[string]string{"#application": memberApplication},
		ExpressionAttributeValues: item{":application": text(partition)},
	}
	if prefix != "" {
		*in.KeyConditionExpression += " AND begins_with(#incarnation, :prefix)"
		in.ExpressionAttributeNames["#incarnation"] = memberIncarnation
		in.ExpressionAttributeValues[":prefix"] = text(prefix)
	}
	for {
		page, _, err := request(ctx, s.api.Query, in)
		if err != nil {
			return nil, err
		}
		rows = append(rows, page.Items...)
		if in.ExclusiveStartKey = page.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return rows, nil
		}
	}
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
func (s *Store) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	var nobody lease.Member
	var row lease.Member
	var err error
	switch {
	case old == nobody && next == nobody:
		return nobody, errors.New("dynamodb: swap member: both rows are zero; give the row to join as next, or the row to end as old")
	case next == nobody:
		row, err = s.endMember(ctx, old)
	case old == nobody:
		next.Version = 1
		row, err = s.writeMember(ctx, nobody, next, func(u *update) string {
			return "attribute_not_exists(" + u.name(memberIncarnation) + ")"
		})
	default:
		next.Incarnation, next.Version = old.Incarnation, old.Version+1
		row, err = s.writeMember(ctx, old, next, func(u *update) string { return memberGuard(u, old) })
	}
	if err != nil && !errors.Is(err, lease.ErrConflict) {
		return nobody, failed(ctx, err, "swap member %s in table %s", old.Incarnation+next.Incarnation, s.config.MembersTable)
	}
	return row, err
}

func memberGuard(u *update, old lease.Member) string {
	return u.name(memberVersion) + " = " + u.value(integer(old.Version))
}

func (s *Store) memberKey(incarnation string) item {
	return item{memberApplication: text(s.config.Application), memberIncarnation: text(incarnation)}
}

// writeMember writes a row whose version is already the new one. The rows of its
// streams are there before it, and those of its former ones go after it.
func (s *Store) writeMember(ctx context.Context, old, next lease.Member, condition func(*update) string) (lease.Member, error) {
	if next.Streams == old.Streams {
		return s.putMember(ctx, next, condition)
	}
	if err := s.writeStreams(ctx, next.Incarnation, next.Streams); err != nil {
		return lease.Member{}, err
	}
	row, err := s.putMember(ctx, next, condition)
	if err == nil && old.Streams != "" {
		s.sweepStreams(ctx, next.Incarnation, next.Streams)
	}
	return row, err
}

func (s *Store) putMember(ctx context.Context, next lease.Member, condition func(*update) string) (lease.Member, error) {
	u, mark, key := newUpdate(), newMark(), s.memberKey(next.Incarnation)
	u.put(memberState(next, mark), beating...)
	_, unsure, err := request(ctx, s.api.UpdateItem, &sdk.UpdateItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression: aws.String(condition(u)), UpdateExpression: u.expression(),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return next, nil
	}
	it, row, err := s.memberConflict(ctx, err, key)
	switch {
	case err != nil:
		return lease.Member{}, err
	case (&reader{item: it}).text(memberWrite) == mark:
		return row, nil
	case unsure && row.Version != next.Version:
		return lease.Member{}, errUnsure
	}
	return row, lease.ErrConflict
}

func (s *Store) endMember(ctx context.Context, old lease.Member) (lease.Member, error) {
	u, key := newUpdate(), s.memberKey(old.Incarnation)
	_, unsure, err := request(ctx, s.api.DeleteItem, &sdk.DeleteItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression:      aws.String(memberGuard(u, old)),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		if old.Streams != "" {
			s.sweepStreams(ctx, old.Incarnation, "")
		}
		return lease.Member{}, nil
	}
	it, row, err := s.memberConflict(ctx, err, key)
	switch {
	case err != nil:
		return lease.Member{}, err
	case unsure && it == nil:
		return lease.Member{}, errUnsure
	}
	return row, lease.ErrConflict
}

// memberConflict returns the row that a condition failed on, or the error that
// was none of that kind.
func (s *Store) memberConflict(ctx context.Context, err error, key item) (item, lease.Member, error) {
	it, err := s.refusedBy(ctx, err, s.config.MembersTable, key)
	if err != nil || it == nil {
		return nil, lease.Member{}, err
	}
	row, err := s.member(ctx, it)
	if errors.Is(err, errNoStreams) {
		err = nil // the row has changed since, or the next listing tells of it
	}
	return it, row, err
}
