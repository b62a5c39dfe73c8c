package kinesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"github.com/millrace/millrace/internal/wire"
)

const mediaJSON = "application/x-amz-json-1.1"

// endpoint is a server that answers GetRecords as a test wants it, and counts.
type endpoint struct {
	mu    sync.Mutex
	forms []string // content types of the requests
	*Stream
	log bytes.Buffer
}

// answering starts an endpoint. handle is called for each GetRecords, with its
// number and whether it is in CBOR.
func answering(t *testing.T, cfg Config, handle func(w http.ResponseWriter, n int, cbor bool)) *endpoint {
	e := &endpoint{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		e.mu.Lock()
		e.forms = append(e.forms, r.Header.Get("Content-Type"))
		n := len(e.forms)
		e.mu.Unlock()
		handle(w, n, r.Header.Get("Content-Type") == mediaCBOR)
	}))
	t.Cleanup(server.Close)
	cfg.Logger = slog.New(slog.NewTextHandler(&e.log, nil))
	s, err := New(clientOf(t, server.URL), "orders", cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.Stream = s
	return e
}

func (e *endpoint) inCBOR() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, form := range e.forms {
		if form == mediaCBOR {
			n++
		}
	}
	return n
}

// reply sends an answer.
func reply(w http.ResponseWriter, status int, media string, body []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// wantPage reads a page and compares it with an answer.
func wantPage(t *testing.T, s *Stream, out *sdk.GetRecordsOutput) {
	t.Helper()
	p, err := s.getRecords(t.Context(), "iterator", 100)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pageOf(out)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(allOf(p), allOf(want), sameRecord) || p.next != want.next {
		t.Fatal("other records came")
	}
}

func TestAnEndpointIsAskedInJSONWhereItDoesNotSpeakCBOR(t *testing.T) {
	out := answerOf(10, 100)
	good := inCBOR(out)
	for name, inCBOR := range map[string]func(w http.ResponseWriter){
		"an unknown operation": func(w http.ResponseWriter) {
			reply(w, 400, mediaJSON, []byte(`{"__type":"UnknownOperationException"}`))
		},
		"an error in CBOR": func(w http.ResponseWriter) {
			reply(w, 400, mediaCBOR, wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(wire.BeginCBORMap(nil), "__type"), "SerializationException")))
		},
		"a page for people":          func(w http.ResponseWriter) { reply(w, 415, "text/html", []byte("<h1>no</h1>")) },
		"a failure":                  func(w http.ResponseWriter) { reply(w, 500, mediaJSON, []byte(`{}`)) },
		"a connection that is cut":   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"answers that are cut":       func(w http.ResponseWriter) { reply(w, 200, mediaCBOR, good[:len(good)/2]) },
		"an invalid argument":        func(w http.ResponseWriter) { reply(w, 400, mediaJSON, []byte(`{"__type":"InvalidArgumentException"}`)) },
		"payloads in base64 as text": func(w http.ResponseWriter) { reply(w, 200, mediaCBOR, withTextPayloads(out)) },
		"JSON under CBOR's name":     func(w http.ResponseWriter) { reply(w, 200, mediaCBOR, inJSON(out)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := answering(t, Config{}, func(w http.ResponseWriter, n int, cbor bool) {
				if cbor {
					inCBOR(w)
				} else {
					reply(w, 200, mediaJSON, inJSON(out))
				}
			})
			for range 3 {
				wantPage(t, e.Stream, out)
			}
			if n := e.inCBOR(); n > 3 { // the SDK's attempts at what failed
				t.Errorf("it was asked in CBOR %d times", n)
			}
			if n := strings.Count(e.log.String(), "does not speak CBOR"); n != 1 {
				t.Errorf("that is told %d times: %s", n, &e.log)
			}
		})
	}
	t.Run("but answers in JSON", func(t *testing.T) {
		e := answering(t, Config{}, func(w http.ResponseWriter, n int, cbor bool) { reply(w, 200, mediaJSON, inJSON(out)) })
		wantPage(t, e.Stream, out)
	})
	t.Run("but is to", func(t *testing.T) {
		e := answering(t, Config{Encoding: CBOR}, func(w http.ResponseWriter, n int, cbor bool) {
			reply(w, 400, mediaJSON, []byte(`{"__type":"UnknownOperationException"}`))
		})
		if _, err := e.getRecords(t.Context(), "iterator", 1); code(err) != "UnknownOperationException" {
			t.Error(err)
		}
	})
}

