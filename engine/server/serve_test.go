package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/engine"
)

// served is a server on a port of its own, as users run it.
type served struct {
	*harness
	addr  string
	roots *x509.CertPool
	stop  func() error // ends it, and returns what Serve returned
}

func serve(t *testing.T, cfg Config) *served {
	t.Helper()
	h := start(t, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := h.server.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{harness: h, addr: l.Addr().String(), roots: x509.NewCertPool()}
	if !s.roots.AppendCertsFromPEM(certificate) {
		t.Fatalf("%s is no certificate", certificate)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.server.Serve(ctx, l) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// through is a client that speaks in one way.
func (s *served) through(t *testing.T, scheme string, protocols ...func(*http.Protocols, bool)) *kinesis.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, Protocols: new(http.Protocols)}
	for _, p := range protocols {
		p(transport.Protocols, true)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return s.client(func(o *kinesis.Options) {
		o.HTTPClient = &http.Client{Transport: plainBodies{transport}}
		o.BaseEndpoint = aws.String(scheme + "://" + s.addr)
	})
}

func TestOnePortSpeaksWhateverClientsSpeak(t *testing.T) {
	s := serve(t, Config{})
	s.stream("orders", engine.StreamConfig{})
	for name, client := range map[string]*kinesis.Client{
		"HTTP/1.1":                     s.through(t, "http", (*http.Protocols).SetHTTP1),
		"HTTP/2 with prior knowledge":  s.through(t, "http", (*http.Protocols).SetUnencryptedHTTP2),
		"HTTP/1.1 over TLS":            s.through(t, "https", (*http.Protocols).SetHTTP1),
		"HTTP/2 over TLS, by ALPN":     s.through(t, "https", (*http.Protocols).SetHTTP2),
		"HTTP/1.1 and 2 over TLS, too": s.through(t, "https", (*http.Protocols).SetHTTP1, (*http.Protocols).SetHTTP2),
	} {
		for range 2 {
			_, err := client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Java's SDK before 2.30 does not negotiate.
func TestHTTP2OverTLSNeedsNoNegotiation(t *testing.T) {
	s := serve(t, Config{})
	s.stream("orders", engine.StreamConfig{})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: s.roots}}).DialContext(ctx, network, addr)
		if err == nil && c.(*tls.Conn).ConnectionState().NegotiatedProtocol != "" {
			t.Error("a protocol was negotiated")
		}
		return struct{ net.Conn }{c}, err
	}
	defer transport.CloseIdleConnections()
	client := s.client(func(o *kinesis.Options) {
		o.HTTPClient = &http.Client{Transport: plainBodies{transport}}
		o.BaseEndpoint = aws.String("http://" + s.addr)
	})
	if _, err := client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")}); err != nil {
		t.Error(err)
	}
}

func TestStoppingWaitsForRequestsAndLeavesNothing(t *testing.T) {
	s := serve(t, Config{})
	begun, finish := make(chan struct{}), make(chan struct{})
	s.server.operations["Slow"] = unary(func(_ *Server, ctx context.Context, _ *struct{}) (*struct{}, error) {
		close(begun)
		<-finish
		return &struct{}{}, ctx.Err()
	})
	s.url = "http://" + s.addr
	answer := make(chan reply)
	go func() { answer <- s.post("Slow", "{}") }()
	<-begun
	silent, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	for { // until it takes no more connections
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			break
		}
		c.Close()
		runtime.Gosched()
	}
	close(finish)
	if a := <-answer; a.status != 200 {
		t.Errorf("the request under way got %d %s", a.status, a.body)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	// The check for goroutines is at the end of all tests.
}

func TestServingThatIsOverBeforeItBeginsEndsAtOnce(t *testing.T) {
	h := start(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.server.Serve(ctx, l); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is left open: %v", err)
	}
}

