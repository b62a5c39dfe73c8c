package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// wantAllFree checks that nothing is counted when nobody is there.
func wantAllFree(t *testing.T, s *Server) {
	t.Helper()
	for name, a := range map[string]*admission{"bodies": s.budget.bodies, "answers": s.budget.answers, "small": s.budget.small} {
		a.mu.Lock()
		if a.free != a.limit || len(a.waiting) > 0 || len(a.moving) > 0 {
			t.Errorf("%s: %d of %d bytes are free, %d wait, %d move, and nobody is there", name, a.free, a.limit, len(a.waiting), len(a.moving))
		}
		a.mu.Unlock()
	}
}

// held is how much is held of an admission.
func (a *admission) held() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit - a.free
}

// scarce is a server with as little memory as may be.
var scarce = Config{MaxRequestMemory: 64 << 20}

// caller asks over wires, by HTTP/1.1 with a connection for each request, or by HTTP/2
// with one for all.
func caller(w *wires, two bool) *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols), DisableKeepAlives: !two, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return w.dial(), nil
	}}
	t.Protocols.SetHTTP1(!two)
	t.Protocols.SetUnencryptedHTTP2(two)
	return t
}

// asking is a request over wires, of a length that may be larger than what it has.
func asking(ctx context.Context, operation string, body io.Reader, length int) *http.Request {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://x/", body)
	if err != nil {
		panic(err)
	}
	r.ContentLength = int64(length)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", targetPrefix+operation)
	r.Header.Set("Authorization", anySignature)
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	return r
}

// trickle is a body that comes slowly, and never as a whole.
type trickle struct {
	ctx context.Context
}

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		return copy(p[:min(len(p), 8<<10)], bytes.Repeat([]byte(" "), 8<<10)), nil
	case <-b.ctx.Done():
		return 0, io.ErrUnexpectedEOF
	}
}

// status asks, and returns how it is answered.
func status(t *http.Transport, r *http.Request) (int, string) {
	a, err := t.RoundTrip(r)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, err.Error()
	}
	return a.StatusCode, string(text)
}

