package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A certificate of our own lives for 825 days, the most that some clients believe,
// and is made anew a month before it ends.
const (
	certificateLife  = 825 * 24 * time.Hour
	certificateRenew = 30 * 24 * time.Hour
)

// The files of our own certificate, in the engine's directory.
const (
	certificateFile = "server.crt"
	keyFile         = "server.key"
)

// Certificate returns the certificate for TLS, in PEM: what a client has to be
// told to trust (AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS), unless it is given by the
// configuration and known to it anyway. A server without one makes its own when it
// is first asked, for localhost, this machine's name and the addresses 127.0.0.1
// and ::1, and keeps it in the engine's directory, as server.crt and server.key;
// when the engine is in memory, it is another one each time.
func (s *Server) Certificate() ([]byte, error) {
	pair, err := s.certificate()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, der := range pair.Certificate {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}
}

// findCertificate is called once.
func (s *Server) findCertificate() (*tls.Certificate, error) {
	if s.config.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.config.CertFile, s.config.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("Config.CertFile %s and Config.KeyFile %s: %w", s.config.CertFile, s.config.KeyFile, err)
		}
		return &pair, nil
	}
	dir := s.engine.Dir()
	if dir == "" {
		certificate, key, err := makeCertificate(time.Now())
		if err != nil {
			return nil, err
		}
		return pairOf(certificate, key)
	}
	return ownCertificate(dir, time.Now())
}

func pairOf(certificate, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	return &pair, err
}

// ownCertificate reads the certificate of a directory, or makes one: when there
// is none, or one that is half written or nearly over. One that cannot be read is
// left alone, for clients trust it.
func ownCertificate(dir string, now time.Time) (*tls.Certificate, error) {
	crt, key := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile)
	kept, err := os.ReadFile(crt)
	secret, keyErr := os.ReadFile(key)
	for _, err := range []error{err, keyErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the certificate for TLS: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(kept, secret)
	if err == nil && now.Before(pair.Leaf.NotAfter.Add(-certificateRenew)) {
		return &pair, nil
	}
	certificatePEM, keyPEM, err := makeCertificate(now)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{{key, keyPEM, 0o600}, {crt, certificatePEM, 0o644}} {
		if err := replaceFile(f.name, f.data, f.mode); err != nil {
			return nil, fmt.Errorf("keep the certificate for TLS: %w", err)
		}
	}
	return pairOf(certificatePEM, keyPEM)
}

// replaceFile writes a file, so that it is there as a whole or not at all.
func replaceFile(name string, data []byte, mode fs.FileMode) error {
	next := name + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(next, data, mode); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// makeCertificate makes a certificate that signs itself, and its key, in PEM.
func makeCertificate(now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		names = append(names, host)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "millrace"},
		NotBefore:             now.Add(-time.Hour), // clocks of clients differ
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // for clients that take nothing else as a root
		DNSNames:              names,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}