func TestAListenerThatFailsEndsServing(t *testing.T) {
	h := start(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := h.server.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestAPanicIsAnAnswerAndALogEntry(t *testing.T) {
	var log bytes.Buffer
	s := start(t, Config{Logger: logTo(&log)})
	s.server.operations["Panic"] = unary(func(*Server, context.Context, *struct{}) (*struct{}, error) { panic("at the wrong moment") })
	s.server.operations["LatePanic"] = streaming(func(_ *Server, c *call, _ *struct{}) error {
		c.begin(200)
		panic("at the wrong moment")
	})
	s.post("Panic", "{}").wantFault(t, "InternalFailureException", "the server failed; its log tells why")
	if !strings.Contains(log.String(), "at the wrong moment") {
		t.Errorf("the log is %s", &log)
	}
	r := s.in(json11, "LatePanic", []byte("{}"))
	if a, err := s.http.Do(r); err == nil {
		a.Body.Close()
		t.Errorf("an answer that broke off is %d", a.StatusCode)
	}
}

func TestABodyOverItsLimitIsRefusedBeforeItIsRead(t *testing.T) {
	s := serve(t, Config{})
	head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.%s\r\nAuthorization: " + anySignature + "\r\nX-Amz-Date: 20260101T000000Z\r\n"
	for _, c := range []struct {
		operation, rest string
		status          string
	}{
		{"ListStreams", fmt.Sprintf("Content-Length: %d\r\n\r\n", smallBody+1), "413"},
		{"PutRecords", fmt.Sprintf("Content-Length: %d\r\n\r\n", largeBody+1), "413"},
		{"PutRecords", "Content-Length: 100000000000\r\nExpect: 100-continue\r\n\r\n", "413"},
		{"ListStreams", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 0x10000)+"\r\n", smallBody/0x10000+1), "413"},
		{"ListStreams", "Content-Length: 2\r\n\r\n{}", "200"},
		{"ListStreams", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "200"},
		{"ListStreams", "X-Large: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", "431"},
	} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		go fmt.Fprintf(conn, head+"%s", c.operation, c.rest) // it may be refused in the middle
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatalf("%s %.40q: %v", c.operation, c.rest, err)
		} else if string(answer) != "HTTP/1.1 "+c.status {
			t.Errorf("%s %.40q: %s, want %s", c.operation, c.rest, answer, c.status)
		}
		conn.Close()
	}
}

func TestClientsThatGoInTheMiddleLeaveNothing(t *testing.T) {
	s := serve(t, Config{})
	whole := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.PutRecords\r\nAuthorization: " + anySignature + "\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: 1000000\r\n\r\n{\"Records\":["
	for n := 0; n <= len(whole); n += 7 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, whole[:n])
		conn.Close()
	}
	for _, nonsense := range []string{"\x16", "\x16\x03\x01", "\x16\x03\x01\x00\x05hello", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x00\x00\x00"} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, nonsense)
		conn.Close()
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	wantAllFree(t, s.server)
}

func TestTheMemoryOfLargeRequestsIsBounded(t *testing.T) {
	a := newAdmission(100, 0)
	if err := a.enter(t.Context(), 60, 0); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	if err := a.enter(gone, 50, 0); err == nil || err.Error() != "gone" {
		t.Fatalf("who has gone got %v", err)
	}
	second := make(chan error, 1)
	go func() { second <- a.enter(t.Context(), 50, 0) }()
	for { // until it waits
		a.mu.Lock()
		n := len(a.waiting)
		a.mu.Unlock()
		if n == 1 {
			break
		}
		runtime.Gosched()
	}
	third := make(chan error, 1)
	go func() { third <- a.enter(t.Context(), 10, 0) }() // would fit, but comes later
	for {
		a.mu.Lock()
		n := len(a.waiting)
		a.mu.Unlock()
		if n == 2 {
			break
		}
		runtime.Gosched()
	}
	select {
	case err := <-third:
		t.Errorf("the third went before the second: %v", err)
	default:
	}
	a.leave(60)
	if err := errors.Join(<-second, <-third); err != nil {
		t.Error(err)
	}
	a.leave(50)
	a.leave(10)
	if a.free != 100 {
		t.Errorf("%d are free, of 100", a.free)
	}
}

// answering looks at what is held while an answer is written.
type answering struct {
	*httptest.ResponseRecorder
	look func()
}

func (a answering) Write(b []byte) (int, error) {
	a.look()
	return a.ResponseRecorder.Write(b)
}

