package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheCertificateIsMadeOnceAndRenewedBeforeItEnds(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	first, err := ownCertificate(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is there as %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := first.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	again := func(what string, at time.Time, same bool) {
		t.Helper()
		c, err := ownCertificate(dir, at)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if bytes.Equal(c.Certificate[0], first.Certificate[0]) != same {
			t.Errorf("%s: the certificate is the same: %v", what, !same)
		}
		first = c
	}
	again("at once", now, true)
	again("a day before it is renewed", now.Add(certificateLife-certificateRenew-24*time.Hour), true)
	again("a day after", now.Add(certificateLife-certificateRenew+24*time.Hour), false)
	for _, file := range []string{certificateFile, keyFile} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		again("with a broken "+file, now, false)
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
		again("without "+file, now, false)
	}
}

// Clients are told to trust what is in server.crt, and server.key lies beside it.
func TestTheKeyThatIsKeptSignsNothingThatClientsBelieve(t *testing.T) {
	certificate, key, err := makeCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err != nil {
		t.Errorf("it is not believed itself: %v", err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "kinesis.us-east-1.amazonaws.com"}); err == nil {
		t.Error("it is believed for a name that is not its own")
	}
	forged := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
	}
	own := pair.PrivateKey.(*ecdsa.PrivateKey)
	for _, der := range pair.Certificate {
		parent, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if own.PublicKey.Equal(parent.PublicKey) == parent.IsCA {
			t.Errorf("the key that is kept is that of %s, an authority: %v", parent.Subject, parent.IsCA)
		}
		if parent.IsCA && (!parent.MaxPathLenZero || len(parent.PermittedDNSDomains) == 0 || len(parent.PermittedIPRanges) == 0) {
			t.Errorf("%s is for anything", parent.Subject)
		}
		der, err := x509.CreateCertificate(rand.Reader, forged, parent, &own.PublicKey, own)
		if err != nil {
			continue // it is not that one's key
		}
		child, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := child.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err == nil {
			t.Errorf("what the key of %s has signed is believed", parent.Subject)
		}
	}
}

func TestACertificateThatCouldSignOthersIsNotKept(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	old := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(certificateLife), BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, old, old, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := ownCertificate(dir, now); err != nil || c.Leaf.IsCA {
		t.Errorf("it is kept: %v", err)
	}
}

func TestACertificateThatCannotBeReadIsLeftAlone(t *testing.T) {
	for _, file := range []string{certificateFile, keyFile} {
		dir := t.TempDir()
		if _, err := ownCertificate(dir, time.Now()); err != nil {
			t.Fatal(err)
		}
		// A directory is a file that is there and cannot be read, for root as well.
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, file), 0o700); err != nil {
			t.Fatal(err)
		}
		if c, err := ownCertificate(dir, time.Now()); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, %v", file, c, err)
		}
	}
}

func TestACertificateMayBeGiven(t *testing.T) {
	dir := t.TempDir()
	if _, err := ownCertificate(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	crt, key := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile)
	want, err := os.ReadFile(crt)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, Config{CertFile: crt, KeyFile: key})
	if got, err := h.server.Certificate(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the certificate is %s, %v", got, err)
	}
	h = start(t, Config{CertFile: key, KeyFile: crt})
	if _, err := h.server.Certificate(); err == nil || !strings.Contains(err.Error(), "Config.CertFile") {
		t.Errorf("files that are none: %v", err)
	}
	if _, err := New(h.engine, Config{CertFile: crt}); err == nil || !strings.Contains(err.Error(), "give both") {
		t.Errorf("half of it: %v", err)
	}
}
