package server

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// sniffer is a listener whose connections are plain, whether they came with TLS or
// not: the first byte tells. What is inside TLS is then told apart as what comes
// without: HTTP/2 by its preface, which old clients send though they have not
// negotiated it, and HTTP/1.1 by everything else.
//
//	                     0x16 ──► handshake ─┐
//	accept ──► first byte ─┤                 ├──► Accept
//	                     else ───────────────┘
type sniffer struct {
	net.Listener
	tls     *tls.Config
	open    *gate // the connections that were handed on
	slots   chan struct{}
	ready   chan net.Conn
	ctx     context.Context // ends when the listener is closed
	end     context.CancelCauseFunc
	running sync.WaitGroup
}

func sniff(l net.Listener, cfg *tls.Config, open *gate) *sniffer {
	s := &sniffer{Listener: l, tls: cfg, open: open, slots: make(chan struct{}, maxConnections), ready: make(chan net.Conn)}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.running.Go(s.run)
	return s
}

// run accepts connections, as long as there are not too many. None waits for
// another's first byte.
func (s *sniffer) run() {
	var delay time.Duration
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		c, err := s.Listener.Accept()
		if err == nil {
			delay = 0
			s.running.Go(func() { s.meet(&slottedConn{Conn: c, free: sync.OnceFunc(func() { <-s.slots })}) })
			continue
		}
		<-s.slots
		// There are too many files, say; as net/http does, try again after a while.
		if t, ok := err.(interface{ Temporary() bool }); !ok || !t.Temporary() {
			s.end(err)
			return
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(delay):
		case <-s.ctx.Done():
			return
		}
	}
}

// meet finds out what a connection is, and hands it on.
func (s *sniffer) meet(c net.Conn) {
	stop := context.AfterFunc(s.ctx, func() { c.Close() })
	c.SetDeadline(time.Now().Add(headerTime))
	plain, err := s.unwrap(c)
	if !stop() || err != nil || !s.open.enter() {
		c.Close() // it says nothing, or nonsense
		return
	}
	c.SetDeadline(time.Time{})
	known := &metConn{Conn: plain, leave: sync.OnceFunc(s.open.leave)}
	select {
	case s.ready <- known:
	case <-s.ctx.Done():
		known.Close()
	}
}

// handshake is the first byte of TLS.
const handshake = 0x16

func (s *sniffer) unwrap(c net.Conn) (net.Conn, error) {
	b := make([]byte, 1)
	if _, err := c.Read(b); err != nil {
		return nil, err
	}
	begun := &begunConn{Conn: c, first: b}
	if b[0] != handshake {
		return begun, nil
	}
	t := tls.Server(begun, s.tls)
	if err := t.HandshakeContext(s.ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Accept implements net.Listener.
func (s *sniffer) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

// Close implements net.Listener.
func (s *sniffer) Close() error {
	err := s.Listener.Close()
	s.end(net.ErrClosed)
	return err
}

// wait returns when no goroutine is left, after Close.
func (s *sniffer) wait() { s.running.Wait() }

// begunConn is a connection of which the first bytes are read already.
type begunConn struct {
	net.Conn
	first []byte
}

func (c *begunConn) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n, nil
}

func (c *begunConn) CloseWrite() error { return closeWrite(c.Conn) }

// slottedConn makes room for another connection when it is closed.
type slottedConn struct {
	net.Conn
	free func()
}

func (c *slottedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

func (c *slottedConn) CloseWrite() error { return closeWrite(c.Conn) }

// metConn is a connection as net/http gets it: whether it is TLS is hidden.
type metConn struct {
	net.Conn
	leave func()
}

func (c *metConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite lets net/http say, when it refuses a body that is still coming, that
// the answer is complete.
func (c *metConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if c, ok := c.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
