package server

import (
	"strings"
	"testing"
)

// FuzzNames gives texts of clients to all that takes them apart.
func FuzzNames(f *testing.F) {
	s := &Server{config: Config{}.withDefaults()}
	st, err := openState("")
	if err != nil {
		f.Fatal(err)
	}
	s.state = st
	for _, text := range []string{
		ordersARN, ordersARN + "/consumer/app:1", "shardId-000000000001", "arn:aws:kinesis:::stream/", "",
		s.nextPage("ListShards", page{Stream: "orders", After: "x"}),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if a, ok := parseARN(text); ok && (a.stream == "" || strings.Contains(a.stream, "/")) {
			t.Errorf("%q is of the stream %q", text, a.stream)
		}
		if full, ok := fullShardID(text); ok && len(full) != len("shardId-000000000000") {
			t.Errorf("%q is %q in full", text, full)
		}
		if p, err := s.openPage("ListShards", text); err == nil && (p.Stream != "orders" || p.After != "x") {
			t.Errorf("%q was accepted as %+v", text, p) // no other token was ever made
		}
		keyForms.MatchString(text)
	})
}
