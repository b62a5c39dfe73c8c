package clients

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/internal/testclients"
)

func TestEachClientLivesThroughAStreamsWholeLife(t *testing.T) {
	dir := t.TempDir()
	stale := iteratorOfLongAgo(t, dir)
	plain, secure := serve(t, dir)
	rpc := func(o *kinesis.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) }
	for _, c := range []struct {
		name  string // protocol, version of HTTP
		start func(testing.TB) testclients.Client
	}{
		{"go-json-http1", func(t testing.TB) testclients.Client { return testclients.Go(t, plain) }},
		{"go-json-tls-http2", func(t testing.TB) testclients.Client { return testclients.Go(t, secure) }},
		{"go-rpcv2cbor-http1", func(t testing.TB) testclients.Client { return testclients.Go(t, plain, rpc) }},
		{"python-json-http1", func(t testing.TB) testclients.Client { return testclients.Python(t, plain) }},
		{"python-json-tls-http1", func(t testing.TB) testclients.Client { return testclients.Python(t, secure) }},
		{"node-json-h2c", func(t testing.TB) testclients.Client { return testclients.Node(t, plain) }},
		{"node-json-tls-http2", func(t testing.TB) testclients.Client { return testclients.Node(t, secure) }},
		{"java-cbor-h2c", func(t testing.TB) testclients.Client { return testclients.Java(t, plain, true) }},
		{"java-cbor-tls-http2", func(t testing.TB) testclients.Client { return testclients.Java(t, secure, true) }},
		{"java-json-h2c", func(t testing.TB) testclients.Client { return testclients.Java(t, plain, false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "go-json-http1" {
				t.Skip("other languages; not with -short")
			}
			t.Parallel()
			s := &story{T: t, client: c.start(t), name: "story-" + c.name, stale: stale}
			s.tell()
		})
	}
}
