package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// index is a global secondary index of the lease table: by one attribute, then
// by key. It holds keys only, so that checkpoints do not touch it, and only rows
// that have the attribute.
type index struct{ name, attribute string }

// The first is the KCL's, since 3.0.
var indexes = [2]index{
	{"LeaseOwnerToLeaseKeyIndex", leaseOwner},
	{"CheckpointOwnerToLeaseKeyIndex", checkpointOwner},
}

func (i index) schema() []types.KeySchemaElement { return schemaOf(i.attribute, leaseKey) }

// table is what one of the two tables has to be.
type table struct {
	name    string
	key     []string // hash, and range if there are two; all are strings
	indexes []index
}

func (s *Store) tables() []table {
	return []table{
		{s.config.Table, []string{leaseKey}, indexes[:]},
		{s.config.MembersTable, []string{memberApplication, memberIncarnation}, nil},
	}
}

func schemaOf(names ...string) []types.KeySchemaElement {
	kinds := []types.KeyType{types.KeyTypeHash, types.KeyTypeRange}
	schema := make([]types.KeySchemaElement, len(names))
	for i, name := range names {
		schema[i] = types.KeySchemaElement{AttributeName: aws.String(name), KeyType: kinds[i]}
	}
	return schema
}

func stringAttributes(names ...string) []types.AttributeDefinition {
	var all []types.AttributeDefinition
	for _, name := range names {
		all = append(all, types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS})
	}
	return all
}

// CreateTables makes the tables that are missing, adds the indexes that an
// existing lease table lacks (as one of a KCL 2.x does), and returns when all of
// them can be used. Where nothing is missing it costs a DescribeTable for each
// table. Any number of workers may call it at the same time, as each does at its
// start; ctx bounds it: an index of a large table takes minutes.
//
// Tables that exist keep their settings, but for [TableSettings.PointInTimeRecovery],
// which is switched on where it is asked for. [ErrOtherTable] when one has
// another key.
func (s *Store) CreateTables(ctx context.Context) error {
	for _, t := range s.tables() {
		err := s.ensure(ctx, t)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return fmt.Errorf("dynamodb: create table %s: %w: %w", t.name, context.Cause(ctx), err)
		default:
			return failed(ctx, err, "create table %s", t.name)
		}
	}
	return nil
}

// ensure takes one step after the other until a table is what it has to be. What it
// waits for is told when it is something else than before: an index takes minutes.
func (s *Store) ensure(ctx context.Context, t table) error {
	told := ""
	for look := 1; ; look++ {
		err := s.step(ctx, t)
		if err == nil || !busy(err) {
			return err
		}
		why := err.Error()
		if api, ok := errors.AsType[smithy.APIError](err); ok {
			why = cmp.Or(api.ErrorMessage(), api.ErrorCode()) // each answer has another request ID
		}
		if why != told {
			told = why
			s.config.Logger.InfoContext(ctx, "waiting for a table", "table", t.name, "why", why)
		}
		if !pause(ctx, look) {
			return err
		}
	}
}

// step looks at a table and does what is missing next. Its error is a busy one
// when there is something to wait for.
func (s *Store) step(ctx context.Context, t table) error {
	out, _, err := request(ctx, s.api.DescribeTable, &sdk.DescribeTableInput{TableName: &t.name})
	switch {
	case errors.As(err, new(*types.ResourceNotFoundException)):
		if err := s.create(ctx, t); err != nil {
			return err
		}
		return unfinished("it was just created")
	case err != nil:
		return err
	}
	if err := s.mend(ctx, t, out.Table); err != nil {
		return err
	}
	if s.config.Tables.PointInTimeRecovery {
		return s.backUp(ctx, t)
	}
	return nil
}

// unfinished says what a table is not yet.
type unfinished string

func (u unfinished) Error() string { return string(u) }

// busy reports whether an error says that somebody else, or an earlier step of
// ours, is at work on the table, or that the account has too many tables for now.
func busy(err error) bool {
	return errors.As(err, new(unfinished)) || errors.As(err, new(*types.ResourceInUseException)) ||
		errors.As(err, new(*types.LimitExceededException)) || errors.As(err, new(*types.ContinuousBackupsUnavailableException))
}

func (s *Store) create(ctx context.Context, t table) error {
	set := s.config.Tables
	attributes := t.key
	in := &sdk.CreateTableInput{
		TableName: &t.name, KeySchema: schemaOf(t.key...),
		BillingMode: types.BillingModePayPerRequest, ProvisionedThroughput: s.capacity(),
	}
	if in.ProvisionedThroughput != nil {
		in.BillingMode = types.BillingModeProvisioned
	}
	for _, i := range t.indexes {
		attributes = append(attributes, i.attribute)
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
			IndexName: aws.String(i.name), KeySchema: i.schema(), Projection: keysOnly(), ProvisionedThroughput: s.capacity(),
		})
	}
	in.AttributeDefinitions = stringAttributes(attributes...)
	for _, key := range slices.Sorted(maps.Keys(set.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(set.Tags[key])})
	}
	if set.DeletionProtection {
		in.DeletionProtectionEnabled = aws.Bool(true)
	}
	if set.EncryptionKey != "" {
		in.SSESpecification = &types.SSESpecification{Enabled: aws.Bool(true), SSEType: types.SSETypeKms, KMSMasterKeyId: aws.String(set.EncryptionKey)}
	}
	_, _, err := request(ctx, s.api.CreateTable, in)
	return err
}

