package lease

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/stream"
)

func TestAScopeThatFitsNothingIsRefusedAndTheLastPartOfAnARNWillDo(t *testing.T) {
	arn := func(region, name string) string { return "arn:aws:kinesis:" + region + ":111122223333:stream/" + name }
	row := func(name, shard string) Lease {
		return NewLease(name, name+":1", stream.Shard{ID: shard, Hash: stream.FullRange}, after(1))
	}
	rows := []Lease{
		row("s", "1"), row("s", "2"), row(arn("eu", "orders"), "1"),
		row(arn("eu", "twice"), "1"), row(arn("us", "twice"), "1"), row("twin", "1"), row(arn("eu", "twin"), "1"),
	}
	for i := range 30 {
		rows = append(rows, row("many", fmt.Sprint("shard-", i)))
	}
	gone := pausing("gone", "7")
	for _, test := range []struct {
		given Scope
		want  Scope
		err   string
	}{
		{Scope{}, Scope{}, ""},
		{Scope{Stream: "s"}, Scope{Stream: "s"}, ""},
		{Scope{"s", "2"}, Scope{"s", "2"}, ""},
		{Scope{"s", "nope"}, Scope{}, `no shard "nope" of s; it has 1, 2:`},
		{Scope{Stream: "no-such"}, Scope{}, `no stream "no-such"; it has arn:`},
		{Scope{"many", "nope"}, Scope{}, "and 10 more"},
		{Scope{Stream: "orders"}, Scope{Stream: arn("eu", "orders")}, ""},
		{Scope{"orders", "1"}, Scope{arn("eu", "orders"), "1"}, ""},
		{Scope{"orders", "2"}, Scope{}, `no shard "2" of arn:`},
		{Scope{Stream: "rders"}, Scope{}, "no stream"},
		{Scope{Stream: arn("eu", "orders")}, Scope{Stream: arn("eu", "orders")}, ""},
		{Scope{Stream: "twice"}, Scope{}, "give the whole name"},
		{Scope{Stream: "twin"}, Scope{Stream: "twin"}, ""},
		{gone.Scope, gone.Scope, ""},
	} {
		got, err := pictured(rows, nil, gone).find(test.given)
		if (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || !errors.Is(err, ErrNotPossible)) || err == nil && got != test.want {
			t.Errorf("%+v: got %+v, %v, want %+v, %q", test.given, got, err, test.want, test.err)
		}
	}
	if _, err := pictured(nil, nil).find(Scope{Stream: "s"}); err == nil || !strings.Contains(err.Error(), "it has none yet") {
		t.Errorf("without rows: %v", err)
	}
}
