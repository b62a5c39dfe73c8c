package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/engine"
)

var ourKeys = []AccessKey{
	{ID: "FIRST", Secret: "first secret"},
	{ID: "SECOND", Secret: "second/secret+", SessionToken: "a token"},
	{ID: "THIRD", Secret: "third secret", Expires: time.Unix(1, 0)},
}

func TestTheSDKIsLetInByItsKey(t *testing.T) {
	h := start(t, Config{AccessKeys: ourKeys})
	h.stream("orders", engine.StreamConfig{})
	for _, c := range []struct {
		id, secret, token, region string
		code                      string
	}{
		{"FIRST", "first secret", "", "us-east-1", ""},
		{"SECOND", "second/secret+", "a token", "us-east-1", ""},
		{"FIRST", "wrong secret", "", "us-east-1", "InvalidSignatureException"},
		{"FIRST", "second/secret+", "", "us-east-1", "InvalidSignatureException"},
		{"FIRST", "first secret", "a token", "us-east-1", "UnrecognizedClientException"},
		{"SECOND", "second/secret+", "", "us-east-1", "UnrecognizedClientException"},
		{"SECOND", "second/secret+", "another", "us-east-1", "UnrecognizedClientException"},
		{"THIRD", "third secret", "", "us-east-1", "ExpiredTokenException"},
		{"NOBODY", "first secret", "", "us-east-1", "UnrecognizedClientException"},
		{"FIRST", "first secret", "", "eu-west-1", "InvalidSignatureException"},
	} {
		as := func(o *kinesis.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(c.id, c.secret, c.token)
			o.Region = c.region
		}
		for form, client := range map[string]*kinesis.Client{
			"JSON":        h.client(as),
			"rpc-v2-cbor": h.client(as, func(o *kinesis.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) }),
		} {
			_, err := client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
			code := ""
			if api := smithy.APIError(nil); errors.As(err, &api) {
				code = api.ErrorCode()
			} else if err != nil {
				code = err.Error()
			}
			if code != c.code {
				t.Errorf("%s as %s in %s with %q: %v", form, c.id, c.region, c.secret, err)
			}
		}
	}
}

// signed signs a request for a server that has our keys, by the SDK's signer,
// and then changes it.
// signed is a request signed by the first of our keys.
func signed(t *testing.T, body string, at time.Time, before func(*http.Request), after func(*http.Request)) *http.Request {
	t.Helper()
	return signedBy(t, ourKeys[0], body, at, before, after)
}

func signedBy(t *testing.T, k AccessKey, body string, at time.Time, before func(*http.Request), after func(*http.Request)) *http.Request {
	t.Helper()
	r := httptest.NewRequest("POST", "http://localhost:4567/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.DescribeStreamSummary")
	if before != nil {
		before(r)
	}
	hash := sha256.Sum256([]byte(body))
	err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret, SessionToken: k.SessionToken}, r, hex.EncodeToString(hash[:]), "kinesis", "us-east-1", at)
	if err != nil {
		t.Fatal(err)
	}
	if after != nil {
		after(r)
	}
	return r
}

func edit(name string, replace ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set(name, strings.NewReplacer(replace...).Replace(r.Header.Get(name)))
	}
}

