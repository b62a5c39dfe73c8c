package dynamodb

import (
	"context"
	"errors"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lease"
)

// The members table has rows of three kinds, each under hash keys of its own, so
// that who lists one kind does not pay for the others.
//
//	application                 incarnation      kind
//	billing                     w-1#5f3a         a member
//	@notes/billing              pause            a note
//	@streams/billing␊w-1#5f3a   9c1185a5…/0      what a member serves
//
// Members and notes have a version, which guards every write of theirs.
const (
	reserved  = "@" // begins the hash keys that are no application's name
	notesOf   = reserved + "notes/"
	streamsOf = reserved + "streams/"
	lineFeed  = "\n" // is in no application's name
)

// rowsOf returns the rows under one hash key, in order: all of them, or those
// whose range key begins like that.
func (s *Store) rowsOf(ctx context.Context, hash, prefix string) (rows []item, err error) {
	in := &sdk.QueryInput{
		TableName: &s.config.MembersTable, ConsistentRead: aws.Bool(true), Limit: s.pageSize,
		KeyConditionExpression:    aws.String("#application = :application"),
		ExpressionAttributeNames:  map[string]string{"#application": memberApplication},
		ExpressionAttributeValues: item{":application": text(hash)},
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

// keyIn returns the key of a row of the members table.
func keyIn(hash, name string) item {
	return item{memberApplication: text(hash), memberIncarnation: text(name)}
}

// versionOf returns the version of a row; 0, which none has, when there is no row.
func versionOf(it item) int64 { return (&reader{item: it}).integer(memberVersion) }

// condition is what a row has to be: one that has that value of an attribute, or,
// when it is zero, none.
type condition struct {
	attribute string
	value     types.AttributeValue
}

// absent is the condition that there is no row.
var absent = condition{}

// atVersion is the condition that a row is there, and has that version.
func atVersion(version int64) condition { return condition{memberVersion, integer(version)} }

func (c condition) expression(u *update) *string {
	if c == absent {
		return aws.String("attribute_not_exists(" + u.name(memberIncarnation) + ")")
	}
	return aws.String(u.name(c.attribute) + " = " + u.value(c.value))
}

func (c condition) holds(it item) bool {
	if c == absent {
		return it == nil
	}
	return reflect.DeepEqual(it[c.attribute], c.value)
}

// putRow sets the attributes of a row, its version among them, and removes those of
// names that it is not given. Where only does not hold it returns the row as it is,
// nil if there is none, with [lease.ErrConflict].
func (s *Store) putRow(ctx context.Context, key item, only condition, it item, names []string) (current item, err error) {
	u, mark := newUpdate(), newMark()
	it[memberWrite] = text(mark)
	u.put(it, names...)
	in := &sdk.UpdateItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression: only.expression(u), UpdateExpression: u.expression(),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	_, current, unsure, err := guarded(ctx, s, s.api.UpdateItem, in, s.config.MembersTable, key, only.holds)
	switch {
	case !errors.Is(err, lease.ErrConflict):
		return nil, err
	case (&reader{item: current}).text(memberWrite) == mark:
		return nil, nil // an earlier attempt went through
	case unsure && versionOf(current) != versionOf(it):
		return nil, errUnsure
	}
	return current, err
}

// deleteRow deletes a row. Where only does not hold it returns the row as it is, nil
// if there is none, with [lease.ErrConflict].
func (s *Store) deleteRow(ctx context.Context, key item, only condition) (current item, err error) {
	u := newUpdate()
	in := &sdk.DeleteItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression:      only.expression(u),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	_, current, unsure, err := guarded(ctx, s, s.api.DeleteItem, in, s.config.MembersTable, key, only.holds)
	if errors.Is(err, lease.ErrConflict) && unsure {
		return nil, errUnsure
	}
	return current, err
}

// guarded sends a write of one row that has a condition. Where that does not hold it
// returns the row as it is, nil if there is none, with [lease.ErrConflict]. Some APIs
// do not tell which row that was, and none tells that of a row that is not there; so
// it is looked at afterwards, and where it fits the condition by then, no answer but
// another try is true. unsure says that an attempt before may have taken place.
func guarded[In, Out any](
	ctx context.Context, s *Store, do func(context.Context, *In, ...func(*sdk.Options)) (*Out, error), in *In,
	table string, key item, fits func(item) bool,
) (out *Out, current item, unsure bool, err error) {
	for attempt := 1; ; attempt++ {
		out, unsure, err = request(ctx, do, in)
		failure, refused := errors.AsType[*types.ConditionalCheckFailedException](err)
		switch {
		case !refused:
			return out, nil, unsure, err
		case len(failure.Item) > 0:
			return nil, failure.Item, unsure, lease.ErrConflict
		}
		if current, err = s.get(ctx, table, key); err != nil {
			return nil, nil, unsure, err
		}
		if unsure || !fits(current) {
			return nil, current, unsure, lease.ErrConflict
		}
		if !pause(ctx, attempt) {
			return nil, nil, false, context.Cause(ctx)
		}
	}
}

// get returns a row as it is now, nil if there is none.
func (s *Store) get(ctx context.Context, table string, key item) (item, error) {
	out, _, err := request(ctx, s.api.GetItem, &sdk.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}
