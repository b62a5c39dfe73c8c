package kinesis

import (
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// pushTransport returns the client's transport as subscriptions want it, with
// connections of their own, or nil where the client has another kind of one,
// which then is the user's to choose.
//
// Over HTTP/2 many subscriptions share a connection, as many as the server
// allows. What one of them has not read yet is bounded by its stream's window,
// and the window of the connection is that of 2,048 streams (1 GiB, by default), so
// that a slow shard does not hold up the others. A window of 512 KiB lets a shard
// send its 2 MiB a second over a quarter of a second of distance. Pings find
// connections that have died in silence. Over HTTP/1.1 each subscription has a
// connection of its own, and there is no bound on them. Nothing ends an answer
// that takes five minutes but the watchdog.
func pushTransport(client ConsumerClient) sdk.HTTPClient {
	c, ok := client.(interface{ Options() sdk.Options })
	if !ok {
		return nil
	}
	b, ok := c.Options().HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return nil
	}
	return b.WithTransportOptions(func(t *http.Transport) {
		t.MaxConnsPerHost = 0
		if t.HTTP2 == nil {
			t.HTTP2 = new(http.HTTP2Config)
		}
		t.HTTP2.MaxReceiveBufferPerStream = 512 << 10
		t.HTTP2.SendPingTimeout = 15 * time.Second
		t.HTTP2.PingTimeout = 15 * time.Second
	}).WithTimeout(0).WithReadTimeout(0)
}
