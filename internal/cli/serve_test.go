package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var urlForm = regexp.MustCompile(`https?://[0-9.:]+`)

// serve starts a server in this process, and returns where it is.
func (s *shell) serve(args ...string) (server *job, url string) {
	s.t.Helper()
	server = s.start(strings.NewReader(""), append([]string{"serve", "-listen", "127.0.0.1:0"}, args...)...)
	return server, urlForm.FindString(server.awaitText("Ctrl-C stops it"))
}

func TestAStreamLivesOnAServer(t *testing.T) {
	sh := newShell(t)
	server, url := sh.serve("-data", t.TempDir()+"/new/data")
	sh.env["MILLRACE_ENDPOINT"] = url
	theLifeOfAStream(t, sh, exitUsage) // Kinesis takes a closed shard for a wrong argument
	if exit := server.end(); exit != 0 {
		t.Errorf("exit %d: %s", exit, server.err)
	}
	sh.fails(exitFailed, "no server answers at "+url, "stream", "ls")
}

func TestAServerGoesOnWithAllDataAfterAStop(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	var want []string
	for i := range 3 {
		server, url := sh.serve("-data", dir, "--create", "orders:3", "--create", "audit", "--retention", "48h")
		if out := server.out.String(); strings.Contains(out, "(new, 2 streams)") != false || !strings.Contains(out, "(2 streams)") {
			t.Errorf("start %d says\n%s", i, out)
		}
		numbers := upTo(10*i, 10*i+9)
		want = append(want, numbers...)
		sh.ok(strings.Join(numbers, "\n"), "put", "orders", "--endpoint", url)
		got := strings.Fields(sh.ok("", "tail", "orders", "--endpoint", url, "-o", "raw"))
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("start %d: %q", i, got)
		}
		if exit := server.end(); exit != 0 {
			t.Errorf("exit %d: %s", exit, server.err)
		}
	}
	if out := sh.ok("", "stream", "describe", "orders", "--data", dir); !strings.Contains(out, "48h0m0s") || !strings.Contains(out, "3 open") {
		t.Errorf("it is\n%s", out)
	}
}

func TestTheFirstStartMakesEverythingAndSaysWhatToTypeNext(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir() + "/a/b"
	server, url := sh.serve("-data", dir)
	out := server.out.String()
	for _, words := range []string{
		"serves the Kinesis API on " + url, dir + " (new, 0 streams)", "export MILLRACE_ENDPOINT=" + url,
		"export AWS_ENDPOINT_URL_KINESIS=" + url, "aws kinesis list-streams", "any, from this machine alone",
	} {
		if !strings.Contains(out, words) {
			t.Errorf("it does not say %q:\n%s", words, out)
		}
	}
}

