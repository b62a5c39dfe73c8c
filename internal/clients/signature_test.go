package clients

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/engine/server"
	"github.com/millrace/millrace/internal/testclients"
)

func TestEachClientSignsSoThatItIsLetInByItsKeyAlone(t *testing.T) {
	const key, secret = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	plain, secure := serve(t, t.TempDir(), server.AccessKey{ID: key, Secret: secret})
	for _, c := range []struct {
		name  string
		at    testclients.Endpoint
		start func(testing.TB, testclients.Endpoint) testclients.Client
	}{
		{"go-http1", plain, func(t testing.TB, at testclients.Endpoint) testclients.Client { return testclients.Go(t, at) }},
		{"python-http1", plain, testclients.Python},
		{"python-tls-http1", secure, testclients.Python},
		{"node-h2c", plain, testclients.Node},
		{"node-tls-http2", secure, testclients.Node},
		{"java-cbor-h2c", plain, func(t testing.TB, at testclients.Endpoint) testclients.Client { return testclients.Java(t, at, true) }},
		{"java-json-tls-http2", secure, func(t testing.TB, at testclients.Endpoint) testclients.Client { return testclients.Java(t, at, false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "go-http1" {
				t.Skip("other languages; not with -short")
			}
			t.Parallel()
			c.at.Key, c.at.Secret = key, secret
			known := c.start(t, c.at)
			var out kinesis.ListStreamsOutput
			if err := known.Call(t.Context(), "ListStreams", &kinesis.ListStreamsInput{}, &out); err != nil {
				t.Errorf("with the key: %v", err)
			}
			input := &kinesis.CreateStreamInput{StreamName: aws.String("by-" + c.name), ShardCount: aws.Int32(1), Tags: map[string]string{"ü": "ß / +"}}
			if err := known.Call(t.Context(), "CreateStream", input, &kinesis.CreateStreamOutput{}); err != nil {
				t.Errorf("with the key: %v", err)
			}
			if c.name != "go-http1" {
				return
			}
			c.at.Secret = "another"
			err := c.start(t, c.at).Call(t.Context(), "ListStreams", &kinesis.ListStreamsInput{}, &out)
			if e, ok := errors.AsType[*testclients.Error](err); !ok || e.Code != "InvalidSignatureException" {
				t.Errorf("with another secret: %v", err)
			}
		})
	}
}
