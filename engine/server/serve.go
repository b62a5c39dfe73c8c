package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// What connections may take. Of a client that is slower nothing is waited for.
const (
	// headerTime is for the first byte, the handshake of TLS, and the headers of
	// each request.
	headerTime = 10 * time.Second
	// idleTime is how long a connection is kept that asks nothing. The pools of
	// the SDKs drop theirs after 60 to 90 s.
	idleTime = 2 * time.Minute
	// maxHeader is for all headers of a request. A session token has some KiB.
	maxHeader = 64 << 10
	// stopTime is for the requests under way when the server stops.
	stopTime = 10 * time.Second
	// maxConnections is how many there may be; others wait outside until some are
	// closed. Each takes up to 32 KiB while it rests.
	maxConnections = 16_384
	// maxStreams is how many requests one connection of HTTP/2 may have: clients
	// keep the subscriptions of all shards in one.
	maxStreams = 10_000
	// streamBuffer is what HTTP/2 takes of a body before somebody reads it, and
	// connectionBuffer of all bodies of a connection.
	streamBuffer     = 256 << 10
	connectionBuffer = 512 << 10
)

// Serve answers on a listener, which it closes, until ctx ends. On the one port
// it speaks HTTP/1.1 and HTTP/2, plainly and over TLS: see [Server.Certificate].
// When ctx ends it takes no more connections, ends subscriptions, waits 10 seconds
// for other requests, and returns nil when nothing that it started is left. It may
// be called for several listeners, one after the other or at once; the first that
// stops ends the subscriptions of all. A connection at rest costs less than 32 KiB
// of memory.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if _, err := s.Certificate(); err != nil {
		l.Close()
		return err
	}
	var handlers, connections gate
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !handlers.enter() {
				panic(http.ErrAbortHandler)
			}
			defer handlers.leave()
			s.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connectionBuffer,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true) // what was TLS is plain when it comes here
	sniffed := sniff(l, s.tlsConfig(), &connections)

	quit, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() {
		<-quit.Done()
		s.Drain()
		grace, cancel := context.WithTimeoutCause(context.Background(), stopTime, errors.New("requests take too long"))
		defer cancel()
		err := web.Shutdown(grace)
		if err != nil {
			err = web.Close()
		}
		stopped <- err
	}()
	err := web.Serve(sniffed)
	stop()
	if closing := <-stopped; errors.Is(err, http.ErrServerClosed) {
		err = closing
	}
	sniffed.wait()
	connections.close()
	handlers.close()
	return err
}

// gate counts who is inside, until it is closed.
type gate struct {
	mu     sync.RWMutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

// close lets nobody in any more, and waits until all have left.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
