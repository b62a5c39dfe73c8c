package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/internal/testdynamo"
)

func describe(t *testing.T, s *Store, table string) *types.TableDescription {
	t.Helper()
	out, err := s.api.DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: &table})
	if err != nil {
		t.Fatal(err)
	}
	return out.Table
}

func TestTablesAreMadeOnceByWhoeverComesFirst(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		config := Config{Application: testdynamo.TableName()}
		var workers sync.WaitGroup
		for range 5 {
			s := handle(t, api.Client(t, nil), config)
			workers.Go(func() {
				if err := s.CreateTables(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			})
		}
		workers.Wait()
		wire := testdynamo.NewWire(testdynamo.Transport(t))
		s := handle(t, api.Client(t, wire), config)
		if err := s.CreateTables(t.Context()); err != nil {
			t.Fatal(err)
		}
		if counts := wire.Counts(); len(counts) != 1 || counts["DescribeTable"] != 2 {
			t.Errorf("looking at tables that are there took %v, want a DescribeTable for each", counts)
		}

		is := describe(t, s, config.Application)
		if got := describeKey(is.KeySchema, is.AttributeDefinitions); got != "leaseKey (S)" {
			t.Errorf("the key of the lease table is %s", got)
		}
		for _, want := range indexes {
			at := slices.IndexFunc(is.GlobalSecondaryIndexes, func(g types.GlobalSecondaryIndexDescription) bool { return *g.IndexName == want.name })
			if at < 0 {
				t.Fatalf("there is no index %s", want.name)
			}
			has := is.GlobalSecondaryIndexes[at]
			if got := describeKey(has.KeySchema, is.AttributeDefinitions); got != want.attribute+" (S), leaseKey (S)" {
				t.Errorf("the key of index %s is %s", want.name, got)
			}
			if has.Projection.ProjectionType != types.ProjectionTypeKeysOnly {
				t.Errorf("index %s holds %s", want.name, has.Projection.ProjectionType)
			}
		}
		members := describe(t, s, config.Application+"-Members")
		if got := describeKey(members.KeySchema, members.AttributeDefinitions); got != "application (S), incarnation (S)" {
			t.Errorf("the key of the members table is %s", got)
		}
	})
}

// A KCL 2.x has no index, one of 3.x has one, provisioned like its table.
func TestTheIndexesThatATableOfTheKCLLacksAreAdded(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		if !api.Complete {
			t.Skip("this API adds no indexes")
		}
		for _, has := range []int{0, 1} {
			s := handle(t, api.Client(t, nil), Config{Application: testdynamo.TableName(), SingleStream: orders.Name})
			capacity := &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(10), WriteCapacityUnits: aws.Int64(10)}
			in := &sdk.CreateTableInput{
				TableName: &s.config.Table, KeySchema: schemaOf(leaseKey), ProvisionedThroughput: capacity,
				AttributeDefinitions: stringAttributes(leaseKey),
			}
			for _, i := range indexes[:has] {
				in.AttributeDefinitions = stringAttributes(leaseKey, i.attribute)
				in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
					IndexName: &i.name, KeySchema: i.schema(), Projection: keysOnly(), ProvisionedThroughput: capacity})
			}
			if _, err := s.api.CreateTable(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			existing := kclRows()[8] // in a handoff
			put(t, s, existing.row)
			if err := s.CreateTables(t.Context()); err != nil {
				t.Fatal(err)
			}
			inherit(t, s)
			for _, who := range []string{"old", "new"} {
				if owned, err := s.Owned(t.Context(), who); err != nil || len(owned) != 1 || owned[0].Key != existing.lease().Key {
					t.Errorf("%d indexes: owned by %s: %+v, error %v", has, who, owned, err)
				}
			}
		}
	})
}

func TestTablesThatHoldSomethingElseAreLeftAlone(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		s := handle(t, api.Client(t, nil), Config{Application: testdynamo.TableName()})
		_, err := s.api.CreateTable(t.Context(), &sdk.CreateTableInput{
			TableName: &s.config.Table, KeySchema: schemaOf("id", "sort"), BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: stringAttributes("id", "sort"),
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.CreateTables(t.Context())
		if !errors.Is(err, ErrOtherTable) || !strings.Contains(err.Error(), "id (S), sort (S)") || !strings.Contains(err.Error(), s.config.Table) {
			t.Errorf("got error %v, want %v with the key that was found", err, ErrOtherTable)
		}
	})
}

func TestNewTablesHaveTheSettingsAskedFor(t *testing.T) {
	api := testdynamo.Any(t)
	if !api.Complete {
		t.Skip("this API knows no settings of tables")
	}
	s := open(t, api.Client(t, nil), Config{Tables: TableSettings{
		ReadCapacity: 7, WriteCapacity: 5, Tags: map[string]string{"team": "data", "env": "test"},
		PointInTimeRecovery: true, DeletionProtection: true, EncryptionKey: "alias/leases",
	}})
	for _, table := range s.tables() {
		is := describe(t, s, table.name)
		if p := is.ProvisionedThroughput; *p.ReadCapacityUnits != 7 || *p.WriteCapacityUnits != 5 {
			t.Errorf("%s: capacity %d and %d", table.name, *p.ReadCapacityUnits, *p.WriteCapacityUnits)
		}
		if !aws.ToBool(is.DeletionProtectionEnabled) {
			t.Errorf("%s is not protected", table.name)
		}
		if is.SSEDescription == nil || is.SSEDescription.SSEType != types.SSETypeKms {
			t.Errorf("%s: encrypted with %+v", table.name, is.SSEDescription)
		}
		client := s.api.(*sdk.Client)
		tags, err := client.ListTagsOfResource(t.Context(), &sdk.ListTagsOfResourceInput{ResourceArn: is.TableArn})
		if err != nil || len(tags.Tags) != 2 {
			t.Errorf("%s: tags %+v, error %v", table.name, tags, err)
		}
		backups, err := client.DescribeContinuousBackups(t.Context(), &sdk.DescribeContinuousBackupsInput{TableName: &table.name})
		if err != nil || backups.ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
			t.Errorf("%s: backups %+v, error %v", table.name, backups, err)
		}
	}
	wire := testdynamo.NewWire(testdynamo.Transport(t))
	if err := handle(t, api.Client(t, wire), s.config).CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts := wire.Counts(); counts["UpdateContinuousBackups"] != 0 || counts["DescribeContinuousBackups"] != 2 {
		t.Errorf("backups that are on are asked for again: %v", counts)
	}
	byRequest := open(t, api.Client(t, nil), Config{})
	if mode := describe(t, byRequest, byRequest.config.Table).BillingModeSummary; mode == nil || mode.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("a table without settings is billed as %+v, want by request", mode)
	}
}

