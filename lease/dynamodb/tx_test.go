package dynamodb_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/dynamodb"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

var errChaos = errors.New("chaos")

func TestEffectsInTheRequestOfTheCheckpointHappenOnce(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		if !api.Complete {
			t.Skip("it knows no TransactWriteItems")
		}
		client := api.Client(t, nil)
		f := newFleet(t, client, 2)
		f.puts(120)
		store, err := dynamodb.New(client, f.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CreateTables(t.Context()); err != nil {
			t.Fatal(err)
		}
		book := testdynamo.TableName()
		if _, err := client.CreateTable(t.Context(), &sdk.CreateTableInput{
			TableName: &book, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("account"), AttributeType: types.ScalarAttributeTypeS}},
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("account"), KeyType: types.KeyTypeHash}},
		}); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		random, repeated := rand.New(rand.NewPCG(1, 2)), 0
		one := func(in int) bool {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(in) == 0
		}
		process := func(ctx context.Context, b *processors.Batch) error {
			effects := []types.TransactWriteItem{{Update: &types.Update{
				TableName: &book, Key: map[string]types.AttributeValue{"account": &types.AttributeValueMemberS{Value: b.Shard.ID}},
				UpdateExpression:          aws.String("ADD booked :n"),
				ExpressionAttributeValues: map[string]types.AttributeValue{":n": &types.AttributeValueMemberN{Value: strconv.Itoa(len(b.Records))}},
			}}}
			write, err := dynamodb.CheckpointWrite(ctx, b.Checkpointer, b.Records[len(b.Records)-1].Sequence)
			if err == nil {
				if one(4) {
					return errChaos // nothing was sent
				}
				_, err = client.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: append(effects, write)})
				if err == nil && one(2) {
					return errChaos // its answer was lost
				}
			}
			if errors.Is(err, checkpoint.ErrStored) {
				mu.Lock()
				repeated++
				mu.Unlock()
				err = nil
			}
			if err == nil {
				return f.account.add("w", b.Shard.ID, b.Records)
			}
			return err
		}
		w, err := worker.New(worker.Config{
			Application: f.config.Application, Streams: []stream.Stream{f.stream}, Leases: store, Logger: slog.New(slog.DiscardHandler),
			BatchRecords: 5, CheckpointEvery: 50 * time.Millisecond, Retry: processors.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond},
			Processor: func(processors.Shard) processors.RecordProcessor { return processors.Func(process) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		f.processed("all records are booked")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		out, err := client.Scan(t.Context(), &sdk.ScanInput{TableName: &book})
		if err != nil {
			t.Fatal(err)
		}
		booked := 0
		for _, it := range out.Items {
			n, err := strconv.Atoi(it["booked"].(*types.AttributeValueMemberN).Value)
			if err != nil {
				t.Fatal(err)
			}
			booked += n
		}
		if booked != f.put || repeated == 0 {
			t.Errorf("%d records were booked %d times; %d batches came again after they were", f.put, booked, repeated)
		}
	})
}

func TestARequestOfAFormerHolderIsCancelled(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		client := api.Client(t, nil)
		store, err := dynamodb.New(client, dynamodb.Config{Application: testdynamo.TableName()})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CreateTables(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := lease.NewLease("s", "s:1", stream.Shard{ID: "0", Hash: stream.FullRange}, stream.TrimHorizon)
		if err := store.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		l, err = store.Swap(t.Context(), l, lease.Taken(l, "a"))
		if err != nil {
			t.Fatal(err)
		}
		next := l
		next.Checkpoint.Position = stream.After(stream.MakeSequence(1, 1, 7))
		var write types.TransactWriteItem
		if row, err := store.SwapIn(t.Context(), &write, l, next); err != nil || row.Counter != l.Counter+1 || row.Checkpoint.Position != next.Checkpoint.Position {
			t.Fatalf("%+v, %v", row, err)
		}
		heir, err := store.Swap(t.Context(), l, lease.Taken(l, "b"))
		if err != nil {
			t.Fatal(err)
		}
		if api.Complete {
			_, err := client.TransactWriteItems(t.Context(), &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{write}})
			if _, cancelled := errors.AsType[*types.TransactionCanceledException](err); !cancelled {
				t.Errorf("the request of the former holder ended with %v", err)
			}
		}
		if row, err := store.SwapIn(t.Context(), &write, l, next); !errors.Is(err, lease.ErrConflict) || row.Owner != "b" || row.Counter != heir.Counter {
			t.Errorf("his next one: %+v, %v", row, err)
		}
		if rows, err := store.Read(t.Context(), l.Key); err != nil || len(rows) != 1 || rows[0].Counter != heir.Counter {
			t.Errorf("%+v, %v", rows, err)
		}
		if _, err := store.SwapIn(t.Context(), "tx", l, next); err == nil || !strings.Contains(err.Error(), "CheckpointWrite") {
			t.Errorf("something else than a transaction: %v", err)
		}
	})
}
