package chaos

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is the way from one worker process to its store: a proxy on the loopback.
//
//	worker ── requests ──► [gate, delay] ──► store
//	       ◄── answers ─── [gate, loss] ◄───
//
// What a closed gate holds back passes when it opens, even if whoever sent it has
// gone away meanwhile: so writes arrive late, after newer ones of others.
type link struct {
	listener net.Listener
	target   string
	ctx      context.Context
	hangUp   context.CancelFunc
	pumps    sync.WaitGroup

	requests atomic.Int64 // that were passed on
	late     atomic.Int64 // of them, when their sender had long given up

	mu      sync.Mutex
	weather weather
	changed chan struct{} // closed when the weather changes
	conns   map[net.Conn]bool
}

// weather is what a link does to what passes. The zero value does nothing.
type weather struct {
	deaf   bool          // answers are held back
	mute   bool          // requests are held back
	delay  time.Duration // of each request
	lose   float64       // the part of the answers that are lost, with their connection
	refuse bool          // there are no connections
}

func newLink(target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &link{listener: l, target: target, ctx: ctx, hangUp: cancel, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	k.pumps.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			k.pumps.Go(func() { k.join(client) })
		}
	})
	return k, nil
}

func (k *link) addr() string { return k.listener.Addr().String() }

func (k *link) close() {
	k.hangUp()
	_ = k.listener.Close()
	k.reset()
	k.pumps.Wait()
}

// set changes the weather.
func (k *link) set(w weather) {
	k.mu.Lock()
	k.weather = w
	close(k.changed)
	k.changed = make(chan struct{})
	k.mu.Unlock()
	if w.refuse {
		k.reset()
	}
}

// reset ends all connections.
func (k *link) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		_ = c.Close()
	}
}

func (k *link) now() (weather, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.weather, k.changed
}

// pass waits until held says that the weather lets something through.
func (k *link) pass(held func(weather) bool) bool {
	for {
		w, changed := k.now()
		if !held(w) {
			return true
		}
		select {
		case <-changed:
		case <-k.ctx.Done():
			return false
		}
	}
}

// join connects a worker to the store.
func (k *link) join(client net.Conn) {
	defer client.Close()
	if w, _ := k.now(); w.refuse {
		return
	}
	server, err := net.Dial("tcp", k.target)
	if err != nil {
		return
	}
	defer server.Close()
	k.mu.Lock()
	k.conns[client], k.conns[server] = true, true
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.conns, client)
		delete(k.conns, server)
	}()
	if k.ctx.Err() != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		k.requestsTo(server, client)
		_ = server.Close()
	})
	both.Go(func() {
		k.answersTo(client, server)
		_ = client.Close()
	})
	both.Wait()
}

// chunk is what one read gave: a request or an answer, mostly.
type chunk struct {
	data []byte
	at   time.Time
}

func (k *link) requestsTo(server io.Writer, client io.Reader) {
	chunks := make(chan chunk, 64)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, 64<<10)
			n, err := client.Read(buf)
			if n > 0 {
				chunks <- chunk{buf[:n], time.Now()}
			}
			if err != nil {
				return
			}
		}
	})
	defer func() {
		for range chunks { // let the reader end
		}
	}()
	for c := range chunks {
		if !k.pass(func(w weather) bool { return w.mute }) {
			return
		}
		if w, _ := k.now(); w.delay > 0 {
			select {
			case <-time.After(time.Until(c.at.Add(w.delay))):
			case <-k.ctx.Done():
				return
			}
		}
		k.requests.Add(1)
		if time.Since(c.at) > failoverTime/3 {
			k.late.Add(1)
		}
		if _, err := server.Write(c.data); err != nil {
			return
		}
	}
}

func (k *link) answersTo(client io.Writer, server io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			if !k.pass(func(w weather) bool { return w.deaf }) {
				return
			}
			if w, _ := k.now(); rand.Float64() < w.lose {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
