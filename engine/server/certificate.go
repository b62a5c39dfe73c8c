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
	"regexp"
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

// Certificate returns the certificate for TLS and those behind it, in PEM: what a
// client has to be told to trust (AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS), unless it is
// given by the configuration and known to it anyway. A server without one makes its
// own when it is first asked, for localhost, this machine's name and the addresses
// 127.0.0.1 and ::1, and keeps it in the engine's directory, as server.crt and
// server.key; when the engine is in memory, it is another one each time. Whoever has
// the key can pass for this server at those names, and for nobody else.
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
	// One that could sign others, made by earlier versions, is not kept.
	if err == nil && now.Before(pair.Leaf.NotAfter.Add(-certificateRenew)) && !pair.Leaf.IsCA {
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

// hostName is a name that a certificate may have.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// makeCertificate makes a certificate, with the authority that has signed it, and
// its key, in PEM. Clients are told to trust the authority, so its own key is not
// kept: it vouches for nothing else, whoever reads the files. And it says so, by
// the names that it is for.
func makeCertificate(now time.Time) (certificate, key []byte, err error) {
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "localhost" && hostName.MatchString(host) {
		names = append(names, host)
	}
	addresses := []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
	alone := make([]*net.IPNet, len(addresses))
	for i, ip := range addresses {
		alone[i] = &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))}
	}
	authority := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "millrace authority"},
		KeyUsage: x509.KeyUsageCertSign,
		IsCA:     true, MaxPathLenZero: true, // for what it signs, and nothing below
		PermittedDNSDomains: names, PermittedIPRanges: alone,
	}
	own := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "millrace"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names, IPAddresses: addresses,
	}
	keys := make([]*ecdsa.PrivateKey, 2)
	for i, c := range []*x509.Certificate{authority, own} {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, nil, err
		}
		if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
			return nil, nil, err
		}
		c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(certificateLife) // clocks of clients differ
		c.BasicConstraintsValid = true
	}
	signed, err := x509.CreateCertificate(rand.Reader, authority, authority, &keys[0].PublicKey, keys[0])
	if err != nil {
		return nil, nil, err
	}
	if authority, err = x509.ParseCertificate(signed); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, own, authority, &keys[1].PublicKey, keys[0])
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		return nil, nil, err
	}
	for _, one := range [][]byte{der, signed} {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}
