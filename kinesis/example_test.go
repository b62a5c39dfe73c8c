package kinesis_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

// The client is one of the AWS SDK, made as always. Here it speaks to an engine
// in this process; for Amazon's service leave out BaseEndpoint and Credentials
// and make it with kinesis.NewFromConfig.
func ExampleNew() {
	ctx := context.Background()
	e, err := engine.OpenMemory(engine.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	if _, err := e.CreateStream(ctx, "orders", engine.StreamConfig{}); err != nil {
		log.Fatal(err)
	}
	api, err := server.New(e, server.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer api.Close()
	web := httptest.NewServer(api)
	defer web.Close()

	client := sdk.New(sdk.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(web.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient:   web.Client(),
	})
	s, err := kinesis.New(client, "orders", kinesis.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := s.Put(ctx, stream.Entry{PartitionKey: "customer-7", Data: []byte("two books")}); err != nil {
		log.Fatal(err)
	}
	shards, err := s.Shards(ctx)
	if err != nil {
		log.Fatal(err)
	}
	r, err := s.Open(ctx, shards[0].ID, stream.TrimHorizon)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	var b stream.Batch
	if err := r.Next(ctx, &b); err != nil {
		log.Fatal(err)
	}
	for _, record := range b.Records {
		fmt.Printf("%s: %s\n", record.PartitionKey, record.Data)
	}
	// Output: customer-7: two books
}
