package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/wire"
)

// everything is a shape with all that shapes may have.
type everything struct {
	Text    string            `wire:"required,len=2..4,pattern=streamName"`
	Choice  string            `wire:"enum=A|B"`
	Number  int               `wire:"range=1..10"`
	Long    int64             `wire:"omitzero"`
	On      bool              `wire:"omitzero"`
	Pointer *int              `wire:"range=0..5"`
	Blob    []byte            `wire:"len=0..8"`
	At      time.Time         `wire:"omitzero"`
	Items   []part            `wire:"len=1..3"`
	Names   []string          `wire:"len=0..3,member.len=1..3,member.pattern=streamName"`
	Tags    map[string]string `wire:"len=0..2,key.len=1..3,value.len=0..3"`
	Nested  *part
}

type part struct {
	Key  string `wire:"required,len=1..3"`
	Data []byte `wire:"omitzero"`
}

func TestAShapeIsTheSameInEveryProtocol(t *testing.T) {
	five := 5
	want := everything{
		Text: "ab", Choice: "B", Number: 7, Long: math.MinInt64, On: true, Pointer: &five, Blob: []byte("\x00\xffblob"), At: time.UnixMilli(1441215410867),
		Items: []part{{"a", []byte("1")}, {"ü", nil}}, Names: []string{"x", "y"}, Tags: map[string]string{"k": "v", "l": ""}, Nested: &part{Key: "n"},
	}
	for _, p := range []protocol{json11, cbor11, rpcCBOR} {
		body, err := appendShape([]byte{}, p, &want)
		if err != nil {
			t.Fatal(err)
		}
		if p == json11 && !json.Valid(body) {
			t.Errorf("%s is no JSON", body)
		}
		var got everything
		if err := decode(p, body, &got); err != nil {
			t.Errorf("%s: %v", p.contentType(), err)
		}
		if !got.At.Equal(want.At) {
			t.Errorf("%s: the time is %v", p.contentType(), got.At)
		}
		got.At = want.At
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as %+v", p.contentType(), got)
		}
	}
}

