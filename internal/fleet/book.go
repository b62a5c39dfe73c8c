package fleet

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/lease/dynamodb"
	"github.com/millrace/millrace/lease/postgres"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
)

// book is where records are booked in the transaction that stores the checkpoint.
// Nothing in it keeps a record from being booked twice but that.
type book interface {
	create(ctx context.Context) error
	enter(ctx context.Context, b *processors.Batch, records []string) error
}

// BookTable is the table of an application's book. In PostgreSQL and in SQLite it has
// a row for each time that a record was booked: record, shard, term. In DynamoDB it has an
// item for each batch: id, which says nothing, records, with spaces between them,
// and term.
func BookTable(application string) string { return application + "-book" }

type postgresBook struct {
	pool  *pgxpool.Pool
	table string
}

func (b *postgresBook) name() string { return pgx.Identifier{b.table}.Sanitize() }

func (b *postgresBook) create(ctx context.Context) error {
	// Two that create a table at once may both find that it is not there.
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", b.table)
		if err == nil {
			_, err = tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+b.name()+" (record text NOT NULL, shard text NOT NULL, term bigint NOT NULL)")
		}
		return err
	})
}

func (b *postgresBook) enter(ctx context.Context, batch *processors.Batch, records []string) error {
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+b.name()+" SELECT unnest($1::text[]), $2, $3", records, batch.Shard.ID, batch.Shard.Term)
		if err != nil {
			return err
		}
		return postgres.CheckpointTx(ctx, tx, batch.Checkpointer, batch.Records[len(batch.Records)-1].Sequence)
	})
}

// OpenSQLite opens the file of a fleet, as one who writes to it beside the store: a
// transaction waits for those of others at its beginning, and for as long as its
// context lasts.
func OpenSQLite(path string) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_busy_timeout": {"60000"}}
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return sql.Open("sqlite", file.String())
}

type sqliteBook struct {
	db    *sql.DB
	table string
}

func (b *sqliteBook) name() string { return pgx.Identifier{b.table}.Sanitize() }

func (b *sqliteBook) create(ctx context.Context) error {
	_, err := b.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+b.name()+" (record TEXT NOT NULL, shard TEXT NOT NULL, term INTEGER NOT NULL)")
	return err
}

func (b *sqliteBook) enter(ctx context.Context, batch *processors.Batch, records []string) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of one that was committed: nothing
	for _, r := range records {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+b.name()+" VALUES (?, ?, ?)", r, batch.Shard.ID, batch.Shard.Term); err != nil {
			return err
		}
	}
	if err := sqlite.CheckpointTx(ctx, tx, batch.Checkpointer, batch.Records[len(batch.Records)-1].Sequence); err != nil {
		return err
	}
	return tx.Commit()
}

type dynamoBook struct {
	client *sdk.Client
	table  string
}

func (b *dynamoBook) create(ctx context.Context) error {
	_, err := b.client.CreateTable(ctx, &sdk.CreateTableInput{
		TableName: &b.table, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if _, there := errors.AsType[*types.ResourceInUseException](err); there {
		return nil
	}
	return err
}

func (b *dynamoBook) enter(ctx context.Context, batch *processors.Batch, records []string) error {
	write, err := dynamodb.CheckpointWrite(ctx, batch.Checkpointer, batch.Records[len(batch.Records)-1].Sequence)
	if err != nil {
		return err
	}
	entry := types.TransactWriteItem{Put: &types.Put{TableName: &b.table, Item: map[string]types.AttributeValue{
		"id":      &types.AttributeValueMemberS{Value: rand.Text()},
		"records": &types.AttributeValueMemberS{Value: strings.Join(records, " ")},
		"term":    &types.AttributeValueMemberN{Value: fmt.Sprint(batch.Shard.Term)},
	}}}
	_, err = b.client.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{entry, write}})
	return err
}
