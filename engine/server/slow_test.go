package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

// wires is a listener without a network, for virtual time: its connections are
// pipes, which hold nothing, so that a client who does not read is felt at once.
type wires struct {
	dialled chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newWires() *wires {
	return &wires{dialled: make(chan net.Conn), closed: make(chan struct{})}
}

func (w *wires) Accept() (net.Conn, error) {
	select {
	case c := <-w.dialled:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wires) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wires) Addr() net.Addr { return localAddr{} }

func (w *wires) dial() net.Conn {
	client, server := net.Pipe()
	w.dialled <- fromHere{server}
	return client
}

// fromHere is a connection from this machine.
type fromHere struct{ net.Conn }

func (fromHere) RemoteAddr() net.Addr { return localAddr{} }

type localAddr struct{}

func (localAddr) Network() string { return "tcp" }
func (localAddr) String() string  { return "127.0.0.1:1" }

// inVirtualTime serves an engine in memory on wires until f returns.
func inVirtualTime(t *testing.T, f func(t *testing.T, s *Server, w *wires)) {
	configured(t, Config{}, f)
}

func configured(t *testing.T, cfg Config, f func(t *testing.T, s *Server, w *wires)) {
	inBubble(t, cfg, func(t *testing.T, s *Server) {
		w := newWires()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, w) }()
		f(t, s, w)
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		wantAllFree(t, s)
	})
}

// head is the beginning of a request of so many bytes.
func head(operation string, length int) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: %s%s\r\nAuthorization: %s\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: %d\r\n\r\n",
		targetPrefix, operation, anySignature, length)
}

func TestClientsThatStandStillAreCutOff(t *testing.T) {
	for _, c := range []struct {
		name string
		sent string
		most time.Duration
	}{
		{"says nothing", "", headerTime},
		{"begins TLS", "\x16\x03\x01", headerTime},
		{"begins HTTP/2", "PRI * HTTP/2.0\r\n\r\n", headerTime},
		{"greets in HTTP/2, and no more", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", headerTime},
		{"begins a request", "POST / HT", 2 * headerTime},
		{"ends before its body", head("ListStreams", 100), patience + time.Second},
		{"is not let in", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", patience + time.Second},
		{"wants nothing that there is, and ends in its body", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", patience + time.Second},
		{"ends in its body", head("PutRecords", 10<<20) + `{"Records":`, patience + 10<<20/slowestRate*time.Second + time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, _ *Server, w *wires) {
				conn := w.dial()
				defer conn.Close()
				began := time.Now()
				if _, err := io.WriteString(conn, c.sent); err != nil {
					t.Fatal(err)
				}
				conn.SetReadDeadline(began.Add(10 * time.Minute))
				answer, err := io.ReadAll(conn)
				if err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > c.most {
					t.Errorf("after %v: %s", took, answer)
				}
			})
		})
	}
}

func TestASlowClientIsServed(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, s *Server, w *wires) {
		conn := w.dial()
		defer conn.Close()
		body := `{"StreamName":"orders","PartitionKey":"k","Data":"` + strings.Repeat("YWJj", 1<<18) + `"}` // 1 MiB in base64
		if _, err := io.WriteString(conn, head("PutRecord", len(body))); err != nil {
			t.Fatal(err)
		}
		for step := 40 << 10; len(body) > 0; { // a bit more than half of what is demanded, for longer than patience
			step = min(step, len(body))
			if _, err := io.WriteString(conn, body[:step]); err != nil {
				t.Fatal(err)
			}
			body = body[step:]
			time.Sleep(time.Second)
		}
		a, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if text, err := io.ReadAll(a.Body); err != nil || a.StatusCode != 200 {
			t.Errorf("the answer is %d %s, %v", a.StatusCode, text, err)
		}
	})
}

