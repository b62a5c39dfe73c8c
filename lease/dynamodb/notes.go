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

// Notes are rows of the members table, under a hash key of their own, so that
// neither listing reads the rows of the other. Their range key is the name.
const (
	notesOf   = "@notes/" // and the application: no application has such a name
	noteValue = "value"
)

// noting are the attributes that a swap sets or removes.
var noting = []string{memberVersion, noteValue, memberWrite}

func readNote(it item) (lease.Note, error) {
	r := &reader{item: it}
	n := lease.Note{Name: r.text(memberIncarnation), Version: r.integer(memberVersion), Value: r.text(noteValue)}
	if err := r.err(); err != nil {
		return lease.Note{}, fmt.Errorf("note %q: %w", n.Name, err)
	}
	return n, nil
}

// Notes implements [lease.Store] by a consistent query.
func (s *Store) Notes(ctx context.Context) ([]lease.Note, error) {
	in := &sdk.QueryInput{
		TableName: &s.config.MembersTable, ConsistentRead: aws.Bool(true), Limit: s.pageSize,
		KeyConditionExpression:    aws.String("#application = :application"),
		ExpressionAttributeNames:  map[string]string{"#application": memberApplication},
		ExpressionAttributeValues: item{":application": text(notesOf + s.config.Application)},
	}
	var notes []lease.Note
	for {
		page, _, err := request(ctx, s.api.Query, in)
		if err != nil {
			return nil, failed(ctx, err, "list notes in table %s", s.config.MembersTable)
		}
		for _, it := range page.Items {
			n, err := readNote(it)
			if err != nil {
				return nil, failed(ctx, err, "list notes in table %s", s.config.MembersTable)
			}
			notes = append(notes, n)
		}
		if in.ExclusiveStartKey = page.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return notes, nil
		}
	}
}

// SwapNote implements [lease.Store].
func (s *Store) SwapNote(ctx context.Context, old, next lease.Note) (lease.Note, error) {
	var none lease.Note
	var row lease.Note
	var err error
	switch none {
	case next:
		if old == none {
			return none, errors.New("dynamodb: swap note: both are zero; give the note to create as next, or the one to remove as old")
		}
		row, err = s.removeNote(ctx, old)
	case old:
		row, err = s.writeNote(ctx, next, func(u *update) string {
			return "attribute_not_exists(" + u.name(memberIncarnation) + ")"
		})
	default:
		next.Name, next.Version = old.Name, old.Version+1
		row, err = s.writeNote(ctx, next, func(u *update) string { return noteGuard(u, old) })
	}
	if err != nil && !errors.Is(err, lease.ErrConflict) {
		return none, failed(ctx, err, "swap note %s in table %s", old.Name+next.Name, s.config.MembersTable)
	}
	return row, err
}

func noteGuard(u *update, old lease.Note) string {
	return u.name(memberVersion) + " = " + u.value(integer(old.Version))
}

func (s *Store) noteKey(name string) item {
	return item{memberApplication: text(notesOf + s.config.Application), memberIncarnation: text(name)}
}

// writeNote writes a note whose version is already the new one.
func (s *Store) writeNote(ctx context.Context, next lease.Note, condition func(*update) string) (lease.Note, error) {
	u, mark, key := newUpdate(), newMark(), s.noteKey(next.Name)
	it := item{memberVersion: integer(next.Version), memberWrite: text(mark)}
	setText(it, noteValue, next.Value)
	u.put(it, noting...)
	_, unsure, err := request(ctx, s.api.UpdateItem, &sdk.UpdateItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression: aws.String(condition(u)), UpdateExpression: u.expression(),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return next, nil
	}
	it, row, err := s.noteConflict(ctx, err, key)
	switch {
	case err != nil:
		return lease.Note{}, err
	case (&reader{item: it}).text(memberWrite) == mark:
		return row, nil
	case unsure && row.Version != next.Version:
		return lease.Note{}, errUnsure
	}
	return row, lease.ErrConflict
}

func (s *Store) removeNote(ctx context.Context, old lease.Note) (lease.Note, error) {
	u, key := newUpdate(), s.noteKey(old.Name)
	_, unsure, err := request(ctx, s.api.DeleteItem, &sdk.DeleteItemInput{
		TableName: &s.config.MembersTable, Key: key,
		ConditionExpression:      aws.String(noteGuard(u, old)),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return lease.Note{}, nil
	}
	it, row, err := s.noteConflict(ctx, err, key)
	switch {
	case err != nil:
		return lease.Note{}, err
	case unsure && it == nil:
		return lease.Note{}, errUnsure
	}
	return row, lease.ErrConflict
}

// noteConflict returns the note that a condition failed on, or the error that
// was none of that kind.
func (s *Store) noteConflict(ctx context.Context, err error, key item) (item, lease.Note, error) {
	it, err := s.refusedBy(ctx, err, s.config.MembersTable, key)
	if err != nil || it == nil {
		return nil, lease.Note{}, err
	}
	row, err := readNote(it)
	return it, row, err
}
