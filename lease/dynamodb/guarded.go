package dynamodb

import (
	"context"

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

// condition is one on a row, written with the placeholders of an update.
type condition func(*update) string

// absent is the condition that there is no row.
func absent(u *update) string { return "attribute_not_exists(" + u.name(memberIncarnation) + ")" }

// atVersion is the condition that a row is there, and has that version.
func atVersion(version int64) condition {
	return func(u *update) string { return u.name(memberVersion) + " = " + u.value(integer(version)) }
}

// putRow sets the attributes of a row, its version among them, and removes those of
// names that it is not given. Where only does not hold it returns the row as it is,
// nil if there is none, with [lease.ErrConflict].
func (s *Store) putRow(ctx context.Context, key item, only condition, it item, names []string) (current item, err error) {
	u, mark := newUpdate(), newMark()
	it[memberWrite] = text(mark)
	u.put(it, names...)
	_, unsure, err := request(ctx, s.api.UpdateItem, &sdk.UpdateItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression: aws.String(only(u)), UpdateExpression: u.expression(),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return nil, nil
	}
	current, err = s.refusedBy(ctx, err, s.config.MembersTable, key)
	switch {
	case err != nil:
		return nil, err
	case (&reader{item: current}).text(memberWrite) == mark:
		return nil, nil // an earlier attempt went through
	case unsure && versionOf(current) != versionOf(it):
		return nil, errUnsure
	}
	return current, lease.ErrConflict
}

// deleteRow deletes a row. Where only does not hold it returns the row as it is, nil
// if there is none, with [lease.ErrConflict].
func (s *Store) deleteRow(ctx context.Context, key item, only condition) (current item, err error) {
	u := newUpdate()
	_, unsure, err := request(ctx, s.api.DeleteItem, &sdk.DeleteItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression:      aws.String(only(u)),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return nil, nil
	}
	current, err = s.refusedBy(ctx, err, s.config.MembersTable, key)
	switch {
	case err != nil:
		return nil, err
	case unsure && current == nil:
		return nil, errUnsure
	}
	return current, lease.ErrConflict
}
