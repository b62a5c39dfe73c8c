package testdynamo

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"go.uber.org/goleak"
)

// API is a DynamoDB API for tests. Tables in it outlive a test, so that each
// takes names of its own: see [TableName].
type API struct {
	// Name is "moto", "dynalite" or "given".
	Name string
	// URL is the endpoint.
	URL string
	// Complete says that the API knows point-in-time recovery, deletion
	// protection, encryption and the tags of new tables, adds indexes to tables
	// that exist, and returns the item with a failed condition. dynalite does
	// none of it.
	Complete bool
}

// Client returns a client that ends with the test. Its requests go through the
// given transport, or a new one when that is nil.
func (a API) Client(t testing.TB, transport http.RoundTripper) *dynamodb.Client {
	t.Helper()
	if transport == nil {
		transport = Transport(t)
	}
	key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	return dynamodb.New(dynamodb.Options{
		Region:       cmp.Or(os.Getenv("AWS_REGION"), "us-east-1"),
		BaseEndpoint: &a.URL,
		Credentials:  credentials.NewStaticCredentialsProvider(cmp.Or(key, "test"), cmp.Or(secret, "test"), os.Getenv("AWS_SESSION_TOKEN")),
		HTTPClient:   &http.Client{Transport: transport},
	})
}

// Transport returns a transport that ends with the test.
func Transport(t testing.TB) *http.Transport {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

var tables atomic.Int64

// TableName returns a name that no other test has.
func TableName() string {
	return fmt.Sprintf("test-%d-%d-%d", os.Getpid(), time.Now().UnixMilli(), tables.Add(1))
}

// Main runs the tests of a package, ends what was started for them, and fails
// the package when goroutines are left. It does not return.
func Main(m *testing.M) { goleak.VerifyTestMain(ended{m}) }

// ended is a testing.M after which no server runs any more.
type ended struct{ m *testing.M }

func (e ended) Run() int {
	code := e.m.Run()
	for _, s := range servers {
		s.stop()
	}
	return code
}

// Each runs a test against each API that can be had.
func Each(t *testing.T, test func(t *testing.T, api API)) {
	t.Helper()
	for _, api := range find(t) {
		t.Run(api.Name, func(t *testing.T) { test(t, api) })
	}
}

// Open starts the API that is likest to DynamoDB for a program that is no test, or
// takes the one that is given by address; stop ends it.
func Open() (api API, stop func(), err error) {
	return open(newMoto())
}

// OpenFast starts the API that is fastest where there are a thousand rows and more, in
// the same way: of an index, moto reads the whole table.
func OpenFast() (api API, stop func(), err error) {
	return open(newDynalite())
}

func open(s *server) (API, func(), error) {
	if url := os.Getenv("MILLRACE_DYNAMODB"); url != "" {
		return API{Name: "given", URL: url, Complete: true}, func() {}, nil
	}
	s.start()
	return s.api, s.stop, s.err
}

// Any returns the API that is likest to DynamoDB.
func Any(t testing.TB) API {
	t.Helper()
	return find(t)[0]
}

var (
	moto     = newMoto()
	dynalite = newDynalite()
	servers  = []*server{moto, dynalite}
)

func newMoto() *server {
	return &server{
		api: API{Name: "moto", Complete: true}, install: motoInstall.Do,
		command: func(dir string) []string { return []string{dir + "/venv/bin/python", "-c", motoScript} },
	}
}

func newDynalite() *server {
	return &server{
		api: API{Name: "dynalite"}, install: dynaliteInstall.Do,
		command: func(string) []string { return []string{"node", "-e", dynaliteScript} },
	}
}

// find returns at least one API, or ends the test.
func find(t testing.TB) []API {
	t.Helper()
	if url := os.Getenv("MILLRACE_DYNAMODB"); url != "" {
		return []API{{Name: "given", URL: url, Complete: true}}
	}
	var starting sync.WaitGroup
	for _, s := range servers {
		starting.Go(s.start)
	}
	starting.Wait()
	var found []API
	var reasons []string
	for _, s := range servers {
		if s.err != nil {
			reasons = append(reasons, fmt.Sprintf("%s: %v", s.api.Name, s.err))
		} else {
			found = append(found, s.api)
		}
	}
	needed := os.Getenv("MILLRACE_NEED_SERVICES") != "" || os.Getenv("CI") != ""
	why := "no DynamoDB API to test with: set MILLRACE_DYNAMODB to the URL of one, or let python3 and npm, or Docker, be there with access to their packages: " +
		strings.Join(reasons, "; ")
	switch {
	case needed && len(reasons) > 0:
		t.Fatal(why)
	case len(found) == 0:
		t.Skip(why)
	}
	return found
}
