package dynamodb

import (
	"context"
	"flag"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
)

// open returns a store on tables of its own, which it makes.
func open(t testing.TB, api API, config Config) *Store {
	t.Helper()
	if config.Application == "" {
		config.Application = testdynamo.TableName()
	}
	s := handle(t, api, config)
	if err := s.CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// handle returns a store on tables that are there. Its pages are small.
func handle(t testing.TB, api API, config Config) *Store {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := New(api, config)
	if err != nil {
		t.Fatal(err)
	}
	s.pageSize = aws.Int32(33)
	return s
}

// fewerWalks shortens the random walks of a test, which take thousands of
// requests: an emulator answers some hundred in a second. The flag makes them as
// long as one likes.
func fewerWalks(t testing.TB) {
	checks := flag.Lookup("rapid.checks").Value
	if before := checks.String(); before == "100" { // as it is when nobody has set it
		_ = checks.Set("2")
		t.Cleanup(func() { _ = checks.Set(before) })
	}
}

func TestTheDynamoDBStoreKeepsTheContract(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		if testing.Short() && api.Name == "moto" {
			t.Skip("one emulator is enough for a short run, and this one is slow")
		}
		client := api.Client(t, nil)
		fewerWalks(t)
		leasetest.Run(t,
			func(t testing.TB) lease.Store { return open(t, client, Config{}) },
			leasetest.Options{
				Second: func(t testing.TB, store lease.Store) lease.Store {
					return handle(t, api.Client(t, nil), store.(*Store).config)
				},
				Other: func(t testing.TB, store lease.Store) lease.Store {
					// The members of two applications lie in one table.
					return open(t, client, Config{Application: testdynamo.TableName(), MembersTable: store.(*Store).config.MembersTable})
				},
				Begin: func(t testing.TB, store lease.Store) leasetest.Transaction {
					if !api.Complete {
						t.Skip("it knows no TransactWriteItems")
					}
					var write types.TransactWriteItem
					return leasetest.Transaction{
						Tx: &write,
						Commit: func(ctx context.Context) error {
							_, err := client.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{write}})
							return err
						},
						Rollback: func(context.Context) error { return nil },
					}
				},
				Spoil: func(t testing.TB, store lease.Store, key string) {
					s := store.(*Store)
					if _, err := client.UpdateItem(t.Context(), &sdk.UpdateItemInput{
						TableName: &s.config.Table, Key: item{leaseKey: text(s.layout.tableKey(key))},
						UpdateExpression:          aws.String("SET #checkpoint = :someday"),
						ExpressionAttributeNames:  map[string]string{"#checkpoint": checkpointNumber},
						ExpressionAttributeValues: item{":someday": text("someday")},
					}); err != nil {
						t.Fatal(err)
					}
				},
				Reopen: func(t testing.TB, store lease.Store) lease.Store {
					return handle(t, api.Client(t, nil), store.(*Store).config)
				},
				Rows: 100,
			})
	})
}