func TestWhatIsInTheWayOfAServerIsNamed(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	_, url := sh.serve("-data", dir)
	addr := strings.TrimPrefix(url, "http://")
	other := t.TempDir() + "/other"
	sh.fails(exitInTheWay, "listen on "+addr, "serve", "-data", other, "-listen", addr)
	if isDir(other) {
		t.Error("a start that failed has made its data directory")
	}
	sh.fails(exitInTheWay, dir+" is in use by another process", "serve", "-data", dir, "-listen", "127.0.0.1:0")
	sh.fails(exitInTheWay, "give --endpoint", "stream", "ls", "--data", dir)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sh.fails(exitFailed, file, "serve", "-data", file, "-listen", "127.0.0.1:0")
	for _, memory := range []string{"0", "63", "-1", "99999999999"} {
		sh.fails(exitUsage, "--request-memory is "+memory+": use 64 to", "serve", "-data", other, "-listen", "127.0.0.1:0", "--request-memory", memory)
	}
	sh.fails(exitFailed, file, "serve", "-data", file+"/below", "-listen", "127.0.0.1:0")
	if os.Getuid() != 0 {
		closed := t.TempDir()
		if err := os.Chmod(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		sh.fails(exitFailed, "cannot be written", "serve", "-data", closed+"/data", "-listen", "127.0.0.1:0")
	}
}

func TestAServerWithKeysServesThoseWhoHaveOne(t *testing.T) {
	sh := newShell(t)
	server, url := sh.serve("-data", t.TempDir(), "-access-key", "APP1:secret-one", "-access-key", "APP2:secret-two")
	if !strings.Contains(server.out.String(), "2 access keys") || strings.Contains(server.out.String(), "secret-one") {
		t.Errorf("it says\n%s", server.out)
	}
	server.awaitText("export AWS_ACCESS_KEY_ID=APP1 ")
	sh.ok("", "stream", "create", "s", "--endpoint", url, "--access-key", "APP2:secret-two")
	for _, key := range []string{"APP1:secret-two", "APP3:secret-one"} {
		sh.fails(exitFailed, "Exception", "stream", "ls", "--endpoint", url, "--access-key", key)
	}
	sh.fails(exitFailed, "Exception", "stream", "ls", "--endpoint", url)

	sh.env["MILLRACE_ACCESS_KEYS"] = "APP3:secret-three,APP4:secret-four"
	_, url = sh.serve("-data", t.TempDir())
	sh.ok("", "stream", "ls", "--endpoint", url, "--access-key", "APP4:secret-four")
	sh.fails(exitFailed, "Exception", "stream", "ls", "--endpoint", url, "--access-key", "APP1:secret-one")
}

func TestAServerWithACertificateSpeaksHTTPS(t *testing.T) {
	sh := newShell(t)
	cert, key := certificate(t)
	_, url := sh.serve("-data", t.TempDir(), "-tls-cert", cert, "-tls-key", key, "--create", "s")
	if !strings.HasPrefix(url, "https://") {
		t.Fatalf("it is at %s", url)
	}
	sh.fails(exitFailed, "certificate", "stream", "ls", "--endpoint", url)
	sh.fails(exitFailed, key+".none: no such file", "serve", "-data", t.TempDir(), "-listen", "127.0.0.1:0", "-tls-cert", cert, "-tls-key", key+".none")
	t.Setenv("AWS_CA_BUNDLE", cert)
	sh.env["AWS_CA_BUNDLE"] = cert
	sh.ok("a\nb\n", "put", "s", "--endpoint", url)
	if out := sh.ok("", "tail", "s", "--endpoint", url, "-o", "raw"); len(strings.Fields(out)) != 2 {
		t.Errorf("tail shows %q", out)
	}
}

func TestAServerHasACertificateOfItsOwn(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	server, url := sh.serve("-data", dir, "--create", "s")
	own := filepath.Join(dir, "server.crt")
	if !strings.Contains(server.out.String(), own) {
		t.Errorf("it does not say where the certificate is:\n%s", server.out)
	}
	t.Setenv("AWS_CA_BUNDLE", own)
	sh.env["AWS_CA_BUNDLE"] = own
	sh.ok("", "stream", "describe", "s", "--endpoint", strings.Replace(url, "http:", "https:", 1))
	sh.ok("", "stream", "describe", "s", "--endpoint", url)
}

// certificate makes one for this machine, that signs itself.
func certificate(t *testing.T) (certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", private)
}

func TestTailFollowsAStreamThroughReshardsUntilItIsInterrupted(t *testing.T) {
	sh := newShell(t)
	_, url := sh.serve("-data", t.TempDir(), "--create", "orders:2")
	sh.env["MILLRACE_ENDPOINT"] = url
	sh.ok("before\n", "put", "orders", "--key", "k")
	tail := sh.start(strings.NewReader(""), "tail", "orders", "-f", "--from", "horizon", "-o", "raw")
	tail.awaitLines(1)
	latest := sh.start(strings.NewReader(""), "tail", "orders", "-f", "-o", "raw")
	n := 1
	for latest.out.String() == "" { // it takes its time to begin
		sh.ok("record\n", "put", "orders")
		n++
	}
	for _, shards := range []string{"3", "1", "2"} {
		sh.ok(strings.Repeat("record\n", 50), "put", "orders")
		n += 50
		tail.awaitLines(n)
		sh.ok("", "stream", "reshard", "orders", "--shards", shards)
	}
	sh.ok("after\n", "put", "orders")
	if lines := tail.awaitLines(n + 1); len(lines) != n+1 || lines[0] != "before" || lines[n] != "after" {
		t.Errorf("%d lines, %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
	latest.awaitText("after")
	if strings.Contains(latest.out.String(), "before") {
		t.Error("without --from, -f shows what was there before")
	}
	for _, j := range []*job{tail, latest} {
		if exit := j.end(); exit != 0 || j.err.String() != "" {
			t.Errorf("interrupted: exit %d, %q", exit, j.err)
		}
	}
}

func TestTailFollowsAStreamThroughARestartOfItsServer(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	server, url := sh.serve("-data", dir, "--create", "s:2")
	sh.env["MILLRACE_ENDPOINT"] = url
	sh.ok("before\n", "put", "s")
	tail := sh.start(strings.NewReader(""), "tail", "s", "-f", "--from", "horizon", "-o", "raw")
	tail.awaitLines(1)
	if exit := server.end(); exit != 0 {
		t.Fatalf("exit %d, %s", exit, server.err)
	}
	sh.ok("meanwhile\n", "put", "s", "--data", dir)
	again := sh.start(strings.NewReader(""), "serve", "-data", dir, "-listen", strings.TrimPrefix(url, "http://"))
	again.awaitText("Ctrl-C stops it")
	sh.ok("after\n", "put", "s")
	if lines := tail.awaitLines(3); len(lines) != 3 {
		t.Errorf("tail shows %q", lines)
	}
	if exit := tail.end(); exit != 0 {
		t.Errorf("exit %d, %s", exit, tail.err)
	}
}

func TestTailEndsWhereTheStreamDoes(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	server, url := sh.serve("-data", dir, "--create", "s:5")
	for _, at := range [][]string{{"--endpoint", url}, {"--data", dir}} {
		if at[0] == "--data" {
			server.end()
		}
		for _, from := range []string{"horizon", "latest", "5m"} {
			if out := sh.ok("", append(at, "tail", "s", "--from", from)...); out != "" {
				t.Errorf("from %s of an empty stream: %q", from, out)
			}
		}
		sh.ok("a\n", append(at, "put", "s", "--key", "k")...)
		for from, want := range map[string]string{"horizon": "a\n", "latest": "", "5m": "a\n"} {
			if out := sh.ok("", append(at, "tail", "s", "--from", from, "-o", "raw")...); out != want {
				t.Errorf("from %s: %q, want %q", from, out, want)
			}
		}
		sh.ok("", append(at, "stream", "delete", "s", "--yes")...)
		sh.ok("", append(at, "stream", "create", "s", "--shards", "5")...)
	}
}

func TestAStreamThatIsDeletedEndsItsTail(t *testing.T) {
	sh := newShell(t)
	_, url := sh.serve("-data", t.TempDir(), "--create", "s")
	sh.env["MILLRACE_ENDPOINT"] = url
	sh.ok("a\n", "put", "s")
	tail := sh.start(strings.NewReader(""), "tail", "s", "-f", "--from", "horizon", "-o", "raw")
	tail.awaitLines(1)
	sh.ok("", "stream", "delete", "s", "--yes")
	if exit := tail.wait(); exit != exitNotFound || !strings.Contains(tail.err.String(), "stream not found") {
		t.Errorf("exit %d, %q", exit, tail.err)
	}
}

func TestAStopFinishesWhatIsUnderWay(t *testing.T) {
	sh := newShell(t)
	server, url := sh.serve("-data", t.TempDir(), "--create", "s")
	sh.env["MILLRACE_ENDPOINT"] = url
	tail := sh.start(strings.NewReader(""), "tail", "s", "-f", "--from", "horizon")
	sh.ok("a\n", "put", "s")
	tail.awaitText("a")
	if exit := server.end(); exit != 0 || strings.Contains(server.err.String(), "ERROR") {
		t.Errorf("exit %d, %s", exit, server.err)
	}
	if _, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("it still listens")
	}
	if exit := tail.end(); exit != 0 {
		t.Errorf("tail: exit %d, %s", exit, tail.err)
	}
}
