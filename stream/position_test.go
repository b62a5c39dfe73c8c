package stream_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 789_000_000, time.UTC)

func TestPositionsAreReadAndWritten(t *testing.T) {
	s := stream.MakeSequence(0, 0, 42)
	for text, p := range map[string]stream.Position{
		"":                                      {},
		"TRIM_HORIZON":                          stream.TrimHorizon,
		"LATEST":                                stream.Latest,
		"SHARD_END":                             stream.ShardEnd,
		"AT:42":                                 stream.At(s),
		"AFTER:42":                              stream.After(s),
		"AFTER:42/7":                            stream.After(s.WithSub(7)),
		"AT_TIMESTAMP:2026-11-23T12:00:00.789Z": stream.AtTime(noon),
		"AT_TIMESTAMP:0001-01-01T00:00:00.000Z": stream.AtTime(time.Time{}),
	} {
		if got := p.String(); got != text {
			t.Errorf("%#v is written as %q, want %q", p, got, text)
		}
		if got, err := stream.ParsePosition(text); err != nil || got != p {
			t.Errorf("ParsePosition(%q) = %#v, %v; want %#v", text, got, err, p)
		}
	}
}

func TestWhatIsNoPositionIsRefused(t *testing.T) {
	for _, text := range []string{"trim_horizon", "TRIM_HORIZON ", "TRIM_HORIZON:", "AT", "AT:", "AT:x", "AFTER", "AFTER:1/", "BEFORE:1",
		"AT_TIMESTAMP", "AT_TIMESTAMP:", "AT_TIMESTAMP:yesterday", "42", ":"} {
		if p, err := stream.ParsePosition(text); err == nil {
			t.Errorf("ParsePosition(%q) = %v, want an error", text, p)
		}
	}
}

func TestAPositionInJSONIsItsText(t *testing.T) {
	type row struct{ Checkpoint, Empty stream.Position }
	in := row{Checkpoint: stream.After(stream.MakeSequence(0, 0, 42).WithSub(1))}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"Checkpoint":"AFTER:42/1","Empty":""}` {
		t.Fatalf("%s, %v", text, err)
	}
	var out row
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestPositionsAreOrderedAsProgress(t *testing.T) {
	s := stream.MakeSequence(0, 0, 42)
	inOrder := []stream.Position{
		{}, stream.AtTime(noon), stream.AtTime(noon.Add(time.Millisecond)), stream.TrimHorizon, stream.Latest,
		stream.At(stream.Sequence{}), stream.At(s), stream.After(s), stream.At(s.WithSub(1)), stream.After(s.WithSub(1)),
		stream.At(s.Add(1)), stream.After(s.Add(1)), stream.ShardEnd,
	}
	for i, p := range inOrder {
		for j, q := range inOrder {
			if got, want := sign(p.Compare(q)), sign(i-j); got != want {
				t.Errorf("%q.Compare(%q) = %d, want %d", p, q, got, want)
			}
		}
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

func TestAPositionIncludesWhatLiesBehindIt(t *testing.T) {
	s := stream.MakeSequence(0, 0, 42)
	all := []stream.Sequence{s.Add(0), s.WithSub(1), s.Add(1)}
	for _, c := range []struct {
		at   stream.Position
		want []bool
	}{
		{stream.Position{}, []bool{false, false, false}},
		{stream.TrimHorizon, []bool{false, false, false}},
		{stream.Latest, []bool{false, false, false}},
		{stream.AtTime(noon), []bool{false, false, false}},
		{stream.At(s), []bool{false, false, false}},
		{stream.After(s), []bool{true, false, false}},
		{stream.At(s.WithSub(1)), []bool{true, false, false}},
		{stream.After(s.WithSub(1)), []bool{true, true, false}},
		{stream.After(s.Add(1)), []bool{true, true, true}},
		{stream.ShardEnd, []bool{true, true, true}},
	} {
		var got []bool
		for _, seq := range all {
			got = append(got, c.at.Includes(seq))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v includes %v: %v, want %v", c.at, all, got, c.want)
		}
	}
}

func TestAPositionTellsWhatItWasMadeOf(t *testing.T) {
	s := stream.MakeSequence(1, 2, 3).WithSub(4)
	if seq, after, ok := stream.At(s).Sequence(); seq != s || after || !ok {
		t.Errorf("At: %v, %v, %v", seq, after, ok)
	}
	if seq, after, ok := stream.After(s).Sequence(); seq != s || !after || !ok {
		t.Errorf("After: %v, %v, %v", seq, after, ok)
	}
	if got, ok := stream.AtTime(noon.Add(time.Microsecond)).Time(); !got.Equal(noon) || !ok {
		t.Errorf("AtTime: %v, %v", got, ok)
	}
	for _, p := range []stream.Position{{}, stream.TrimHorizon, stream.Latest, stream.ShardEnd} {
		if _, _, ok := p.Sequence(); ok {
			t.Errorf("%q has a sequence number", p)
		}
		if _, ok := p.Time(); ok {
			t.Errorf("%q has a time", p)
		}
		if p.IsZero() != (p == stream.Position{}) {
			t.Errorf("%q.IsZero() = %v", p, p.IsZero())
		}
	}
}

func TestTimesBeyondTheCalendarAreCut(t *testing.T) {
	for _, at := range []time.Time{{}, time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<60, 0), time.Unix(-1<<60, 0)} {
		p := stream.AtTime(at)
		if back, err := stream.ParsePosition(p.String()); err != nil || back != p {
			t.Errorf("the position %q of the year %d is read back as %v, %v", p, at.Year(), back, err)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{"", "TRIM_HORIZON", "LATEST", "SHARD_END", "AT:42", "AFTER:42/7", "AT_TIMESTAMP:2026-11-23T12:00:00.789Z",
		"AT_TIMESTAMP:0000-01-01T00:00:00+23:59", "AT_TIMESTAMP:9999-12-31T23:59:59-23:59"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := stream.ParsePosition(text)
		if err != nil {
			return
		}
		if back, err := stream.ParsePosition(p.String()); err != nil || back != p {
			t.Fatalf("%q is read as %q, and that as %q, %v", text, p, back, err)
		}
	})
}
