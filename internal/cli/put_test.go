package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

// sink is a stream that takes what it wants to.
type sink struct {
	got     []stream.Entry
	batches []int
	answer  func(call int, e stream.Entry) error // for one entry
	fail    func(call int) error                 // for a call
}

func (s *sink) Put(_ context.Context, entries ...stream.Entry) ([]stream.PutResult, error) {
	call := len(s.batches)
	s.batches = append(s.batches, len(entries))
	if s.fail != nil {
		if err := s.fail(call); err != nil {
			return nil, err
		}
	}
	results := make([]stream.PutResult, len(entries))
	for i, e := range entries {
		if s.answer != nil {
			results[i].Err = s.answer(call, e)
		}
		if results[i].Err == nil {
			e.Data = bytes.Clone(e.Data)
			s.got = append(s.got, e)
			results[i].Shard = "shard of " + e.PartitionKey[:1]
		}
	}
	return results, nil
}

func (s *sink) data() (all []string) {
	for _, e := range s.got {
		all = append(all, string(e.Data))
	}
	return all
}

// puts runs a putter over a text.
func puts(t *testing.T, p putter, to *sink, in string) (putDone, string, error) {
	t.Helper()
	var told strings.Builder
	p.to, p.err = to, &told
	if p.form == "" {
		p.form = "lines"
	}
	err := p.run(t.Context(), strings.NewReader(in))
	return p.done, told.String(), err
}

func TestEveryLineIsARecord(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                   nil,
		"a\nb\n":                             {"a", "b"},
		"a\nb":                               {"a", "b"},
		"a\r\n\nb\n\n\n":                     {"a", "b"},
		" a \n\t\n":                          {" a ", "\t"},
		"\xff\x00\nlast":                     {"\xff\x00", "last"},
		strings.Repeat("x", 100_000) + "\ny": {strings.Repeat("x", 100_000), "y"},
	} {
		var to sink
		done, told, err := puts(t, putter{key: "k"}, &to, in)
		if err != nil || told != "" || !slices.Equal(to.data(), want) || done.Stored != len(want) {
			t.Errorf("%.20q: %.50q, %+v, %q, %v", in, to.data(), done, told, err)
		}
	}
}

func TestABatchIsAsLargeAsKinesisTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to sink
		if _, _, err := puts(t, putter{key: "k"}, &to, strings.Repeat("x\n", 1203)); err != nil || !slices.Equal(to.batches, []int{500, 500, 203}) {
			t.Errorf("batches of %v, %v", to.batches, err)
		}
		to = sink{}
		if _, _, err := puts(t, putter{key: "k"}, &to, strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 8)); err != nil || !slices.Equal(to.batches, []int{3, 3, 2}) {
			t.Errorf("batches of %v, %v", to.batches, err)
		}
	})
}

func TestTheKeyIsGivenOrTakenFromTheLineOrARandomOne(t *testing.T) {
	keys := func(p putter, in string) (all []string) {
		var to sink
		if _, told, err := puts(t, p, &to, in); err != nil {
			t.Errorf("%v, %s", err, told)
		}
		for _, e := range to.got {
			all = append(all, e.PartitionKey)
		}
		return all
	}
	if got := keys(putter{key: "k"}, "a\nb"); !slices.Equal(got, []string{"k", "k"}) {
		t.Errorf("--key gives %q", got)
	}
	if got := keys(putter{keyField: "id"}, "{\"id\":\"u1\"}\n{\"id\":42,\"x\":{}}"); !slices.Equal(got, []string{"u1", "42"}) {
		t.Errorf("--key-field gives %q", got)
	}
	if got := keys(putter{}, "a\nb"); len(got) != 2 || got[0] == got[1] || got[0] == "" {
		t.Errorf("without a word of it: %q", got)
	}
}