func TestWhoSendsSlowlyMakesRoomForWhoWaits(t *testing.T) {
	for _, c := range []struct {
		name   string
		two    bool
		length int // of each slow body
		n      int
		of     func(*Server) *admission
	}{
		{"large bodies", false, 2 << 20, 24, func(s *Server) *admission { return s.budget.bodies }},
		{"large bodies by HTTP/2", true, 2 << 20, 24, func(s *Server) *admission { return s.budget.bodies }},
		{"small bodies", false, 60 << 10, 400, func(s *Server) *admission { return s.budget.small }},
		{"small bodies by HTTP/2", true, 60 << 10, 400, func(s *Server) *admission { return s.budget.small }},
	} {
		t.Run(c.name, func(t *testing.T) {
			configured(t, scarce, func(t *testing.T, s *Server, w *wires) {
				slow := caller(w, c.two)
				defer slow.CloseIdleConnections()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				for range c.n {
					go status(slow, asking(ctx, "PutRecord", trickle{ctx}, c.length))
				}
				synctest.Wait()
				a := c.of(s)
				if a.held() < a.limit/2 || a.held() > a.limit {
					t.Errorf("slow clients hold %d bytes of %d", a.held(), a.limit)
				}
				time.Sleep(hurryGrace)
				fast := caller(w, false)
				body := `{"StreamName":"orders","PartitionKey":"k","Data":"` + strings.Repeat("YWJj", c.length/5) + `"}`
				for range 3 {
					began := time.Now()
					got, text := status(fast, asking(ctx, "PutRecord", strings.NewReader(body), len(body)))
					if took := time.Since(began); got != 200 || took > patience/2 {
						t.Errorf("after %v the answer is %d %s", took, got, text)
					}
				}
				if a.held() > a.limit {
					t.Errorf("%d bytes are held, of %d", a.held(), a.limit)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

func TestASlowClientIsLeftAloneUnlessOthersWaitForIt(t *testing.T) {
	var log bytes.Buffer
	cfg := scarce
	cfg.Logger = logTo(&log)
	configured(t, cfg, func(t *testing.T, s *Server, w *wires) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answered := make(chan string, 10)
		calls := caller(w, false)
		ask := func(length int) {
			go func() {
				got, text := status(calls, asking(ctx, "PutRecord", trickle{ctx}, length))
				answered <- fmt.Sprint(got, " ", text)
			}()
		}
		ask(7 << 20) // 8 MiB of the 24 that there are for bodies
		ask(7 << 20)
		time.Sleep(3 * hurryGrace)
		select {
		case got := <-answered:
			t.Errorf("nobody waits, and the answer is %s", got)
		default:
		}
		ask(10 << 20) // does not fit beside them: one of the two is to go
		time.Sleep(2 * hurryEach)
		select {
		case got := <-answered:
			if !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "ServiceUnavailableException") {
				t.Errorf("who was too slow is told %s", got)
			}
		default:
			t.Error("nobody made room")
		}
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "slow while others wait"); n != 1 {
			t.Errorf("that is told of %d times: %s", n, log.String())
		}
	})
}

func TestWhoReadsSlowlyMakesRoomForWhoWaits(t *testing.T) {
	configured(t, scarce, func(t *testing.T, s *Server, w *wires) {
		st, err := s.engine.CreateStream(t.Context(), "usual", engine.StreamConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 1<<19)}); err != nil {
				t.Fatal(err)
			}
		}
		v, err := s.lookAt("usual")
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"ShardIterator":%q}`, s.issue(v, shardID(0), stream.TrimHorizon))
		for range 60 { // they read nothing at all
			conn := w.dial()
			defer conn.Close()
			if _, err := io.WriteString(conn, head("GetRecords", len(body))+body); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		a := s.budget.answers
		if a.held() < a.limit/2 || a.held() > a.limit {
			t.Errorf("who reads nothing holds %d bytes of %d", a.held(), a.limit)
		}
		time.Sleep(hurryGrace)
		began := time.Now()
		got, text := status(caller(w, false), asking(t.Context(), "GetRecords", strings.NewReader(body), len(body)))
		if took := time.Since(began); got != 200 || took > patience/2 {
			t.Errorf("after %v the answer is %d %.200s", took, got, text)
		}
	})
}

// What is read near the tip are views of blocks that hold the records of all shards.
func TestSlowReadersCountAllThatTheirRecordsKeepAlive(t *testing.T) {
	configured(t, Config{}, func(t *testing.T, s *Server, w *wires) {
		st, err := s.engine.CreateStream(t.Context(), "usual", engine.StreamConfig{Shards: 2})
		if err != nil {
			t.Fatal(err)
		}
		hash := stream.SplitHashSpace(2)
		for range 40 { // one of ten bytes is of the first shard
			if _, err := st.Put(t.Context(), stream.Entry{HashKey: hash[0].Start, HasHashKey: true, PartitionKey: "k", Data: make([]byte, 20<<10)},
				stream.Entry{HashKey: hash[1].Start, HasHashKey: true, PartitionKey: "k", Data: make([]byte, 180<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		b := stream.Batch{MaxRecords: mostRecords, MaxBytes: mostRead, MaxFootprint: mostRead + sharedBytes}
		if _, err := st.ReadDedicated(t.Context(), shardID(0), stream.TrimHorizon, &b); err != nil || b.Footprint < 4*b.Bytes {
			t.Fatalf("%d bytes keep %d alive, %v", b.Bytes, b.Footprint, err)
		}
		v, err := s.lookAt("usual")
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"ShardIterator":%q}`, s.issue(v, shardID(0), stream.TrimHorizon))
		conn := w.dial()
		defer conn.Close()
		if _, err := io.WriteString(conn, head("GetRecords", len(body))+body); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if held := s.budget.answers.held(); held < b.Footprint {
			t.Errorf("%d bytes are counted, and %d kept alive", held, b.Footprint)
		}
	})
}

