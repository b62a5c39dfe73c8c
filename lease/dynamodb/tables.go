package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
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
		if err := s.ensure(ctx, t); err != nil {
			return failed(ctx, err, "create table %s", t.name)
		}
	}
	return nil
}

// ensure looks at a table, does what is missing next, and looks again.
func (s *Store) ensure(ctx context.Context, t table) error {
	for look := 1; ; look++ {
		out, _, err := request(ctx, s.api.DescribeTable, &sdk.DescribeTableInput{TableName: &t.name})
		missing := errors.As(err, new(*types.ResourceNotFoundException))
		if err != nil && !missing {
			return err
		}
		ready := false
		switch {
		case missing:
			err = s.create(ctx, t)
		default:
			ready, err = s.mend(ctx, t, out.Table)
		}
		if ready && s.config.Tables.PointInTimeRecovery {
			ready, err = s.backUp(ctx, t)
		}
		if ready || err != nil && !busy(err) {
			return err
		}
		if !pause(ctx, look) {
			return context.Cause(ctx)
		}
	}
}

// busy reports whether an error says that somebody else, or an earlier step of
// ours, is at work on the table.
func busy(err error) bool {
	return errors.As(err, new(*types.ResourceInUseException)) || errors.As(err, new(*types.LimitExceededException)) ||
		errors.As(err, new(*types.ContinuousBackupsUnavailableException))
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
// reports whether the table can be used as it is.
func (s *Store) mend(ctx context.Context, t table, is *types.TableDescription) (ready bool, err error) {
	if found := describeKey(is.KeySchema, is.AttributeDefinitions); found != wantedKey(t.key) {
		return false, fmt.Errorf("%w (its key is %s, want %s)", ErrOtherTable, found, wantedKey(t.key))
	}
	ready = is.TableStatus == types.TableStatusActive
	for _, i := range t.indexes {
		at := slices.IndexFunc(is.GlobalSecondaryIndexes, func(g types.GlobalSecondaryIndexDescription) bool { return aws.ToString(g.IndexName) == i.name })
		if at < 0 {
			if !ready {
				return false, nil // one at a time
			}
			return false, s.addIndex(ctx, t, i, is)
		}
		has := is.GlobalSecondaryIndexes[at]
		if found := describeKey(has.KeySchema, is.AttributeDefinitions); found != wantedKey([]string{i.attribute, leaseKey}) {
			return false, fmt.Errorf("%w (the key of its index %s is %s, want %s)", ErrOtherTable, i.name, found, wantedKey([]string{i.attribute, leaseKey}))
		}
		// Some emulators leave the status out.
		ready = ready && (has.IndexStatus == types.IndexStatusActive || has.IndexStatus == "")
	}
	return ready, nil
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

func (s *Store) backUp(ctx context.Context, t table) (done bool, err error) {
	_, _, err = request(ctx, s.api.UpdateContinuousBackups, &sdk.UpdateContinuousBackupsInput{
		TableName:                        &t.name,
		PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
	})
	return err == nil, err
}
