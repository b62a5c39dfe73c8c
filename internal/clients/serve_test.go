package clients

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server"
	"github.com/millrace/millrace/internal/testclients"
	"github.com/millrace/millrace/internal/testdynamo"
)

func TestMain(m *testing.M) { testdynamo.Main(m) }

// open opens an engine in a folder, and a server of it.
func open(t testing.TB, dir string, keys ...server.AccessKey) (s *server.Server, shut func()) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	e, err := engine.Open(dir, engine.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if s, err = server.New(e, server.Config{Logger: logger, AccessKeys: keys}); err != nil {
		t.Fatal(err)
	}
	return s, func() {
		if err := errors.Join(s.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	}
}

// iteratorOfLongAgo is one that the server of a folder has issued in the year 2000,
// where the clocks of bubbles begin.
func iteratorOfLongAgo(t *testing.T, dir string) (iterator string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, shut := open(t, dir)
		defer shut()
		ask := func(operation, body string) []byte {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
			r.Header.Set("X-Amz-Date", "20000101T000000Z")
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20000101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0")
			r.RemoteAddr = "127.0.0.1:1"
			answer := httptest.NewRecorder()
			if s.ServeHTTP(answer, r); answer.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", operation, answer.Code, answer.Body)
			}
			return answer.Body.Bytes()
		}
		ask("CreateStream", `{"StreamName":"old","ShardCount":1}`)
		var issued struct{ ShardIterator string }
		if err := json.Unmarshal(ask("GetShardIterator",
			`{"StreamName":"old","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}`), &issued); err != nil {
			t.Fatal(err)
		}
		iterator = issued.ShardIterator
	})
	return iterator
}

// serve serves an engine in a folder: on one port, without TLS and with it; with
// keys, for those alone who have one.
func serve(t testing.TB, dir string, keys ...server.AccessKey) (plain, secure testclients.Endpoint) {
	t.Helper()
	s, shut := open(t, dir, keys...)
	t.Cleanup(shut)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	certificate, err := s.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return testclients.Endpoint{URL: "http://" + l.Addr().String()}, testclients.Endpoint{URL: "https://" + l.Addr().String(), CA: ca}
}