func TestConstraintsAreToldAsAWSTellsThem(t *testing.T) {
	one := "1 validation error detected: Value "
	for _, c := range []struct{ body, message string }{
		{`{"Text":"abc"}`, ""},
		{`{}`, one + "null at 'text' failed to satisfy constraint: Member must not be null"},
		{`{"Text":null}`, one + "null at 'text' failed to satisfy constraint: Member must not be null"},
		{`{"Text":"a"}`, one + "'a' at 'text' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		{`{"Text":"abcde"}`, one + "'abcde' at 'text' failed to satisfy constraint: Member must have length less than or equal to 4"},
		{`{"Text":"a b"}`, one + "'a b' at 'text' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"},
		{`{"Text":"ab","Choice":"C"}`, one + "'C' at 'choice' failed to satisfy constraint: Member must satisfy enum value set: [A, B]"},
		{`{"Text":"ab","Number":0}`, one + "'0' at 'number' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{`{"Text":"ab","Number":11}`, one + "'11' at 'number' failed to satisfy constraint: Member must have value less than or equal to 10"},
		{`{"Text":"ab","Number":10.9}`, ""}, // AWS rounds down
		{`{"Text":"ab","Pointer":6}`, one + "'6' at 'pointer' failed to satisfy constraint: Member must have value less than or equal to 5"},
		{`{"Text":"ab","Blob":"MTIzNDU2Nzg5"}`, one + "'java.nio.HeapByteBuffer[pos=0 lim=9 cap=9]' at 'blob' failed to satisfy constraint: Member must have length less than or equal to 8"},
		{`{"Text":"ab","Items":[]}`, one + "'[]' at 'items' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{`{"Text":"ab","Items":[{"Key":"a"},{}]}`, one + "null at 'items.2.member.key' failed to satisfy constraint: Member must not be null"},
		{`{"Text":"ab","Names":["x","long"]}`, one + "'[x, long]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 3, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]"},
		{`{"Text":"ab","Tags":{"long":"v"}}`, one + "'{long=v}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 3, Member must have length greater than or equal to 1]"},
		{`{"Text":"ab","Tags":{"k":"long"}}`, one + "'{k=long}' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 3, Member must have length greater than or equal to 0]"},
		{`{"Text":"ab","Nested":{}}`, one + "null at 'nested.key' failed to satisfy constraint: Member must not be null"},
		{`{"Text":"a","Number":0}`, "2 validation errors detected: Value 'a' at 'text' failed to satisfy constraint: Member must have length greater than or equal to 2; Value '0' at 'number' failed to satisfy constraint: Member must have value greater than or equal to 1"},
	} {
		var in everything
		err := decode(json11, []byte(c.body), &in)
		var f *fault
		switch errors.As(err, &f); {
		case c.message == "" && err != nil:
			t.Errorf("%s: %v", c.body, err)
		case c.message != "" && (f == nil || f.name != "ValidationException" || f.message != c.message):
			t.Errorf("%s: %v\nwant %s", c.body, err, c.message)
		}
	}
}

func TestAValueOfTheWrongKindIsToldAsAWSTellsIt(t *testing.T) {
	for body, message := range map[string]string{
		`{"Text":1}`:                   "class java.math.BigDecimal can not be converted to an String",
		`{"Text":true}`:                "class java.lang.Boolean can not be converted to an String",
		`{"Text":[]}`:                  "Start of list found where not expected",
		`{"Text":{}}`:                  "Start of structure or map found where not expected.",
		`{"Number":"1"}`:               "class java.lang.String can not be converted to an Integer",
		`{"Long":"1"}`:                 "class java.lang.String can not be converted to an Long",
		`{"Number":3000000000}`:        "3000000000 can not be converted to an Integer",
		`{"Long":1e30}`:                "1e30 can not be converted to a number of 64 bits",
		`{"On":"true"}`:                "class java.lang.String can not be converted to an Boolean",
		`{"Blob":1}`:                   "class java.math.BigDecimal can not be converted to a Blob",
		`{"At":"now"}`:                 "class java.lang.String can not be converted to an Timestamp",
		`{"Items":1}`:                  "Expected list or null",
		`{"Items":{}}`:                 "Start of structure or map found where not expected.",
		`{"Items":["a"]}`:              "Expected null",
		`{"Items":[[]]}`:               "Start of list found where not expected",
		`{"Tags":[]}`:                  "Start of list found where not expected",
		`{"Tags":"a"}`:                 "Expected map or null",
		`{"Tags":{"a":1}}`:             "class java.math.BigDecimal can not be converted to an String",
		`{"Nested":3}`:                 "Expected null",
		`[]`:                           "Start of list found where not expected",
		`1`:                            "Expected null",
		``:                             "the body is empty",
		`{"Blob":"a"}`:                 "The value can not be converted to a Blob: a string that is not base64 at byte 9",
		`{"Text":"ab"`:                 "no comma, and no end of the list or object at byte 12",
		`{"Text":"ab"}{}`:              "the document goes on behind its end at byte 13",
		`{"Unknown":` + deep + `}`:     "too deeply nested at byte 74",
		`{"Text":"ab","Unknown":[1,]}`: "no value at byte 26",
		`{"Text":nul}`:                 "no value at byte 8",
	} {
		var in everything
		err := decode(json11, []byte(body), &in)
		var f *fault
		if errors.As(err, &f); f == nil || f.name != "SerializationException" || f.message != message {
			t.Errorf("%s: %v\nwant %s", body, err, message)
		}
	}
	for _, body := range []string{"\xff", "\xa1", "\xa1\x64Text\x01", "\xbf\x64Text", "\x80", "\xa1\x64Blob\x64YWJj"} {
		var in everything
		if err := decode(cbor11, []byte(body), &in); err == nil || !strings.HasPrefix(err.Error(), "SerializationException") {
			t.Errorf("%x: %v", body, err)
		}
	}
}

var deep = strings.Repeat("[", 1000)

// FuzzDecode: nothing makes the decoder panic, or keep more than it was sent.
func FuzzDecode(f *testing.F) {
	seed := everything{Text: "ab", Items: []part{{Key: "a"}}, Tags: map[string]string{"k": "v"}, At: time.UnixMilli(5), Nested: &part{Key: "x"}}
	for _, p := range []protocol{json11, cbor11, rpcCBOR} {
		body, _ := appendShape(nil, p, &seed)
		f.Add(byte(p), body)
	}
	f.Fuzz(func(t *testing.T, p byte, body []byte) {
		var in everything
		err := decode(protocol(p%3), bytes.Clone(body), &in)
		var known *fault
		if err != nil && !errors.As(err, &known) {
			t.Fatal(err)
		}
		if err == nil {
			if again, err := appendShape(nil, protocol(p%3), &in); err != nil {
				t.Fatalf("%s: %v", again, err)
			}
		}
	})
}

func TestAListLongerThanAllowedIsNotKept(t *testing.T) {
	var in everything
	body := `{"Text":"ab","Items":[` + strings.Repeat(`{"Key":"a"},`, 100_000) + `{"Key":"a"}]}`
	err := decode(json11, []byte(body), &in)
	if err == nil || !strings.Contains(err.Error(), "'items' failed to satisfy constraint: Member must have length less than or equal to 3") || len(in.Items) != 4 {
		t.Errorf("%d items are kept; %v", len(in.Items), err)
	}
}

func TestTheSDKSpeaksEveryProtocolOfGo(t *testing.T) {
	h := start(t, Config{})
	created := h.stream("orders", engine.StreamConfig{})
	d, err := created.Describe()
	if err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]*kinesis.Client{
		"JSON":        h.client(),
		"rpc-v2-cbor": h.client(func(o *kinesis.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) }),
	} {
		out, err := client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := out.StreamDescriptionSummary.StreamCreationTimestamp; !got.Equal(d.Created) {
			t.Errorf("%s: created at %v, not %v", name, got, d.Created)
		}
		// Nothing comes back from these two.
		if _, err := client.AddTagsToStream(t.Context(), &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: map[string]string{"via": name}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("by-" + strings.ToLower(name)), ShardCount: aws.Int32(1)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		tags, err := client.ListTagsForStream(t.Context(), &kinesis.ListTagsForStreamInput{StreamName: aws.String("orders")})
		if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Value != name {
			t.Errorf("%s: %+v, %v", name, tags, err)
		}
		_, err = client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("absent")})
		var missing *types.ResourceNotFoundException
		if !errors.As(err, &missing) || missing.ErrorMessage() != "Stream absent under account 000000000000 not found." {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// in makes a request of a protocol.
func (h *harness) in(p protocol, operation string, body []byte) *http.Request {
	h.t.Helper()
	path := "/"
	if p == rpcCBOR {
		path = rpcPrefix + operation
	}
	r, err := http.NewRequestWithContext(h.t.Context(), "POST", h.url+path, bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", p.contentType())
	if p == rpcCBOR {
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
	} else {
		r.Header.Set("X-Amz-Target", targetPrefix+operation)
	}
	r.Header.Set("Authorization", anySignature)
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	return r
}

func TestJavaSpeaksCBOR(t *testing.T) {
	h := start(t, Config{})
	created := h.stream("orders", engine.StreamConfig{})
	d, err := created.Describe()
	if err != nil {
		t.Fatal(err)
	}
	// Java writes maps that have no length, and strings that have one.
	body := wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(wire.BeginCBORMap(nil), "StreamName"), "orders"))
	a := h.send(h.in(cbor11, "DescribeStreamSummary", body))
	if a.status != 200 || a.header.Get("Content-Type") != "application/x-amz-cbor-1.1" {
		t.Fatalf("answer is %d %v %x", a.status, a.header, a.body)
	}
	// A time is tag 1 and whole milliseconds.
	if want := wire.AppendCBORMillis(wire.AppendCBORText(nil, "StreamCreationTimestamp"), d.Created.UnixMilli()); !bytes.Contains(a.body, want) {
		t.Errorf("%x has no %x", a.body, want)
	}
}

func TestErrorsAreToldInTheProtocolOfTheRequest(t *testing.T) {
	h := start(t, Config{})
	for _, p := range []protocol{json11, cbor11, rpcCBOR} {
		body, err := appendShape(nil, p, &streamRef{StreamName: "absent", StreamARN: "arn:aws:kinesis:us-east-1:000000000000:stream/absent", StreamId: "x"})
		if err != nil {
			t.Fatal(err)
		}
		a := h.send(h.in(p, "DescribeStreamSummary", body))
		var e struct {
			Type    string `wire:"name=__type"`
			Message string `wire:"name=message"`
		}
		if err := decode(p, a.body, &e); err != nil {
			t.Fatalf("%s: %q is %v", p.contentType(), a.body, err)
		}
		if a.status != 400 || e.Type != "ResourceNotFoundException" || e.Message != "Stream absent under account 000000000000 not found." {
			t.Errorf("%s: %d %+v", p.contentType(), a.status, e)
		}
		if got := a.header.Get("Content-Type"); got != p.contentType() {
			t.Errorf("%s is answered in %s", p.contentType(), got)
		}
		if got := a.header.Get("Smithy-Protocol"); (p == rpcCBOR) != (got == "rpc-v2-cbor") {
			t.Errorf("%s is answered with Smithy-Protocol %q", p.contentType(), got)
		}
	}
}

func TestEveryAnswerHasTheHeadersOfAWS(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	seen := map[string]bool{}
	for _, a := range []reply{h.post("DescribeStreamSummary", `{"StreamName":"orders"}`), h.post("DescribeStreamSummary", `{}`), h.post("Nothing", `{}`)} {
		id := a.header.Get("x-amzn-RequestId")
		if len(id) != 36 || strings.Count(id, "-") != 4 || id[14] != '4' || seen[id] {
			t.Errorf("request id is %q", id)
		}
		seen[id] = true
		if got := a.header.Get("x-amz-id-2"); len(got) != 96 || seen[got] {
			t.Errorf("x-amz-id-2 is %q", got)
		}
		if _, err := http.ParseTime(a.header.Get("Date")); err != nil {
			t.Error(err)
		}
		if a.header.Get("Content-Length") == "" || a.header.Get("Content-Type") != "application/x-amz-json-1.1" {
			t.Errorf("headers are %v", a.header)
		}
	}
}

func TestRequestsThatNameNoOperationAreRefusedAsOnAWS(t *testing.T) {
	h := start(t, Config{})
	const denied = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>\n"
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
		body   string
	}{
		{"GET", func(r *http.Request) { r.Method, r.Body, r.ContentLength = "GET", nil, 0 }, 403, denied},
		{"PUT", func(r *http.Request) { r.Method = "PUT" }, 403, denied},
		{"no target", func(r *http.Request) { r.Header.Del("X-Amz-Target") }, 403, denied},
		{"an unknown operation", func(r *http.Request) { r.Header.Set("X-Amz-Target", "Kinesis_20131202.Nothing") }, 400, `{"__type":"UnknownOperationException"}`},
		{"another service", func(r *http.Request) { r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables") }, 400, `{"__type":"UnknownOperationException"}`},
		{"an unknown form", func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "Kinesis_20131202.Nothing")
			r.Header.Set("Content-Type", "text/plain")
		}, 400, "\xbf\x66__type\x78\x19UnknownOperationException\xff"},
		{"an empty body", func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, 400, `{"__type":"SerializationException","Message":"the body is empty"}`},
		{"no signature", func(r *http.Request) { r.Header.Del("Authorization") }, 400, `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
	} {
		r := h.in(json11, "DescribeStreamSummary", []byte("{}"))
		c.change(r)
		if a := h.send(r); a.status != c.status || string(a.body) != c.body {
			t.Errorf("%s: %d %q", c.name, a.status, a.body)
		}
	}
	r := h.in(rpcCBOR, "DescribeStreamSummary", nil)
	r.Header.Del("Smithy-Protocol")
	if a := h.send(r); a.status != 403 {
		t.Errorf("rpc without its header: %d %q", a.status, a.body)
	}
}

func TestPagesOfThisMachineMayUseAServerWithoutKeysAndNoOthers(t *testing.T) {
	h := start(t, Config{})
	keyed := start(t, Config{AccessKeys: []AccessKey{{ID: "AKID", Secret: "SECRET"}}})
	for _, c := range []struct {
		on      *harness
		origin  string
		allowed bool
	}{
		{h, "http://localhost:3000", true}, {h, "https://127.0.0.1", true}, {h, "http://[::1]:80", true},
		{h, "https://example.org", false}, {h, "null", false}, {h, "http://localhost.example.org", false}, {h, "://", false},
		{keyed, "https://example.org", true},
	} {
		r := c.on.in(json11, "DescribeStreamSummary", nil)
		r.Method = "OPTIONS"
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Access-Control-Request-Headers", "x-amz-target")
		r.Header.Set("Access-Control-Request-Method", "POST")
		a := c.on.send(r)
		allowed := a.status == 200 && a.header.Get("Access-Control-Allow-Origin") == "*" && a.header.Get("Access-Control-Allow-Headers") == "x-amz-target" &&
			a.header.Get("Access-Control-Allow-Methods") == "POST" && len(a.body) == 0
		if allowed != c.allowed {
			t.Errorf("%s: %d %v %s", c.origin, a.status, a.header, a.body)
		}
		r = c.on.in(json11, "DescribeStreamSummary", []byte("{}"))
		r.Header.Set("Origin", c.origin)
		if a := c.on.send(r); (a.status == 403) == c.allowed {
			t.Errorf("%s: %d %s", c.origin, a.status, a.body)
		}
	}
}

func TestRPCWithAForeignContentTypeIsRefused(t *testing.T) {
	h := start(t, Config{})
	for _, c := range []struct {
		label, body string
		status      int
	}{
		{"application/cbor", "\xa0", 200},
		{"application/cbor; charset=x", "\xa0", 200},
		{"", "", 200},
		{"", "\xa0", 415},
		{"application/json", "{}", 415},
		{"application/x-amz-json-1.1", "{}", 415},
		{"application/x-amz-cbor-1.1", "\xa0", 415},
		{"application/vnd.amazon.eventstream", "", 415},
		{"cbor;;", "\xa0", 415},
	} {
		r := h.in(rpcCBOR, "ListStreams", []byte(c.body))
		r.Header.Del("Content-Type")
		if c.body == "" {
			r.Body = nil
		}
		if c.label != "" {
			r.Header.Set("Content-Type", c.label)
		}
		a := h.send(r)
		if a.status != c.status || c.status != 200 && !strings.Contains(string(a.body), "UnsupportedMediaTypeException") {
			t.Errorf("%q with %q: %d %q, want %d", c.label, c.body, a.status, a.body, c.status)
		}
	}
}
