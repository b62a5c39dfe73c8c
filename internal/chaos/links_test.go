package chaos

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo is a store that answers with what it was asked, and tells what that was.
func echo(t *testing.T) (address string, asked <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	requests := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 100)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					requests <- string(buf[:n])
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), requests
}

func TestALinkDoesWhatTheWeatherSays(t *testing.T) {
	address, asked := echo(t)
	k, err := newLink(address)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", k.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	ask := func(conn net.Conn, what string) {
		if _, err := conn.Write([]byte(what)); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(conn net.Conn, what string) {
		t.Helper()
		buf := make([]byte, len(what))
		if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != what {
			t.Errorf("got %q, %v; want %q", buf, err, what)
		}
	}
	arrived := func(want string) {
		t.Helper()
		select {
		case got := <-asked:
			if got != want {
				t.Errorf("the store was asked %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q did not arrive", want)
		}
	}
	ended := func(conn net.Conn) {
		t.Helper()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the connection has not ended")
		}
	}

	conn := connect()
	ask(conn, "fair")
	arrived("fair")
	answered(conn, "fair")

	k.set(weather{deaf: true})
	ask(conn, "deaf")
	arrived("deaf") // and its answer waits
	k.set(weather{})
	answered(conn, "deaf")

	k.set(weather{mute: true})
	gone := connect()
	ask(gone, "mute")
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	if len(asked) > 0 {
		t.Error("a request passed that was to be held back")
	}
	k.set(weather{})
	arrived("mute") // though nobody waits for its answer

	k.set(weather{delay: 100 * time.Millisecond})
	began := time.Now()
	ask(conn, "slow")
	arrived("slow")
	answered(conn, "slow")
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("a slow request took %v", took)
	}

	k.set(weather{lose: 1})
	ask(conn, "lost")
	arrived("lost")
	ended(conn)

	k.set(weather{})
	conn = connect()
	ask(conn, "fair")
	arrived("fair")
	k.set(weather{refuse: true})
	ended(connect())
	k.set(weather{})
}
