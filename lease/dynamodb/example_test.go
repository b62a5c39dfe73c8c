package dynamodb_test

import (
	"context"
	"log"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lease/dynamodb"
)

// A program makes the client with config.LoadDefaultConfig, and gives the store
// to worker.Config.Leases.
func Example() {
	client := sdk.NewFromConfig(aws.Config{Region: "eu-central-1"})
	store, err := dynamodb.New(client, dynamodb.Config{
		Application: "billing",
		Tables:      dynamodb.TableSettings{PointInTimeRecovery: true, Tags: map[string]string{"team": "data"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := store.CreateTables(ctx); err != nil {
		log.Fatal(err)
	}
}

// An application that was a Java KCL's goes on from its checkpoints when the
// store knows which stream the rows are of. Stop all Java workers before.
func Example_migration() {
	client := sdk.NewFromConfig(aws.Config{Region: "eu-central-1"})
	store, err := dynamodb.New(client, dynamodb.Config{
		Application: "billing", // the KCL's applicationName, which is the name of its table
		// As the Identity method of the stream calls it that the worker is given.
		SingleStream: "arn:aws:kinesis:eu-central-1:123456789012:stream/orders",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // an index of a large table takes its time
	defer cancel()
	if err := store.CreateTables(ctx); err != nil {
		log.Fatal(err)
	}
}
