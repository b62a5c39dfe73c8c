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
	memberStreams     = "streams"
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
	setText(it, memberStreams, string(m.Streams))
	setText(it, memberCode, m.Code)
	setText(it, memberZone, m.Zone)
	setText(it, memberHost, m.Host)
	return it
}

func readMember(it item) (lease.Member, error) {
	r := &reader{item: it}
	m := lease.Member{
		Incarnation: r.text(memberIncarnation), Worker: r.text(memberWorker),
		Version: r.integer(memberVersion), Beats: r.integer(memberBeats), Revision: r.integer(memberRevision),
		Fenced: r.boolean(memberFenced), Draining: r.boolean(memberDraining),
		Load:      lease.Load{BytesPerSecond: r.float(memberBytesPerS), RecordsPerSecond: r.float(memberRecordsPerS)},
		MaxLeases: int(r.integer(memberMaxLeases)), Streams: lease.StreamSet(r.text(memberStreams)),
		Code: r.text(memberCode), Zone: r.text(memberZone), Host: r.text(memberHost),
	}
	if err := r.err(); err != nil {
		return lease.Member{}, fmt.Errorf("member %q: %w", m.Incarnation, err)
	}
	return m, nil
}

// Members implements [lease.Store] by a consistent query. A row that cannot be
// understood is an error: a worker that is not listed counts as gone.
func (s *Store) Members(ctx context.Context) ([]lease.Member, error) {
	in := &sdk.QueryInput{
		TableName: &s.config.MembersTable, ConsistentRead: aws.Bool(true), Limit: s.pageSize,
		KeyConditionExpression:    aws.String("#application = :application"),
		ExpressionAttributeNames:  map[string]string{"#application": memberApplication},
		ExpressionAttributeValues: item{":application": text(s.config.Application)},
	}
	var members []lease.Member
	for {
		page, _, err := request(ctx, s.api.Query, in)
		if err != nil {
			return nil, failed(ctx, err, "list members in table %s", s.config.MembersTable)
		}
		for _, it := range page.Items {
			m, err := readMember(it)
			if err != nil {
				return nil, failed(ctx, err, "list members in table %s", s.config.MembersTable)
			}
			members = append(members, m)
		}
		if in.ExclusiveStartKey = page.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return members, nil
		}
	}
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
		row, err = s.writeMember(ctx, next, func(u *update) string {
			return "attribute_not_exists(" + u.name(memberIncarnation) + ")"
		})
	default:
		next.Incarnation, next.Version = old.Incarnation, old.Version+1
		row, err = s.writeMember(ctx, next, func(u *update) string { return memberGuard(u, old) })
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

// writeMember writes a row whose version is already the new one.
func (s *Store) writeMember(ctx context.Context, next lease.Member, condition func(*update) string) (lease.Member, error) {
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
	row, err := readMember(it)
	return it, row, err
}