func TestAClientThatDoesNotReadItsAnswerIsCutOff(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, s *Server, w *wires) {
		st, err := s.engine.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 8<<20)}); err != nil {
			t.Fatal(err)
		}
		v, err := s.lookAt("orders")
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"ShardIterator":%q}`, s.issue(v, shardID(0), stream.TrimHorizon))
		conn := w.dial()
		defer conn.Close()
		if _, err := io.WriteString(conn, head("GetRecords", len(body))+body); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		a, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_, err = io.Copy(io.Discard, a.Body)
			a.Body.Close()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("an hour later the answer ends with %v", err)
		}
	})
}

func TestAClientThatReadsALargeAnswerTooSlowlyIsCutOff(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, s *Server, w *wires) {
		st, err := s.engine.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		for range 16 {
			if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 512<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		v, err := s.lookAt("orders")
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"ShardIterator":%q}`, s.issue(v, shardID(0), stream.TrimHorizon))
		conn := w.dial()
		defer conn.Close()
		if _, err := io.WriteString(conn, head("GetRecords", len(body))+body); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for err == nil {
			_, err = io.CopyN(io.Discard, conn, slowestRate/2)
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > 2*patience+time.Minute {
			t.Errorf("it is cut off after %v", took)
		}
	})
}

func TestAConnectionIsAsGoodAfterAMinuteAsBefore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, _ *Server, w *wires) {
		conn := w.dial()
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for range 3 {
			request := strings.Replace(head("ListStreams", 2), "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1)
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			if line, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
				t.Fatalf("%q, %v", line, err)
			}
			answers.ReadString('\n')
			if _, err := io.WriteString(conn, "{}"); err != nil {
				t.Fatal(err)
			}
			a, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(a.Body); err != nil || a.StatusCode != 200 {
				t.Errorf("%d %s, %v", a.StatusCode, text, err)
			}
			a.Body.Close()
			time.Sleep(time.Minute)
		}
	})
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, _ *Server, w *wires) {
		conn := w.dial()
		defer conn.Close()
		if _, err := io.WriteString(conn, head("ListStreams", 2)+"{}"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Errorf("%s, %v", answer, err)
		}
		if took := time.Since(began); took != idleTime {
			t.Errorf("it is closed after %v", took)
		}
	})
}

func TestARequestThatDoesNotEndHoldsUpAStopForTenSeconds(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server) {
		s.operations["Endless"] = unary(func(_ *Server, ctx context.Context, _ *struct{}) (*struct{}, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		arn := consumer(t, s, "orders", "app")
		w := newWires()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, w) }()
		endless, subscriber := w.dial(), w.dial()
		defer endless.Close()
		defer subscriber.Close()
		subscribe := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":"0","StartingPosition":{"Type":"LATEST"}}`, arn)
		if _, err := io.WriteString(subscriber, head("SubscribeToShard", len(subscribe))+subscribe); err != nil {
			t.Fatal(err)
		}
		subscription := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, subscriber)
			subscription <- err
		}()
		if _, err := io.WriteString(endless, head("Endless", 2)+"{}"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-subscription; err != nil || time.Since(began) > time.Second {
			t.Errorf("the subscription ends with %v after %v", err, time.Since(began))
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < stopTime || took > stopTime+time.Second {
			t.Errorf("it stopped after %v", took)
		}
	})
}

func TestASubscriberThatReadsAllButTheEndIsCutOff(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server) {
		arn := consumer(t, s, "orders", "app")
		st, err := s.engine.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		if err := st.UpdateShardCount(t.Context(), 3); err != nil { // shard 0 ends
			t.Fatal(err)
		}
		left := make(chan struct{})
		w := newWires()
		web := &http.Server{Handler: http.HandlerFunc(s.ServeHTTP), ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(left)
			}
		}}
		served := make(chan error, 1)
		go func() { served <- web.Serve(w) }()
		conn := w.dial()
		defer conn.Close()
		subscribe := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":"0","StartingPosition":{"Type":"TRIM_HORIZON"}}`, arn)
		if _, err := io.WriteString(conn, head("SubscribeToShard", len(subscribe))+subscribe); err != nil {
			t.Fatal(err)
		}
		a, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // initial-response, and the event of the end
			readFrame(t, a.Body)
		}
		began := time.Now()
		select {
		case <-left:
		case <-time.After(time.Hour):
			t.Error("an hour later the subscription is still there")
		}
		if took := time.Since(began); took > lastWrite+time.Second {
			t.Errorf("after %v", took)
		}
		web.Close()
		<-served
	})
}