func TestLinesOfJSONTellAllOfARecord(t *testing.T) {
	var to sink
	_, told, err := puts(t, putter{form: "ndjson", key: "none"}, &to, strings.Join([]string{
		`{"partition_key":"a","data":"text \u00e9\n"}`,
		`{"partition_key":"b","data":{"x": [1, 2]}}`,
		`{"partition_key":"c","data_base64":"AAEC","explicit_hash_key":"42"}`,
		`{"data":""}`,
		`{"shard":"s","sequence":"1","arrival":"2026-11-23T00:00:00Z","partition_key":"d","data":7}`,
	}, "\n"))
	want := []stream.Entry{
		{PartitionKey: "a", Data: []byte("text é\n")},
		{PartitionKey: "b", Data: []byte(`{"x": [1, 2]}`)},
		{PartitionKey: "c", Data: []byte{0, 1, 2}, HashKey: stream.Hash{Lo: 42}, HasHashKey: true},
		{PartitionKey: "none", Data: []byte{}},
		{PartitionKey: "d", Data: []byte("7")},
	}
	same := func(a, b stream.Entry) bool {
		return a.PartitionKey == b.PartitionKey && bytes.Equal(a.Data, b.Data) && a.HashKey == b.HashKey && a.HasHashKey == b.HasHashKey
	}
	if err != nil || !slices.EqualFunc(to.got, want, same) {
		t.Errorf("%v, %v, %s", to.got, err, told)
	}
}

func TestWhatARecordIsWrittenAsIsReadAgain(t *testing.T) {
	for _, r := range []stream.Record{
		{PartitionKey: "k", Data: []byte("text <&> \u2028")},
		{PartitionKey: "k", Data: []byte{}},
		{PartitionKey: "é", Data: []byte{0xff, 0, 1}, HashKey: stream.MaxHash, HasHashKey: true},
		{PartitionKey: "k", Data: []byte(`{"a":1}`), Sequence: stream.MakeSequence(1, 2, 3).WithSub(4), Arrival: time.UnixMilli(1)},
	} {
		line, err := json.Marshal(toJSON("shard", &r))
		if err != nil {
			t.Fatal(err)
		}
		e, err := fromJSON(line)
		if err != nil || e.PartitionKey != r.PartitionKey || !bytes.Equal(e.Data, r.Data) || e.HashKey != r.HashKey || e.HasHashKey != r.HasHashKey {
			t.Errorf("%s is read as %+v, %v", line, e, err)
		}
	}
}

func TestLinesThatAreNoRecordsAreToldOfAndTheOthersStored(t *testing.T) {
	for name, c := range map[string]struct {
		p    putter
		bad  string
		says string
	}{
		"no JSON":       {putter{form: "ndjson"}, "{", "unexpected EOF"},
		"no object":     {putter{form: "ndjson"}, "7", "cannot unmarshal number"},
		"no data":       {putter{form: "ndjson"}, `{"partition_key":"k"}`, `neither "data" nor "data_base64"`},
		"data twice":    {putter{form: "ndjson"}, `{"data":"a","data_base64":"AA=="}`, "give one"},
		"a misspelling": {putter{form: "ndjson"}, `{"data":"a","partitionkey":"x"}`, `unknown field "partitionkey"`},
		"two objects":   {putter{form: "ndjson"}, `{"data":"a"} {"data":"b"}`, "something behind the object"},
		"a bad hash":    {putter{form: "ndjson"}, `{"data":"a","explicit_hash_key":"x"}`, `hash key "x"`},
		"no field":      {putter{keyField: "id"}, `{"data":"a"}`, `no field "id"`},
		"no such JSON":  {putter{keyField: "id"}, `a`, "no JSON object"},
		"too long":      {putter{form: "ndjson"}, strings.Repeat("x", maxLine+1), "longer than 16 MiB"},
	} {
		var to sink
		good := `{"data":"good","id":"i"}`
		if c.p.form == "ndjson" {
			good = `{"data":"good"}`
		}
		done, told, err := puts(t, c.p, &to, good+"\n"+c.bad+"\n"+good+"\n")
		if !errors.Is(err, errPartly) || exitCode(err) != exitPartly || done.Stored != 2 || done.Refused != 1 ||
			!strings.HasPrefix(told, "line 2 is not stored: ") || !strings.Contains(told, c.says) {
			t.Errorf("%s: %+v, %q, %v", name, done, told, err)
		}
	}
	var to sink
	if _, told, err := puts(t, putter{form: "ndjson"}, &to, strings.Repeat("x\n", 1000)); strings.Count(told, "\n") != mostTold+1 || !errors.Is(err, errPartly) {
		t.Errorf("of 1000 lines it told\n%s", told)
	}
}

func TestWhatIsThrottledIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := sink{
			answer: func(call int, e stream.Entry) error {
				switch {
				case string(e.Data) == "5":
					return errors.New("never")
				case call < 3 && string(e.Data) > "2":
					return fmt.Errorf("slow down: %w", stream.ErrThrottled)
				}
				return nil
			},
			fail: func(call int) error {
				if call == 1 {
					return stream.ErrThrottled
				}
				return nil
			},
		}
		done, told, err := puts(t, putter{key: "k"}, &to, "1\n2\n3\n4\n5\n6\n")
		if !errors.Is(err, errPartly) || done.Stored != 5 || done.Refused != 1 || told != "line 5 is not stored: never\n" {
			t.Errorf("%+v, %q, %v", done, told, err)
		}
		if want := []int{6, 3, 3, 3}; !slices.Equal(to.batches, want) || !slices.Equal(to.data(), []string{"1", "2", "3", "4", "6"}) {
			t.Errorf("batches of %v, stored %q", to.batches, to.data())
		}
	})
}

func TestACallThatFailsNamesItsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("the disk is full")
		to := sink{fail: func(call int) error {
			if call == 1 {
				return away
			}
			return nil
		}}
		done, told, err := puts(t, putter{key: "k"}, &to, strings.Repeat("x\n", 700))
		if !errors.Is(err, away) || exitCode(err) != exitFailed || done.Stored != 500 || !strings.Contains(told, "lines 501 to 700") {
			t.Errorf("%+v, %q, %v", done, told, err)
		}
	})
}

func TestLinesAreStoredWhenTheInputPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to sink
		p := putter{form: "lines", key: "k", to: &to, err: io.Discard}
		in, typed := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx, in) }()
		fmt.Fprint(typed, "1\n2\n")
		time.Sleep(2 * putLinger)
		synctest.Wait()
		if !slices.Equal(to.data(), []string{"1", "2"}) {
			t.Errorf("stored %q", to.data())
		}
		fmt.Fprint(typed, "3\n")
		synctest.Wait()
		cancel() // before it was time to store it
		if err := <-ended; exitCode(err) != exitInterrupted || !slices.Equal(to.data(), []string{"1", "2", "3"}) {
			t.Errorf("stored %q, %v", to.data(), err)
		}
		typed.Close() // ends the read that was left alone
		synctest.Wait()
	})
}

func TestPutCountsWhatItStored(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	sh.ok("", "stream", "create", "s", "--data", dir, "--shards", "2")
	if out := sh.ok("a\nb\nc\n", "put", "s", "-data", dir, "--key", "k"); out != "stored 3 records, 6 bytes, in 1 shard\n" {
		t.Errorf("put says %q", out)
	}
	var done putDone
	large := `{"data":"x"}` + "\n" + `{"data":"` + strings.Repeat("x", 2<<20) + `"}` + "\n"
	a := sh.run(large, "put", "s", "-data", dir, "--key", "k", "--format", "ndjson", "-o", "json")
	if err := json.Unmarshal([]byte(a.out), &done); err != nil || a.exit != exitPartly || done != (putDone{Stored: 1, Refused: 1, Bytes: 2, Shards: 1}) {
		t.Errorf("exit %d, %+v, %v, %s", a.exit, done, err, a.err)
	}
	if !strings.Contains(a.err, "line 2 is not stored") {
		t.Errorf("it says %q", a.err)
	}
	sh.fails(exitFailed, "no such file", "put", "s", dir+"/none", "--data", dir)
}

func FuzzReadLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := make(chan line)
		go readLines(t.Context(), bufio.NewReader(bytes.NewReader(text)), lines)
		var got [][]byte
		for l := range lines {
			if l.err != nil || len(l.text) == 0 {
				t.Fatalf("%+v", l)
			}
			got = append(got, l.text)
			_, _ = fromJSON(l.text)
		}
		var want [][]byte
		for part := range bytes.SplitSeq(text, []byte("\n")) {
			if part = bytes.TrimSuffix(part, []byte("\r")); len(part) > 0 {
				want = append(want, part)
			}
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("%q is read as %q, want %q", text, got, want)
		}
	})
}