func TestSubscribersThatStandStillMakeRoomForWhoWaits(t *testing.T) {
	configured(t, scarce, func(t *testing.T, s *Server, w *wires) {
		st, err := s.engine.CreateStream(t.Context(), "usual", engine.StreamConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 900<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 40 {
			arn := consumer(t, s, "usual", fmt.Sprint("app", i))
			subscribe := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":"0","StartingPosition":{"Type":"TRIM_HORIZON"}}`, arn)
			conn := w.dial()
			defer conn.Close()
			if _, err := io.WriteString(conn, head("SubscribeToShard", len(subscribe))+subscribe); err != nil {
				t.Fatal(err)
			}
			go io.CopyN(io.Discard, conn, 2000) // the head, and the initial response
		}
		time.Sleep(time.Second)
		a := s.budget.answers
		if a.held() < a.limit/2 || a.held() > a.limit {
			t.Errorf("subscribers hold %d bytes of %d", a.held(), a.limit)
		}
		v, err := s.lookAt("usual")
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"ShardIterator":%q}`, s.issue(v, shardID(0), stream.TrimHorizon))
		for range 3 {
			got, text := status(caller(w, false), asking(t.Context(), "GetRecords", strings.NewReader(body), len(body)))
			if got != 200 {
				t.Errorf("the answer is %d %.200s", got, text)
			}
		}
	})
}

func TestWhoFindsTheLineFullIsToldToTryAgainAndSDKsDo(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	small := h.server.budget.small
	small.line = 1
	if err := small.enter(t.Context(), small.limit, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() { waits <- small.enter(ctx, 1, 0) }()
	for waiting := 0; waiting == 0; {
		small.mu.Lock()
		waiting = len(small.waiting)
		small.mu.Unlock()
	}
	h.post("ListStreams", "{}").wantFault(t, "ServiceUnavailableException", "")
	var refused atomic.Int32
	client := h.client(func(o *kinesis.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		o.HTTPClient = clientFunc(func(r *http.Request) (*http.Response, error) {
			a, err := h.http.Do(r)
			if err == nil && a.StatusCode == http.StatusServiceUnavailable && refused.Add(1) == 1 {
				small.leave(small.limit)
			}
			return a, err
		})
	})
	if _, err := client.PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("orders"), PartitionKey: aws.String("k"), Data: []byte("x")}); err != nil {
		t.Error(err)
	}
	if n := refused.Load(); n != 1 {
		t.Errorf("it was refused %d times", n)
	}
	cancel()
	if err := <-waits; err != nil {
		t.Error(err)
	}
	small.leave(1)
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestMoreRequestsThanMayBeUnderWayAreRefused(t *testing.T) {
	h := start(t, Config{})
	h.server.requests.Add(mostRequests)
	h.post("ListStreams", "{}").wantFault(t, "ServiceUnavailableException", "")
	h.server.requests.Add(mostRequests)
	if a, err := h.http.Do(h.in(json11, "ListStreams", []byte("{}"))); err == nil {
		t.Errorf("twice as many: the answer is %s", a.Status)
		a.Body.Close()
	}
	h.server.requests.Add(-2 * mostRequests)
	if a := h.post("ListStreams", "{}"); a.status != 200 {
		t.Errorf("when they are gone: %d %s", a.status, a.body)
	}
}

// A client of HTTP/2 may leave its answers where they are.
func TestWhoIsRefusedCountsUntilItHasTakenTheAnswer(t *testing.T) {
	configured(t, Config{}, func(t *testing.T, s *Server, w *wires) {
		stalled := w.dial()
		defer stalled.Close()
		go io.Copy(io.Discard, stalled)
		// The preface, and SETTINGS: streams begin with a window of no bytes.
		stalled.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x06\x04\x00\x00\x00\x00\x00" + "\x00\x04\x00\x00\x00\x00"))
		stalled.Write(request2())
		synctest.Wait()
		if n := s.requests.Load(); n != 1 {
			t.Errorf("%d requests are counted, and there is one", n)
		}
		time.Sleep(patience + time.Minute)
		if n := s.requests.Load(); n != 0 {
			t.Errorf("%d requests are counted, long after", n)
		}
	})
}

// request2 is GET / in a frame of HTTP/2: :method GET, :scheme http, :path /, and
// :authority x.
func request2() []byte {
	block := []byte{0x82, 0x86, 0x84, 0x41, 1, 'x'}
	return append([]byte{0, 0, byte(len(block)), 1, 5, 0, 0, 0, 1}, block...)
}

func TestListsOfShardsCountBeforeTheyAreMade(t *testing.T) {
	configured(t, Config{}, func(t *testing.T, s *Server, w *wires) {
		a := s.budget.answers
		if err := a.enter(t.Context(), a.limit-listBytes/2, 0); err != nil {
			t.Fatal(err)
		}
		for _, operation := range []string{"ListShards", "DescribeStream"} {
			body := `{"StreamName":"orders"}`
			if got, text := status(caller(w, false), asking(t.Context(), operation, strings.NewReader(body), len(body))); got != 503 {
				t.Errorf("%s without room: %d %s", operation, got, text)
			}
		}
		a.leave(a.limit - listBytes/2)
	})
}
