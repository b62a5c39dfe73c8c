package kinesis

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/millrace/millrace/stream"
)

func TestASlowShardHoldsUpNoOtherOnItsConnection(t *testing.T) {
	const slow, fast, events = "shardId-000000000000", "shardId-000000000001", 500
	f := newPushService()
	var written, connections atomic.Int64
	full, done := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".SubscribeToShard") {
			f.ServeHTTP(w, r)
			return
		}
		var in struct{ ShardId string }
		body, _ := io.ReadAll(r.Body)
		if json.Unmarshal(body, &in) != nil {
			refuse(w, "SerializationException")
			return
		}
		if r.ProtoMajor != 2 {
			t.Errorf("subscribed over %s", r.Proto)
		}
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		frame := eventFrame(1, 1000, false)
		if in.ShardId == slow {
			// More than anybody should take without being asked.
			for written.Load() < 64<<20 {
				n, err := w.Write(frame)
				if err != nil {
					return
				}
				written.Add(int64(n))
			}
			t.Error("64 MiB were taken from a subscription that nobody reads")
			return
		}
		<-full
		for n := range events {
			w.Write(eventFrame(n+1, n+1, false))
			http.NewResponseController(w).Flush()
		}
		<-done
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	defer close(done)

	trust := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.TLSClientConfig.RootCAs = trust })
	s, err := New(pushClient(server.URL, client), "orders", Config{Encoding: JSON, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f.consumers["tester"] = &fakeConsumer{}
	u, err := s.Register(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	before := connections.Load()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("too slow"))
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	hanging, release := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		u.Subscribe(ctx, slow, stream.TrimHorizon, stream.Batch{}, func(*stream.Batch) error {
			close(hanging)
			<-release
			return errEnough
		})
	})
	defer close(release)
	<-hanging
	// Until the server can write no more, its window being full.
	for last := int64(-1); last != written.Load(); {
		last = written.Load()
		pause(ctx, 100*time.Millisecond)
	}
	close(full)
	j := newJournal()
	err = u.Subscribe(ctx, fast, stream.TrimHorizon, stream.Batch{}, func(b *stream.Batch) error {
		if err := j.handle(b); err != nil || j.next <= events {
			return err
		}
		return errEnough
	})
	if err != errEnough {
		t.Errorf("the fast shard, beside a slow one: %v", err)
	}
	j.check(t, events)
	if n := connections.Load() - before; n != 1 {
		t.Errorf("two subscriptions have %d connections", n)
	}
	t.Logf("%d KiB were sent to a subscription that nobody reads", written.Load()>>10)
	if n := written.Load(); n > 2<<20 {
		t.Errorf("%d bytes were taken from a subscription that nobody reads", n)
	}
}

func TestNoTimeoutOfTheClientEndsASubscription(t *testing.T) {
	own := &http.Client{Timeout: time.Second, Transport: http.DefaultTransport}
	if got, ok := pushTransport(pushClient("http://kinesis.test", own)).(*http.Client); !ok || got.Timeout != 0 || got.Transport != own.Transport || own.Timeout != time.Second {
		t.Errorf("%+v", got)
	}
	amazons := awshttp.NewBuildableClient().WithTimeout(time.Second).WithReadTimeout(time.Second)
	if got, ok := pushTransport(pushClient("http://kinesis.test", amazons)).(*awshttp.BuildableClient); !ok || got.GetTimeout() != 0 || got.GetTransport().MaxConnsPerHost != 0 {
		t.Errorf("%+v", got)
	} else if d, _ := got.GetReadTimeout(); d != 0 {
		t.Errorf("the read timeout is %v", d)
	}
	if got := pushTransport(pushClient("http://kinesis.test", struct{ *http.Client }{own})); got != nil {
		t.Errorf("a transport of the user's own is replaced by %T", got)
	}
}
