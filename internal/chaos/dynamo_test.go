package chaos

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease/dynamodb"
)

func TestAFleetOverDynamoDBKeepsItsPromisesUnderChaos(t *testing.T) {
	lasts := length(t)
	t.Parallel()
	trial(t, lasts, inDynamoDB(t, testdynamo.Any(t)))
}

func inDynamoDB(t *testing.T, api testdynamo.API) backend {
	application := testdynamo.TableName()
	client := api.Client(t, nil)
	store, err := dynamodb.New(client, dynamodb.Config{Application: application, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := backend{
		name: "DynamoDB (" + api.Name + ")", target: address.Host, store: store,
		reach: func(cfg *fleet.Config, at string) {
			cfg.DynamoDB, cfg.Application = "http://"+at, application
			cfg.Book = api.Complete // the others know no transactions
		},
		booked: func(context.Context) (map[string]booking, error) { return nil, nil },
		spoil:  func(t *testing.T) spoiler { return spoilRequests(t, api) },
	}
	if api.Complete {
		book := fleet.BookTable(application)
		booked := map[string]booking{}
		b.tidy = func(ctx context.Context) error { return emptyBook(ctx, client, book, booked) }
		b.booked = func(ctx context.Context) (map[string]booking, error) { return booked, b.tidy(ctx) }
	}
	return b
}

// emptyBook takes note of what is booked, and removes it: for each transaction the
// emulator copies all that there is.
func emptyBook(ctx context.Context, client *sdk.Client, table string, booked map[string]booking) error {
	for pages := sdk.NewScanPaginator(client, &sdk.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if _, none := errors.AsType[*types.ResourceNotFoundException](err); none {
			return nil // no worker has opened it yet
		} else if err != nil {
			return err
		}
		for _, it := range page.Items {
			term, err := strconv.ParseInt(it["term"].(*types.AttributeValueMemberN).Value, 10, 64)
			if err != nil {
				return err
			}
			_, err = client.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: &table, Key: map[string]types.AttributeValue{"id": it["id"]}})
			if err != nil {
				return err
			}
			for record := range strings.FieldsSeq(it["records"].(*types.AttributeValueMemberS).Value) {
				booked[record] = booking{booked[record].times + 1, max(booked[record].term, term)}
			}
		}
	}
	return nil
}

// What goes wrong with one request in so many.
var spoilt = map[string]struct {
	fault testdynamo.Fault
	in    int
}{
	"throttling":                     {testdynamo.Throttle, 3},
	"errors after the write":         {testdynamo.FailAfter, 5},
	"answers lost after the write":   {testdynamo.LoseAnswer, 5},
	"indexes that have stood still":  {testdynamo.Stale, 1},
	"connections that break at once": {testdynamo.Break, 5},
}

// spoilRequests is an HTTP proxy with a wire that does what it is told.
func spoilRequests(t *testing.T, api testdynamo.API) spoiler {
	target, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	wire := testdynamo.NewWire(testdynamo.Transport(t))
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: wire,
		// A request without an answer is a connection that ends.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	})
	t.Cleanup(server.Close)
	s := spoiler{address: server.Listener.Addr().String(), set: func(kind string) {
		wire.SetFault(func(string, int) testdynamo.Fault {
			if f, some := spoilt[kind]; some && rand.IntN(f.in) == 0 {
				return f.fault
			}
			return testdynamo.Pass
		})
	}}
	for kind := range spoilt {
		s.kinds = append(s.kinds, kind)
	}
	return s
}