// withTextPayloads is an answer in the CBOR of kinesis-mock.
func withTextPayloads(out *sdk.GetRecordsOutput) []byte {
	b := wire.BeginCBORArray(wire.AppendCBORText(wire.BeginCBORMap(nil), "Records"))
	for _, r := range out.Records {
		b = wire.AppendCBORText(wire.AppendCBORText(wire.BeginCBORMap(b), "SequenceNumber"), *r.SequenceNumber)
		b = wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(b, "Data"), "ZGF0YQ=="))
	}
	return wire.EndCBOR(wire.EndCBOR(b))
}

func TestAnEndpointThatSpeaksCBORIsAskedInNothingElse(t *testing.T) {
	out := answerOf(10, 100)
	failing := false
	e := answering(t, Config{}, func(w http.ResponseWriter, n int, cbor bool) {
		switch {
		case !cbor:
			reply(w, 400, mediaJSON, []byte(`{"__type":"UnknownOperationException"}`))
		case failing:
			reply(w, 500, "text/html", []byte("sorry"))
		default:
			reply(w, 200, mediaCBOR, inCBOR(out))
		}
	})
	wantPage(t, e.Stream, out)
	failing = true
	if _, err := e.getRecords(t.Context(), "iterator", 1); err == nil {
		t.Error("no error")
	}
	failing = false
	wantPage(t, e.Stream, out)
	if len(e.forms) != e.inCBOR() {
		t.Errorf("requests were %v", e.forms)
	}
}

func TestErrorsAreUnderstoodInEveryForm(t *testing.T) {
	for _, e := range []Encoding{JSON, CBOR} {
		end := answering(t, Config{Encoding: e}, func(w http.ResponseWriter, n int, cbor bool) {
			const kind, message = "ExpiredIteratorException", "Iterator expired."
			if !cbor {
				reply(w, 400, mediaJSON, fmt.Appendf(nil, `{"__type":%q,"message":%q}`, kind, message))
				return
			}
			b := wire.AppendCBORText(wire.AppendCBORText(wire.BeginCBORMap(nil), "__type"), kind)
			reply(w, 400, mediaCBOR, wire.EndCBOR(wire.AppendCBORText(wire.AppendCBORText(b, "message"), message)))
		})
		_, err := end.getRecords(t.Context(), "iterator", 1)
		if expired, ok := errors.AsType[*types.ExpiredIteratorException](err); !ok || expired.ErrorMessage() != "Iterator expired." {
			t.Errorf("in %v: %v", e, err)
		}
	}
}

func TestWhatIsUnusualIsLeftToTheSDK(t *testing.T) {
	out := answerOf(10, 100)
	// Two numbers of how far it is behind; the SDK takes the last one.
	strangeJSON := bytes.Replace(inJSON(out), []byte(`"MillisBehindLatest"`), []byte(`"MillisBehindLatest":5,"MillisBehindLatest"`), 1)
	strangeCBOR := wire.AppendCBORInt(wire.AppendCBORText(bytes.TrimSuffix(inCBOR(out), []byte{0xff}), "MillisBehindLatest"), 1234)
	strangeCBOR = wire.EndCBOR(strangeCBOR)
	for e, strange := range map[Encoding][]byte{JSON: strangeJSON, CBOR: strangeCBOR} {
		end := answering(t, Config{Encoding: e}, func(w http.ResponseWriter, n int, cbor bool) {
			media := mediaJSON
			if cbor {
				media = mediaCBOR
			}
			reply(w, 200, media, strange)
		})
		for range 3 {
			wantPage(t, end.Stream, out)
		}
		if len(end.forms) != 4 {
			t.Errorf("%d requests for 3 pages, want one more", len(end.forms))
		}
		if n := strings.Count(end.log.String(), "unusual"); n < 1 || strings.Count(end.log.String(), "\n") != 1 {
			t.Errorf("told: %s", &end.log)
		}
	}
}

func TestAnAnswerThatIsCutOffIsAskedForAgain(t *testing.T) {
	out := answerOf(1000, 1000)
	for e, answer := range map[Encoding][]byte{JSON: inJSON(out), CBOR: inCBOR(out)} {
		for _, length := range []bool{true, false} {
			end := answering(t, Config{Encoding: e}, func(w http.ResponseWriter, n int, cbor bool) {
				w.Header().Set("Content-Type", map[bool]string{true: mediaCBOR, false: mediaJSON}[cbor])
				if length {
					w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
				}
				if n%2 == 1 {
					w.Write(answer[:len(answer)/2])
					panic(http.ErrAbortHandler)
				}
				w.Write(answer)
			})
			for range 2 {
				wantPage(t, end.Stream, out)
			}
			if len(end.forms) != 4 {
				t.Errorf("%v: %d requests for 2 pages of which the first half came at first", e, len(end.forms))
			}
		}
	}
}

func TestAnAnswerThatDoesNotComeIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	e := answering(t, Config{Encoding: JSON, Timeout: 20 * time.Millisecond}, func(w http.ResponseWriter, n int, cbor bool) { <-release })
	defer close(release)
	_, err := e.getRecords(t.Context(), "iterator", 1)
	if err == nil || !strings.Contains(err.Error(), "no answer in 20ms (Config.Timeout)") {
		t.Error(err)
	}
	why := errors.New("the test wants it")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := e.getRecords(ctx, "iterator", 1); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestAnAnswerThatIsTooLargeIsNotRead(t *testing.T) {
	release := make(chan struct{})
	e := answering(t, Config{Encoding: JSON}, func(w http.ResponseWriter, n int, cbor bool) {
		w.Header().Set("Content-Length", strconv.Itoa(maxAnswer+1))
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	if _, err := e.getRecords(t.Context(), "iterator", 1); !errors.Is(err, errLarge) {
		t.Error(err)
	}
	if len(e.forms) != 1 || e.form.toSDK.Load() {
		t.Errorf("%d requests", len(e.forms))
	}
}

func TestWhatIsRefusedIsNotAskedAgainByTheSDK(t *testing.T) {
	e := answering(t, Config{}, func(w http.ResponseWriter, n int, cbor bool) {
		reply(w, 400, mediaJSON, []byte(`{"__type":"ProvisionedThroughputExceededException"}`))
	})
	if _, err := e.getRecords(t.Context(), "iterator", 1); !is[*types.ProvisionedThroughputExceededException](err) {
		t.Error(err)
	}
	if len(e.forms) != 1 {
		t.Errorf("%d requests", len(e.forms))
	}
}

func TestAnswersTogetherTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	out := answerOf(1000, 1000)
	answer := inCBOR(out)
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	e := answering(t, Config{ReceiveBytes: 5 << 20 / 2}, func(w http.ResponseWriter, n int, cbor bool) {
		w.Header().Set("Content-Type", mediaCBOR)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.(http.Flusher).Flush()
		arrived <- struct{}{}
		<-release
		w.Write(answer)
	})
	done := make(chan error)
	for range 6 {
		go func() {
			p, err := e.getRecords(t.Context(), "iterator", 1000)
			if err == nil && p.left() != 1000 {
				err = fmt.Errorf("%d records", p.left())
			}
			done <- err
		}()
	}
	for range 6 {
		<-arrived
	}
	for begin := time.Now(); e.receiving.TryAcquire(1); runtime.Gosched() {
		e.receiving.Release(1)
		if time.Since(begin) > 5*time.Second {
			t.Error("nobody has to wait")
			break
		}
	}
	close(release)
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// See sturdy.
func TestTheBodyOfARequestCanOnlyBeRead(t *testing.T) {
	in := &sdk.GetRecordsInput{ShardIterator: aws.String("iterator"), Limit: aws.Int32(7)}
	op := smithy.NewOperationSchema(schemas.GetRecords, schemas.GetRecordsInput, schemas.GetRecordsOutput)
	inner := awsjson.New11(schemas.Kinesis_20131202)
	for name, protocol := range map[string]smithyhttp.ClientProtocol{
		"JSON": sturdy{inner}, "JSON of a page": &exchange{sturdy: sturdy{inner}}, "CBOR of a page": &exchange{sturdy: sturdy{inner}, cbor: true},
	} {
		req := smithyhttp.NewStackRequest().(*smithyhttp.Request)
		if err := protocol.SerializeRequest(t.Context(), op, in, req); err != nil {
			t.Fatal(err)
		}
		n, ok, err := req.StreamLength()
		if err != nil || !ok || n == 0 {
			t.Errorf("%s: the length is %d, %v, %v", name, n, ok, err)
		}
		req.ContentLength = n
		built := req.Build(t.Context())
		if _, ok := built.Body.(io.WriterTo); ok {
			t.Errorf("%s: the body has a WriteTo", name)
		}
		if body, err := io.ReadAll(built.Body); err != nil || int64(len(body)) != n || !bytes.Contains(body, []byte("iterator")) {
			t.Errorf("%s: %q, %v", name, body, err)
		}
	}
}
