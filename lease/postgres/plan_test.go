package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
)

// planOf returns how the server goes about a statement that was prepared,
// with or without a look at its arguments.
func planOf(t *testing.T, conn *pgx.Conn, statement string, args []any, generic bool) string {
	t.Helper()
	ctx := t.Context()
	mode := "force_custom_plan"
	if generic {
		mode = "force_generic_plan"
	}
	if _, err := conn.Exec(ctx, "SET plan_cache_mode = "+mode); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "PREPARE planned AS "+statement, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer conn.Exec(ctx, "DEALLOCATE planned")
	places := make([]string, len(args))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	rows, err := conn.Query(ctx, "EXPLAIN EXECUTE planned("+strings.Join(places, ", ")+")", append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return strings.Join(steps, "\n")
}

var parameter = regexp.MustCompile(`\$\d+`)

// argumentsFor cuts a list of arguments to how many a statement has.
func argumentsFor(statement string, args []any) []any {
	used := parameter.FindAllString(statement, -1)
	slices.Sort(used)
	return args[:len(slices.Compact(used))]
}

func TestEveryStatementGoesThroughAnIndexOfABigTable(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	ctx := t.Context()
	const n = 20_000
	for _, application := range []string{"app", "other"} {
		store := beside(t, server, Config{Application: application, Schema: s.schema})
		if err := store.Create(ctx, someLeases(n)...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.pool.Exec(ctx, qualified(`INSERT INTO millrace_member
		SELECT 'app' || i % 500, 'w/' || i, '', 1, 0, 0, false, false, 0, 0, 0, '', '', '', '', 0, 0, 0 FROM generate_series(1, 20000) i`, s.schema)); err != nil {
		t.Fatal(err)
	}
	rows := someLeases(100)
	var swaps []*swap
	for _, row := range rows {
		swaps = append(swaps, &swap{old: row, next: row})
	}
	member := s.memberValues("w/1", 1, lease.Member{}, true)
	guard := []any{s.application, rows[0].Key, rows[0].Counter, rows[0].Owner, ""}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			if _, err := conn.Exec(ctx, qualified("ANALYZE millrace_lease, millrace_member", s.schema)); err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			statement string
			args      []any
		}{
			"create":       {s.sql.createLeases, s.creation(rows)},
			"swap of one":  {s.sql.swapLeases, s.replacement(0, swaps[:1])},
			"swap of many": {s.sql.swapLeases, s.replacement(waitForRow, swaps)},
			"delete":       {s.sql.deleteLease, guard},
			"read one":     {s.sql.readLease, guard[:2]},
			"read many":    {s.sql.readLeases, []any{s.application, []string{rows[0].Key, rows[1].Key, "missing"}}},
			"page":         {s.sql.pageOfLeases, []any{s.application, rows[50].Key, page}},
			"owned":        {s.sql.ownedLeases, []any{s.application, "w7"}},
			"beat":         {s.sql.swapMember, member},
			"end":          {s.sql.endMember, []any{s.application, "w/1", 1, ""}},
			"member":       {s.sql.readMember, []any{s.application, "w/1"}},
			"members":      {s.sql.allMembers, []any{s.application}},
			"ended":        {s.sql.endedMembers, []any{s.application, []string{"w/1", "w/2"}, []int64{7, 8}, 9}},
		} {
			for _, generic := range []bool{false, true} {
				plan := planOf(t, conn.Conn(), c.statement, argumentsFor(c.statement, c.args), generic)
				if strings.Contains(plan, "Seq Scan") || name != "create" && !strings.Contains(plan, "Index") && !strings.Contains(plan, "Bitmap") {
					t.Errorf("%s, analyzed: %v, generic: %v:\n%s", name, analyzed, generic, plan)
				}
			}
		}
	}
}

// A checkpoint changes no index, so that the new row finds room beside the old
// one, and there is nothing for a vacuum to do.
func TestACheckpointChangesNoIndex(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	ctx := t.Context()
	rows := someLeases(50)
	if err := s.Create(ctx, rows...); err != nil {
		t.Fatal(err)
	}
	const rounds = 20
	for range rounds {
		for i, row := range rows {
			next := row
			next.Load.BytesPerSecond++
			var err error
			if rows[i], err = s.Swap(ctx, row, next); err != nil {
				t.Fatal(err)
			}
		}
	}
	var updates, hot int
	until(t, "the statistics have come", func() bool {
		err := s.pool.QueryRow(ctx, "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'millrace_lease'", s.schema).Scan(&updates, &hot)
		if err != nil {
			t.Fatal(err)
		}
		return updates >= rounds*len(rows)
	})
	if hot < updates*9/10 {
		t.Errorf("%d of %d updates left the indexes alone", hot, updates)
	}
}
