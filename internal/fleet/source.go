package fleet

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

// source opens the stream of a worker process: that of the host, or of an endpoint
// of the Kinesis API. hangUp ends what the stream keeps.
func (o order) source() (s stream.Stream, hangUp func() error, err error) {
	if o.Kinesis == "" {
		r, err := dial(o.Stream)
		if err != nil {
			return nil, nil, err
		}
		return r, r.close, nil
	}
	hangUp = func() error { return nil }
	k, err := OpenKinesis(o.Kinesis, o.KinesisStream, 3)
	if err != nil || o.Consumer == "" {
		return k, hangUp, err
	}
	s, err = fanout.Use(k, o.Consumer, fanout.Config{})
	return s, hangUp, err
}

// OpenKinesis returns a stream of an endpoint of the Kinesis API that knows no limits
// and believes everybody, with that many attempts for each request.
func OpenKinesis(endpoint, name string, attempts int) (*kinesis.Stream, error) {
	client := sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:       &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}},
		RetryMaxAttempts: attempts, RetryMode: aws.RetryModeStandard,
	})
	return kinesis.New(client, name, kinesis.Config{
		MinPoll: 50 * time.Millisecond, MaxPoll: 200 * time.Millisecond, Timeout: 5 * time.Second,
		Resubscribe: 100 * time.Millisecond, Stall: 10 * time.Second,
	})
}
