package testclients

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/provide"
)

// Client is a client of the Kinesis API in one language. It may be asked many things
// at once, and ends with its test.
type Client interface {
	// Version tells what it is.
	Version() string
	// Call performs an operation. The input and the output are pointers to the types
	// of the SDK for Go; the error is an [*Error] where the client raised one.
	Call(ctx context.Context, operation string, input, output any) error
	// Subscribe yields the events of a subscription, until it ends, or an error. A
	// client in another process reads on when nobody wants to have more.
	Subscribe(ctx context.Context, input *kinesis.SubscribeToShardInput) iter.Seq2[types.SubscribeToShardEvent, error]
}

// Error is an error as a client sees it.
type Error struct {
	// Code is what the service calls it, Type the class or the type in which the
	// client's language has it.
	Code, Type string
	Message    string
	// Status is that of the answer, 0 where the client does not tell, as within an
	// event stream; Request its identifier.
	Status  int
	Request string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Endpoint is where and how a client reaches the service.
type Endpoint struct {
	URL string
	// CA is the path of the certificate, in PEM, that an endpoint of https is
	// trusted for.
	CA string
	// Key and Secret are the credentials. Default: "test" and "test".
	Key, Secret string
}

func (e Endpoint) credentials() (key, secret string) {
	return cmp.Or(e.Key, "test"), cmp.Or(e.Secret, "test")
}

// Node starts the AWS SDK for JavaScript: JSON over HTTP/2 alone, without TLS as well.
func Node(t testing.TB, at Endpoint) Client {
	t.Helper()
	dir := have(t, "the AWS SDK for JavaScript", folder(nodeInstall))
	return start(t, dir, at, "NODE_EXTRA_CA_CERTS="+at.CA, "node", "--no-warnings", "-e", nodeClient)
}

// Python starts boto3: JSON over HTTP/1.1.
func Python(t testing.TB, at Endpoint) Client {
	t.Helper()
	dir := have(t, "boto3", folder(pythonInstall))
	return start(t, dir, at, "", filepath.Join(dir, "venv", "bin", "python"), "-c", pythonClient)
}

// Java starts the asynchronous client of the AWS SDK for Java: CBOR, or JSON if it
// is told so, over HTTP/2 alone, without TLS as well.
func Java(t testing.TB, at Endpoint, cbor bool) Client {
	t.Helper()
	classPath := have(t, "the AWS SDK for Java", consumer.install)
	return start(t, os.TempDir(), at, "", "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto",
		fmt.Sprintf("-Daws.cborEnabled=%t", cbor), "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", classPath, "Client")
}

func folder(i provide.Install) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		dir, _, err := i.Do(ctx)
		return dir, err
	}
}