// capacity is what is provisioned for a new table or index; nil when requests
// are billed.
func (s *Store) capacity() *types.ProvisionedThroughput {
	if s.config.Tables.ReadCapacity == 0 {
		return nil
	}
	return &types.ProvisionedThroughput{ReadCapacityUnits: &s.config.Tables.ReadCapacity, WriteCapacityUnits: &s.config.Tables.WriteCapacity}
}

func keysOnly() *types.Projection {
	return &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly}
}

// mend checks a table that is there, and adds the next index that is missing. It
// returns nil when the table can be used as it is.
func (s *Store) mend(ctx context.Context, t table, is *types.TableDescription) error {
	if found := describeKey(is.KeySchema, is.AttributeDefinitions); found != wantedKey(t.key) {
		return fmt.Errorf("%w (its key is %s, want %s)", ErrOtherTable, found, wantedKey(t.key))
	}
	if is.TableStatus != types.TableStatusActive && is.TableStatus != types.TableStatusUpdating {
		return unfinished(fmt.Sprintf("it is %s", is.TableStatus))
	}
	for _, i := range t.indexes {
		at := slices.IndexFunc(is.GlobalSecondaryIndexes, func(g types.GlobalSecondaryIndexDescription) bool { return aws.ToString(g.IndexName) == i.name })
		if at < 0 {
			if err := s.addIndex(ctx, t, i, is); err != nil {
				return err // busy, while another index is being added: one comes at a time
			}
			return unfinished("its index " + i.name + " was just added")
		}
		has := is.GlobalSecondaryIndexes[at]
		if found, want := describeKey(has.KeySchema, is.AttributeDefinitions), wantedKey([]string{i.attribute, leaseKey}); found != want {
			return fmt.Errorf("%w (the key of its index %s is %s, want %s)", ErrOtherTable, i.name, found, want)
		}
		// Some emulators leave the status out.
		if has.IndexStatus != types.IndexStatusActive && has.IndexStatus != types.IndexStatusUpdating && has.IndexStatus != "" {
			return unfinished(fmt.Sprintf("its index %s is %s", i.name, has.IndexStatus))
		}
	}
	return nil
}

// describeKey tells a key as a person reads it: "application (S), incarnation (S)".
func describeKey(schema []types.KeySchemaElement, defined []types.AttributeDefinition) (key string) {
	for _, e := range schema {
		name, kind := aws.ToString(e.AttributeName), types.ScalarAttributeType("?")
		for _, d := range defined {
			if aws.ToString(d.AttributeName) == name {
				kind = d.AttributeType
			}
		}
		if key != "" {
			key += ", "
		}
		key += fmt.Sprintf("%s (%s)", name, kind)
	}
	return key
}

func wantedKey(names []string) string {
	return describeKey(schemaOf(names...), stringAttributes(names...))
}

// addIndex adds an index, with the capacity of its table.
func (s *Store) addIndex(ctx context.Context, t table, i index, is *types.TableDescription) error {
	create := &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String(i.name), KeySchema: i.schema(), Projection: keysOnly()}
	if p := is.ProvisionedThroughput; p != nil && aws.ToInt64(p.ReadCapacityUnits) > 0 {
		create.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: p.ReadCapacityUnits, WriteCapacityUnits: p.WriteCapacityUnits}
	}
	defined := is.AttributeDefinitions
	if !slices.ContainsFunc(defined, func(d types.AttributeDefinition) bool { return aws.ToString(d.AttributeName) == i.attribute }) {
		defined = append(slices.Clone(defined), stringAttributes(i.attribute)...)
	}
	_, _, err := request(ctx, s.api.UpdateTable, &sdk.UpdateTableInput{
		TableName:                   &t.name,
		AttributeDefinitions:        defined,
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: create}},
	})
	return err
}

// backUp switches point-in-time recovery on, unless it is.
func (s *Store) backUp(ctx context.Context, t table) error {
	out, _, err := request(ctx, s.api.DescribeContinuousBackups, &sdk.DescribeContinuousBackupsInput{TableName: &t.name})
	if err != nil {
		return err
	}
	if is := out.ContinuousBackupsDescription; is != nil && is.PointInTimeRecoveryDescription != nil &&
		is.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus == types.PointInTimeRecoveryStatusEnabled {
		return nil
	}
	_, _, err = request(ctx, s.api.UpdateContinuousBackups, &sdk.UpdateContinuousBackupsInput{
		TableName:                        &t.name,
		PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
	})
	return err
}
