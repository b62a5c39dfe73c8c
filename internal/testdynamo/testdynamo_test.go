package testdynamo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/internal/provide"
)

func TestMain(m *testing.M) { Main(m) }

func TestEachAPIAnswers(t *testing.T) {
	Each(t, func(t *testing.T, api API) {
		t.Logf("%s at %s", api.Name, api.URL)
		if _, err := api.Client(t, nil).ListTables(t.Context(), &dynamodb.ListTablesInput{}); err != nil {
			t.Error(err)
		}
	})
}

func TestAGivenAPIIsTakenAlone(t *testing.T) {
	t.Setenv("MILLRACE_DYNAMODB", "http://127.0.0.1:1")
	if api := Any(t); api.Name != "given" || api.URL != "http://127.0.0.1:1" {
		t.Errorf("got %+v", api)
	}
	n := 0
	Each(t, func(*testing.T, API) { n++ })
	if n != 1 {
		t.Errorf("%d APIs, want the given one", n)
	}
}

func TestWithoutAnAPITestsAreSkippedOrFailWhereTheyMustNotBe(t *testing.T) {
	before := servers
	t.Cleanup(func() { servers = before })
	t.Setenv("MILLRACE_DYNAMODB", "")
	for _, c := range []struct {
		ci, need        string
		skipped, failed bool
	}{{"", "", true, false}, {"1", "", false, true}, {"", "1", false, true}} {
		t.Setenv("CI", c.ci)
		t.Setenv("MILLRACE_NEED_SERVICES", c.need)
		servers = []*server{{api: API{Name: "none"}, install: func(context.Context) (string, provide.Place, error) {
			return "", provide.Place{}, errors.New("no network")
		}}}
		j := &judged{TB: t}
		var done sync.WaitGroup
		done.Go(func() { Any(j) })
		done.Wait()
		if j.skipped != c.skipped || j.failed != c.failed || !strings.Contains(j.why, "MILLRACE_DYNAMODB") || !strings.Contains(j.why, "no network") {
			t.Errorf("CI=%q, MILLRACE_NEED_SERVICES=%q: skipped %v, failed %v: %s", c.ci, c.need, j.skipped, j.failed, j.why)
		}
	}
}

// judged is a test that notes how it ends.
type judged struct {
	testing.TB
	skipped, failed bool
	why             string
}

func (j *judged) Skip(args ...any)  { j.skipped, j.why = true, fmt.Sprint(args...); runtime.Goexit() }
func (j *judged) Fatal(args ...any) { j.failed, j.why = true, fmt.Sprint(args...); runtime.Goexit() }

func TestTheWireDoesWhatItIsTold(t *testing.T) {
	api := Any(t)
	wire := NewWire(Transport(t))
	client := api.Client(t, wire)
	name := TableName()
	for _, c := range []struct {
		fault    Fault
		made     bool   // the request took place
		code     string // of the error, "" for one of the connection
		succeeds bool
	}{
		{Throttle, false, "ProvisionedThroughputExceededException", false},
		{Deny, false, "AccessDeniedException", false},
		{Break, false, "", false},
		{LoseAnswer, true, "", false},
		{FailAfter, true, "InternalServerError", false},
		{Pass, true, "", true},
	} {
		table := fmt.Sprint(name, c.fault)
		wire.SetFault(func(operation string, _ int) Fault {
			if operation == "CreateTable" {
				return c.fault
			}
			return Pass
		})
		_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: &table, BillingMode: types.BillingModePayPerRequest,
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("k"), KeyType: types.KeyTypeHash}},
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("k"), AttributeType: types.ScalarAttributeTypeS}},
		}, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })
		code := ""
		if api, ok := errors.AsType[smithy.APIError](err); ok {
			code = api.ErrorCode()
		}
		if code != c.code || (err == nil) != c.succeeds {
			t.Errorf("fault %d: error %v", c.fault, err)
		}
		if n := wire.Counts()["CreateTable"]; n != 1 {
			t.Errorf("fault %d: %d requests were counted", c.fault, n)
		}
		_, err = client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &table})
		if (err == nil) != c.made {
			t.Errorf("fault %d: the table is there: %v, want %v", c.fault, err == nil, c.made)
		}
	}
}

func TestAReadSeesWhatWasThereBeforeUnlessItMustNot(t *testing.T) {
	api := Any(t)
	wire := NewWire(Transport(t))
	client := api.Client(t, wire)
	name := TableName()
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("k"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("k"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fault      Fault
		consistent bool
		want       int
		put        bool // afterwards
	}{
		{Pass, true, 0, false}, {Pass, false, 0, true}, {Stale, false, 0, false}, {Stale, true, 1, false}, {Stale, false, 0, false},
		{Pass, false, 1, false}, {Stale, false, 1, false},
	} {
		wire.SetFault(func(string, int) Fault { return c.fault })
		out, err := client.Query(t.Context(), &dynamodb.QueryInput{
			TableName: &name, KeyConditionExpression: aws.String("k = :k"), ConsistentRead: &c.consistent,
			ExpressionAttributeValues: map[string]types.AttributeValue{":k": text("a")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if int(out.Count) != c.want {
			t.Errorf("fault %d, consistent %v: %d items, want %d", c.fault, c.consistent, out.Count, c.want)
		}
		if !c.put {
			continue
		}
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: map[string]types.AttributeValue{"k": text("a")}}); err != nil {
			t.Fatal(err)
		}
	}
}
