package testclients

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMembersThatAreNotThereAreNotSent(t *testing.T) {
	moment := time.UnixMilli(1_700_000_000_250).UTC()
	for _, c := range []struct {
		input any
		want  string
	}{
		{&kinesis.ListStreamsInput{}, `{}`},
		{&kinesis.CreateStreamInput{StreamName: aws.String("a"), Tags: map[string]string{"k": ""}}, `{"StreamName":"a","Tags":{"k":""}}`},
		{&kinesis.PutRecordInput{Data: []byte{0, 255}, PartitionKey: aws.String("")}, `{"Data":"AP8=","PartitionKey":""}`},
		{&kinesis.PutRecordInput{Data: []byte{}}, `{"Data":""}`},
		{
			&kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: &moment},
			`{"ShardIteratorType":"AT_TIMESTAMP","Timestamp":"2023-11-14T22:13:20.25Z"}`,
		},
		{
			&kinesis.PutRecordsInput{Records: []types.PutRecordsRequestEntry{{Data: []byte("x")}}},
			`{"Records":[{"Data":"eA=="}]}`,
		},
	} {
		if got, err := json.Marshal(members(c.input)); err != nil || string(got) != c.want {
			t.Errorf("%T: %s, error %v; want %s", c.input, got, err, c.want)
		}
	}
}

// answers is a client that is a shell script.
func answers(t *testing.T, script string) Client {
	return start(t, t.TempDir(), Endpoint{}, "", "sh", "-c", `read where; echo '{"version":"1"}'; `+script)
}

func TestAnAnswerComesToWhomeverAsked(t *testing.T) {
	// The second order is answered before the first one.
	client := answers(t, `read first; read second
		echo '{"id":2,"output":{"ShardId":"two"}}'
		echo '{"id":1,"error":{"code":"LimitExceededException","type":"T","status":400,"request":"r","message":"slow"}}'
		cat >/dev/null`)
	var both sync.WaitGroup
	shard, refused := make(chan string, 2), make(chan error, 2)
	for range 2 {
		both.Go(func() {
			var out kinesis.PutRecordOutput
			if err := client.Call(t.Context(), "PutRecord", &kinesis.PutRecordInput{}, &out); err != nil {
				refused <- err
			} else {
				shard <- aws.ToString(out.ShardId)
			}
		})
	}
	both.Wait()
	want := Error{Code: "LimitExceededException", Type: "T", Status: 400, Request: "r", Message: "slow"}
	if got, ok := errors.AsType[*Error](<-refused); !ok || *got != want {
		t.Errorf("error %+v, want %+v", got, want)
	}
	if got := <-shard; got != "two" {
		t.Errorf("shard %q", got)
	}
}

func TestASubscriptionYieldsItsEventsUntilItsEnd(t *testing.T) {
	client := answers(t, `read order
		echo '{"id":1,"output":{}}'
		echo '{"id":1,"event":{"MillisBehindLatest":1}}'
		echo '{"id":1,"event":{"MillisBehindLatest":0}}'
		echo '{"id":1,"end":true}'
		read order
		echo '{"id":2,"error":{"code":"ResourceInUseException"}}'
		cat >/dev/null`)
	var behind []int64
	for event, err := range client.Subscribe(t.Context(), &kinesis.SubscribeToShardInput{}) {
		if err != nil {
			t.Fatal(err)
		}
		behind = append(behind, aws.ToInt64(event.MillisBehindLatest))
	}
	if fmt.Sprint(behind) != "[1 0]" {
		t.Errorf("behind %v", behind)
	}
	for _, err := range client.Subscribe(t.Context(), &kinesis.SubscribeToShardInput{}) {
		if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != "ResourceInUseException" {
			t.Errorf("error %v", err)
		}
	}
}

func TestAClientThatDiesAnswersEverybody(t *testing.T) {
	client := answers(t, `read order; echo '{"id":1,"outp'`)
	for range 2 { // who waits, and who comes too late
		err := client.Call(t.Context(), "PutRecord", &kinesis.PutRecordInput{}, &kinesis.PutRecordOutput{})
		if err == nil {
			t.Error("an answer of a client that has died")
		}
	}
}

// judged is a test that notes how it ends.
type judged struct {
	testing.TB
	skipped, failed bool
	why             string
}

func (j *judged) Skipf(format string, args ...any) {
	j.skipped, j.why = true, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (j *judged) Fatalf(format string, args ...any) {
	j.failed, j.why = true, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestWithoutAClientTestsAreSkippedOrFailWhereTheyMustNotBe(t *testing.T) {
	for _, c := range []struct {
		ci, need string
		fails    bool
	}{{"", "", false}, {"1", "", true}, {"", "1", true}} {
		t.Setenv("CI", c.ci)
		t.Setenv("MILLRACE_NEED_SERVICES", c.need)
		j := &judged{TB: t}
		var done sync.WaitGroup
		done.Go(func() { need(j, "boto3", errors.New("no network")) })
		done.Wait()
		if j.failed != c.fails || j.skipped == c.fails || !strings.Contains(j.why, "boto3: no network") {
			t.Errorf("CI=%q, MILLRACE_NEED_SERVICES=%q: skipped %v, failed %v: %s", c.ci, c.need, j.skipped, j.failed, j.why)
		}
	}
}