// check does what perform does with a signature.
func (s *Server) check(r *http.Request) error {
	sig, err := s.authenticate(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return sig.verify(r, body)
}

func TestSignaturesAreCheckedAsOnAWS(t *testing.T) {
	s := start(t, Config{AccessKeys: ourKeys}).server
	now := time.Now()
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"as it should be":              {signed(t, "{}", now, nil, nil), ""},
		"a path, a query, odd headers": {signed(t, "{}", now, odd, nil), ""},
		"four minutes ago":             {signed(t, "{}", now.Add(-4*time.Minute), nil, nil), ""},
		"in four minutes":              {signed(t, "{}", now.Add(4*time.Minute), nil, nil), ""},
		"six minutes ago":              {signed(t, "{}", now.Add(-6*time.Minute), nil, nil), "InvalidSignatureException: Signature expired: "},
		"in six minutes":               {signed(t, "{}", now.Add(6*time.Minute), nil, nil), "InvalidSignatureException: Signature not yet current: "},
		"another body":                 {signed(t, "{}", now, nil, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{ }")) }), "InvalidSignatureException: The request signature we calculated"},
		"another target":               {signed(t, "{}", now, nil, func(r *http.Request) { r.Header.Set("X-Amz-Target", "Kinesis_20131202.DeleteStream") }), "InvalidSignatureException: The request signature we calculated"},
		"a target that is not signed": {signed(t, "{}", now, func(r *http.Request) { r.Header.Del("X-Amz-Target") }, func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "Kinesis_20131202.DeleteStream")
		}), "InvalidSignatureException: 'X-Amz-Target' must be a 'SignedHeader'"},
		"another host":        {signed(t, "{}", now, nil, func(r *http.Request) { r.Host = "example.org" }), "InvalidSignatureException: The request signature we calculated"},
		"another path":        {signed(t, "{}", now, nil, func(r *http.Request) { r.URL.Path = "/other" }), "InvalidSignatureException: The request signature we calculated"},
		"another query":       {signed(t, "{}", now, nil, func(r *http.Request) { r.URL.RawQuery = "a=b" }), "InvalidSignatureException: The request signature we calculated"},
		"another date":        {signed(t, "{}", now, nil, func(r *http.Request) { r.Header.Set("X-Amz-Date", now.Add(-time.Minute).UTC().Format(dateFormat)) }), "InvalidSignatureException: "},
		"another service":     {signed(t, "{}", now, nil, edit("Authorization", "/kinesis/", "/dynamodb/")), "InvalidSignatureException: Credential should be scoped to correct service: 'kinesis'."},
		"another region":      {signed(t, "{}", now, nil, edit("Authorization", "/us-east-1/", "/eu-west-1/")), "InvalidSignatureException: Credential should be scoped to a valid region, not 'eu-west-1'."},
		"another terminator":  {signed(t, "{}", now, nil, edit("Authorization", "aws4_request", "aws5_request")), "InvalidSignatureException: Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."},
		"another day":         {signed(t, "{}", now, nil, edit("Authorization", now.UTC().Format("20060102"), "20200101")), "InvalidSignatureException: Date in Credential scope does not match"},
		"a scope of 4 parts":  {signed(t, "{}", now, nil, edit("Authorization", "/aws4_request", "")), "IncompleteSignatureException: Credential must have exactly 5"},
		"host not signed":     {signed(t, "{}", now, nil, edit("Authorization", ";host;", ";", "=host;", "=")), "InvalidSignatureException: 'Host' or ':authority' must be"},
		"a header twice":      {signed(t, "{}", now, nil, edit("Authorization", ";host;", ";host;host;")), "InvalidSignatureException: SignedHeaders must be in order"},
		"no signature at all": {signed(t, "{}", now, nil, func(r *http.Request) { r.Header.Del("Authorization") }), "MissingAuthenticationTokenException: Missing Authentication Token"},
		"no date":             {signed(t, "{}", now, nil, func(r *http.Request) { r.Header.Del("X-Amz-Date") }), "IncompleteSignatureException: Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization="},
		"a broken date":       {signed(t, "{}", now, nil, edit("X-Amz-Date", "Z", "X")), "IncompleteSignatureException: Date must be in ISO-8601 'basic format'."},
		"nothing but a name":  {signed(t, "{}", now, nil, func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256") }), "IncompleteSignatureException: Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization="},
		"another algorithm":   {signed(t, "{}", now, nil, edit("Authorization", "AWS4-HMAC-SHA256", "Basic")), "IncompleteSignatureException: Unsupported AWS 'algorithm'."},
		"header and query":    {signed(t, "{}", now, nil, func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }), "InvalidSignatureException: Found both"},
		"an empty signature":  {signed(t, "{}", now, nil, func(r *http.Request) { edit("Authorization", "Signature=", "Signature= x=")(r) }), "IncompleteSignatureException: "},
	} {
		err := s.check(c.r)
		if (c.want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// odd makes a request with all that has to be put in order before it is signed.
func odd(r *http.Request) {
	r.URL.Path, r.URL.RawQuery = "/a b/ü", "z=1&a=%20x+y&a=b&empty=&k%C3%A9=~-._"
	r.Header.Add("X-Amz-Meta", "  one   two ")
	r.Header.Add("X-Amz-Meta", "three")
}

func TestTheHostMayBeSignedByItsNameInHTTP2(t *testing.T) {
	s := start(t, Config{AccessKeys: ourKeys}).server
	r := signed(t, "{}", time.Now(), nil, edit("Authorization", "=", "=:authority;", "host;", ""))
	edit("Authorization", "Credential=:authority;", "Credential=", "Signature=:authority;", "Signature=")(r)
	sig, err := s.authenticate(r)
	if err != nil {
		t.Fatal(err)
	}
	sig.value = sig.of(r, []byte("{}"))
	if err := sig.verify(r, []byte("{}")); err != nil {
		t.Error(err)
	}
	r.Host = "example.org"
	if err := sig.verify(r, []byte("{}")); err == nil {
		t.Error("another host will do")
	}
}

func TestQueriesMayBeSigned(t *testing.T) {
	s := start(t, Config{AccessKeys: ourKeys}).server
	sign := func(at time.Time, credentials aws.Credentials, expires string) *http.Request {
		r := httptest.NewRequest("POST", "http://localhost:4567/?a=b", nil)
		r.Header.Set("X-Amz-Target", "Kinesis_20131202.ListStreams")
		if expires != "" {
			r.URL.RawQuery += "&X-Amz-Expires=" + expires
		}
		hash := sha256.Sum256(nil)
		uri, headers, err := v4.NewSigner().PresignHTTP(context.Background(), credentials, r, hex.EncodeToString(hash[:]), "kinesis", "us-east-1", at)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		r.Header = headers
		if r.Header.Get("X-Amz-Target") == "" && !strings.Contains(uri, "x-amz-target") {
			r.Header.Del("X-Amz-Target")
		}
		return r
	}
	first := aws.Credentials{AccessKeyID: "FIRST", SecretAccessKey: "first secret"}
	second := aws.Credentials{AccessKeyID: "SECOND", SecretAccessKey: "second/secret+", SessionToken: "a token"}
	now := time.Now()
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"as it should be":      {sign(now, first, ""), ""},
		"with a token":         {sign(now, second, ""), ""},
		"an hour ago, for two": {sign(now.Add(-time.Hour), first, "7200"), ""},
		"an hour ago":          {sign(now.Add(-time.Hour), first, ""), "InvalidSignatureException: Signature expired: "},
		"without its date": {func() *http.Request {
			r := sign(now, first, "")
			q := r.URL.Query()
			q.Del("X-Amz-Date")
			r.URL.RawQuery = q.Encode()
			return r
		}(), "IncompleteSignatureException: AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."},
		"changed": {func() *http.Request {
			r := sign(now, first, "")
			r.URL.RawQuery += "&c=d"
			return r
		}(), "InvalidSignatureException: The request signature we calculated"},
	} {
		err := s.check(c.r)
		if (c.want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutKeysOnlyThisMachineIsServed(t *testing.T) {
	s := start(t, Config{}).server
	answer := func(peer, forwarding string) (refused bool, body string) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader([]byte("{}")))
		r.RemoteAddr = peer
		r.Header.Set("X-Amz-Target", "Kinesis_20131202.DescribeStreamSummary")
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("Authorization", anySignature)
		r.Header.Set("X-Amz-Date", "20260101T000000Z")
		if forwarding != "" {
			r.Header.Set(forwarding, "192.0.2.1")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		body = w.Body.String()
		return strings.Contains(body, "AccessDeniedException") && strings.Contains(body, "set -access-key ID:SECRET, or Config.AccessKeys"), body
	}
	for peer, ours := range map[string]bool{
		"127.0.0.1:5": true, "127.8.9.1:5": true, "[::1]:5": true, "[::ffff:127.0.0.1]:5": true,
		"192.0.2.1:5": false, "[2001:db8::1]:5": false, "[fe80::1%eth0]:5": false, "@": false, "": false,
	} {
		if refused, body := answer(peer, ""); refused == ours {
			t.Errorf("%s: %s", peer, body)
		}
	}
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if refused, body := answer("127.0.0.1:5", header); !refused || !strings.Contains(body, header) {
			t.Errorf("forwarded by %s: %s", header, body)
		}
	}
}

func TestAKeyMayHaveATokenAndTheNextOne(t *testing.T) {
	keys := []AccessKey{{ID: "FIRST", Secret: "former", SessionToken: "one"}, {ID: "FIRST", Secret: "next", SessionToken: "two"}}
	s := start(t, Config{AccessKeys: keys}).server
	for _, k := range keys {
		if err := s.check(signedBy(t, k, "{}", time.Now(), nil, nil)); err != nil {
			t.Errorf("with the token %q: %v", k.SessionToken, err)
		}
	}
	if err := s.check(signedBy(t, AccessKey{ID: "FIRST", Secret: "next", SessionToken: "one"}, "{}", time.Now(), nil, nil)); err == nil {
		t.Error("a secret goes with the token of another one")
	}
}

func TestKeysThatCannotWorkAreRefused(t *testing.T) {
	e, err := engine.OpenMemory(engine.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	for _, k := range []AccessKey{{}, {ID: "A"}, {Secret: "s"}, {ID: "A/B", Secret: "s"}} {
		if s, err := New(e, Config{AccessKeys: []AccessKey{k}}); err == nil || !strings.Contains(fmt.Sprint(err), "Config.AccessKeys[0]") {
			t.Errorf("%+v: %v, %v", k, s, err)
		}
	}
}

// FuzzSignature: whatever comes as a signature is an error at most, and never
// lets anybody in.
func FuzzSignature(f *testing.F) {
	f.Add(anySignature, "20260101T000000Z", "a=b")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=FIRST/20260101/us-east-1/kinesis/aws4_request&X-Amz-Signature=0&X-Amz-SignedHeaders=host&X-Amz-Date=20260101T000000Z&X-Amz-Expires=9")
	s := &Server{config: Config{Region: "us-east-1", AccessKeys: ourKeys}}
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		r.URL.RawQuery = query
		r.Header.Set("Authorization", auth)
		if auth == "" {
			r.Header.Del("Authorization")
		}
		r.Header.Set("X-Amz-Date", date)
		var known *fault
		if err := s.check(r); !errors.As(err, &known) {
			t.Fatal(err)
		}
		if sig, err := readSignature(r); err == nil {
			sig.canonical(r, nil)
			sig.current(r, time.Now())
			sig.inScope("us-east-1")
		}
	})
}
