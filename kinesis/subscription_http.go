package kinesis

import (
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// pushTransport returns the client's transport as subscriptions want it, or nil
// where it is of a kind that is the user's own. What is not bounded in time but
// by the watchdog is an answer that takes five minutes.
//
// The SDK's transport is given connections of its own for subscriptions. Over
// HTTP/2 many of them share one, as many as the server allows. What one has not
// read yet is bounded by its stream's window, and the window of the connection is
// that of 2,048 streams (1 GiB, by default), so that a slow shard does not hold up
// the others. A window of 512 KiB lets a shard send its 2 MiB a second over a
// quarter of a second of distance. Pings find connections that have died in
// silence. Over HTTP/1.1 each subscription has a connection of its own, and there
// is no bound on them.
func pushTransport(client ConsumerClient) sdk.HTTPClient {
	c, ok := client.(interface{ Options() sdk.Options })
	if !ok {
		return nil
	}
	switch h := c.Options().HTTPClient.(type) {
	case *awshttp.BuildableClient:
		return h.WithTransportOptions(tunePush).WithTimeout(0).WithReadTimeout(0)
	case *http.Client:
		unbound := *h
		unbound.Timeout = 0
		return &unbound
	}
	return nil
}

func tunePush(t *http.Transport) {
	t.MaxConnsPerHost = 0
	if t.HTTP2 == nil {
		t.HTTP2 = new(http.HTTP2Config)
	}
	t.HTTP2.MaxReceiveBufferPerStream = 512 << 10
	t.HTTP2.SendPingTimeout = 15 * time.Second
	t.HTTP2.PingTimeout = 15 * time.Second
}
