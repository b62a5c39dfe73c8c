package dynamodb

import (
	"testing"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
)

func TestFleetsOfOneApplicationInDifferentTablesShareNoMembers(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		client, ctx := api.Client(t, nil), t.Context()
		application, members := testdynamo.TableName(), testdynamo.TableName()
		var stores []*Store
		for _, table := range []string{application, testdynamo.TableName()} {
			stores = append(stores, open(t, client, Config{Application: application, Table: table, MembersTable: members}))
		}
		joined := lease.Member{Incarnation: "w#1", Worker: "w", Streams: lease.NewStreamSet("orders:1")}
		if _, err := stores[0].SwapMember(ctx, lease.Member{}, joined); err != nil {
			t.Fatal(err)
		}
		if _, err := stores[0].SwapNote(ctx, lease.Note{}, lease.Note{Name: "pause", Version: 1, Value: "all"}); err != nil {
			t.Fatal(err)
		}
		for i, s := range stores {
			rows, err := s.Members(ctx)
			notes, unread := s.Notes(ctx)
			if err != nil || unread != nil || len(rows) != 1-i || len(notes) != 1-i {
				t.Errorf("fleet %d has the members %v and the notes %v, errors %v, %v", i, rows, notes, err, unread)
			}
		}
	})
}

func TestTheKeysOfTwoFleetsDiffer(t *testing.T) {
	seen := map[string]Config{}
	for _, c := range []Config{
		{Application: "a"}, {Application: "a", Table: "b"}, {Application: "a", Table: "c"}, {Application: "b"},
		{Application: "a/b", Table: "c"}, {Application: "b", Table: "a"},
	} {
		c = c.withDefaults()
		if other, twice := seen[c.fleet()]; twice {
			t.Errorf("%q in %q, and %q in %q, have the key %q", c.Application, c.Table, other.Application, other.Table, c.fleet())
		}
		seen[c.fleet()] = c
	}
	if got := (Config{Application: "a"}).withDefaults().fleet(); got != "a" {
		t.Errorf("a fleet whose table has its name has the key %q", got)
	}
}