func TestABodyIsGivenBackBeforeItsAnswerIsWritten(t *testing.T) {
	s := start(t, Config{}).server
	body := `{"Limit":1` + strings.Repeat(" ", 200<<10) + "}"
	r := asking(t.Context(), "ListStreams", strings.NewReader(body), len(body))
	r.RemoteAddr = "127.0.0.1:1"
	looked := false
	s.ServeHTTP(answering{httptest.NewRecorder(), func() {
		looked = true
		if held := s.budget.bodies.held(); held != requestBytes+smallestBuffer {
			t.Errorf("%d bytes are counted for a small answer", held)
		}
	}}, r)
	if !looked {
		t.Error("there is no answer")
	}
	wantAllFree(t, s)
}

func TestALargeBodyIsCountedAsTheBufferThatItTakes(t *testing.T) {
	s := start(t, Config{}).server
	r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", 1<<20)))
	c := &call{ctx: t.Context(), server: s, request: r, w: httptest.NewRecorder()}
	if err := c.receive(smallBody); err != nil {
		t.Fatal(err)
	}
	if c.in.held < requestBytes+cap(c.body) {
		t.Errorf("%d bytes are counted for a buffer of %d", c.in.held, cap(c.body))
	}
	c.releaseBody()
}

func TestBuffersAreAsLargeAsWanted(t *testing.T) {
	for n := range 26 {
		for _, size := range []int{1<<n - 1, 1 << n, 1<<n + 1} {
			b := borrow(size)
			if len(b) != 0 || cap(b) < size || cap(b) > max(smallestBuffer, 4*size) {
				t.Errorf("for %d bytes there are %d", size, cap(b))
			}
			giveBack(b)
			giveBack(make([]byte, 0, size))
			if b := borrow(size); cap(b) < size {
				t.Errorf("for %d bytes there are %d", size, cap(b))
			}
		}
	}
}

// What is said in the documentation of Serve.
func TestAConnectionAtRestCostsAsMuchMemoryAsIsSaid(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand connections")
	}
	s := serve(t, Config{})
	const n, most = 1000, 32 << 10
	before := memory()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
		if _, err := io.WriteString(c, head("ListStreams", 2)+"{}"); err != nil {
			t.Fatal(err)
		}
	}
	answer := make([]byte, 15)
	for _, c := range conns {
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
			t.Fatalf("%s, %v", answer, err)
		}
	}
	each := int(memory()-before) / n
	t.Logf("%d bytes for each connection", each)
	if each > most {
		t.Errorf("each connection has %d bytes, more than %d", each, most)
	}
}

// Clients of Java and JavaScript have all their subscriptions in one connection.
func TestOneConnectionHasThousandsOfSubscriptions(t *testing.T) {
	if testing.Short() {
		t.Skip("two thousand subscriptions")
	}
	s := serve(t, Config{})
	const shards = 1000
	s.stream("orders", engine.StreamConfig{Shards: shards})
	s.url = "http://" + s.addr
	var dialled atomic.Int32
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subscribe := func(arn string, shard int) error {
		r := s.in(json11, "SubscribeToShard", fmt.Appendf(nil, `{"ConsumerARN":%q,"ShardId":"%d","StartingPosition":{"Type":"LATEST"}}`, arn, shard))
		a, err := transport.RoundTrip(r.WithContext(ctx))
		if err != nil {
			return err
		}
		t.Cleanup(func() { a.Body.Close() })
		if a.StatusCode != 200 {
			return fmt.Errorf("shard %d: %s", shard, a.Status)
		}
		_, err = io.ReadFull(a.Body, make([]byte, 12))
		return err
	}
	if err := subscribe(consumer(t, s.server, "orders", "warm"), 0); err != nil {
		t.Fatal(err) // there is one connection, and others will use it
	}
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, name := range []string{"one", "other"} {
		arn := consumer(t, s.server, "orders", name)
		for i := range shards {
			all.Go(func() {
				if err := subscribe(arn, i); err != nil {
					failed.Store(&err)
				}
			})
		}
	}
	all.Wait()
	if err := failed.Load(); err != nil || dialled.Load() != 1 {
		t.Errorf("%d connections; %v", dialled.Load(), err)
	}
}

// memory is what is in use, on the heap and by stacks.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the pools let go at the second
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