// building is an API on which tables and indexes take their time.
type building struct {
	*sdk.Client
	looks, table, index int // so many looks at each table; those that show the table, and an index, unfinished
	impatient           func()
}

func (b *building) DescribeTable(ctx context.Context, in *sdk.DescribeTableInput, opts ...func(*sdk.Options)) (*sdk.DescribeTableOutput, error) {
	out, err := b.Client.DescribeTable(ctx, in, opts...)
	if err != nil {
		return out, err
	}
	if b.looks++; b.looks == 4 && b.impatient != nil {
		b.impatient()
	}
	if b.looks <= b.table {
		out.Table.TableStatus = types.TableStatusCreating
	}
	for i := range out.Table.GlobalSecondaryIndexes {
		out.Table.GlobalSecondaryIndexes[i].IndexStatus = types.IndexStatusActive
		if i == 1 && b.looks <= b.index {
			out.Table.GlobalSecondaryIndexes[i].IndexStatus = types.IndexStatusCreating
		}
	}
	return out, nil
}

func TestTablesAreWaitedForUntilTheyAndTheirIndexesCanBeUsed(t *testing.T) {
	api := testdynamo.Any(t)
	for _, b := range []*building{{table: 2}, {index: 3}, {table: 1, index: 2}} {
		b.Client = api.Client(t, nil)
		open(t, b, Config{})
		// One more look at the lease table, and one at that of the members.
		if want := max(b.table, b.index) + 2; b.looks != want {
			t.Errorf("%d looks at tables that were unfinished for %d, want %d", b.looks, max(b.table, b.index), want)
		}
		short, cancel := context.WithCancel(t.Context())
		never := &building{Client: b.Client, table: 1 << 30, impatient: cancel}
		err := handle(t, never, Config{Application: testdynamo.TableName()}).CreateTables(short)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "it is CREATING") {
			t.Errorf("a table that is never finished: error %v, want %v and what was waited for", err, context.Canceled)
		}
		cancel()
	}
}

// full is an API of an account that may have no more tables.
type full struct {
	*sdk.Client
	tries     int
	impatient func()
}

func (f *full) CreateTable(context.Context, *sdk.CreateTableInput, ...func(*sdk.Options)) (*sdk.CreateTableOutput, error) {
	if f.tries++; f.tries == 3 {
		f.impatient()
	}
	return nil, &types.LimitExceededException{Message: aws.String("too many tables")}
}

func TestWhoWaitsForATableIsToldWhy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log bytes.Buffer
	s := handle(t, &full{Client: testdynamo.Any(t).Client(t, nil), impatient: cancel}, Config{
		Application: testdynamo.TableName(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err := s.CreateTables(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "too many tables") {
		t.Errorf("got error %v, want %v and what was waited for", err, context.Canceled)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), `why="too many tables"`) {
		t.Errorf("the log has %d lines, want one that says why:\n%s", n, log.String())
	}
}

func TestConfigurationsThatCannotWorkAreRefusedWithTheFix(t *testing.T) {
	good := Config{Application: "app"}
	for _, c := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no application", func(c *Config) { c.Application = "" }, "name the fleet"},
		{"one table for both", func(c *Config) { c.MembersTable = "app" }, "different names"},
		{"single and multi", func(c *Config) {
			c.SingleStream, c.MultiStream = "orders", map[string]string{"1:orders:1": "orders"}
		}, "leave one of them out"},
		{"no epoch", func(c *Config) { c.MultiStream = map[string]string{"1:orders": "orders"} }, "account:stream:epoch"},
		{"no name", func(c *Config) { c.MultiStream = map[string]string{"1:orders:1": ""} }, "Identity"},
		{"two names of one stream", func(c *Config) {
			c.MultiStream = map[string]string{"1:orders:1": "orders", "1:orders:2": "orders", "1:bills:1": "bills"}
		}, `calls the stream "orders" both "1:orders:1" and "1:orders:2"`},
		{"a line feed", func(c *Config) { c.Application = "app\n" }, "line feed"},
		{"the key of other rows", func(c *Config) { c.Application = notesOf + "app" }, `leave out "@"`},
		{"half a capacity", func(c *Config) { c.Tables.ReadCapacity = 5 }, "give both"},
	} {
		config := good
		c.change(&config)
		if _, err := New(&sdk.Client{}, config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.says)
		}
	}
	for _, client := range []API{nil, (*sdk.Client)(nil)} {
		if _, err := New(client, good); err == nil {
			t.Errorf("a store without a client: %#v", client)
		}
	}
	if s, err := New(&sdk.Client{}, good); err != nil || s.Application() != "app" {
		t.Errorf("got %v, error %v", s, err)
	}
}
