package testclients

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

// Go makes a client of the AWS SDK for Go: JSON over HTTP/1.1, or over HTTP/2 with TLS,
// unless it is told otherwise.
func Go(t testing.TB, at Endpoint, more ...func(*kinesis.Options)) Client {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	if at.CA != "" {
		pem, err := os.ReadFile(at.CA)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			t.Fatalf("%s has no certificate", at.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	key, secret := at.credentials()
	return inProcess{func() *kinesis.Client {
		return kinesis.New(kinesis.Options{
			Region: "us-east-1", BaseEndpoint: &at.URL, HTTPClient: whole{&http.Client{Transport: transport}},
			Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""), Retryer: aws.NopRetryer{},
		}, more...)
	}}
}

// whole sends bodies that net/http knows to be in memory. Of those that the SDK makes
// it does not, and looks for their end when they are sent; if the answer is faster,
// the SDK has closed the body by then, which net/http takes for a failure: it cuts
// the connection, in the middle of the answer.
type whole struct{ client *http.Client }

func (w whole) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return w.client.Do(r)
}

// inProcess makes a client of the SDK for each call: those of this version race with
// themselves when two subscriptions share one.
type inProcess struct{ client func() *kinesis.Client }

func (inProcess) Version() string {
	return "AWS SDK for Go " + aws.SDKVersion + ", " + runtime.Version()
}

func (p inProcess) Call(ctx context.Context, operation string, input, output any) error {
	method := reflect.ValueOf(p.client()).MethodByName(operation)
	if !method.IsValid() {
		return fmt.Errorf("the SDK for Go has no operation %s", operation)
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(input)})
	if err, _ := results[1].Interface().(error); err != nil {
		return seen(err)
	}
	reflect.ValueOf(output).Elem().Set(results[0].Elem())
	return nil
}

func (p inProcess) Subscribe(ctx context.Context, input *kinesis.SubscribeToShardInput) iter.Seq2[types.SubscribeToShardEvent, error] {
	return func(yield func(types.SubscribeToShardEvent, error) bool) {
		output, err := p.client().SubscribeToShard(ctx, input)
		if err != nil {
			yield(types.SubscribeToShardEvent{}, seen(err))
			return
		}
		events := output.GetStream()
		defer events.Close()
		for event := range events.Events() {
			if e, ok := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent); ok && !yield(e.Value, nil) {
				return
			}
		}
		if err := events.Err(); err != nil {
			yield(types.SubscribeToShardEvent{}, seen(err))
		}
	}
}

// seen is an error of the service as the SDK for Go tells it.
func seen(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	e := &Error{Code: api.ErrorCode(), Message: api.ErrorMessage(), Type: reflect.Indirect(reflect.ValueOf(api)).Type().Name()}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		e.Status, e.Request = response.HTTPStatusCode(), response.RequestID
	}
	return e
}
