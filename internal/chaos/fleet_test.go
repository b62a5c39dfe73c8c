package chaos

import (
	"context"
	"maps"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/postgres"
)

// length is for how long a fleet is disturbed: 20 s, or MILLRACE_CHAOS.
func length(t *testing.T) time.Duration {
	t.Helper()
	if testing.Short() {
		t.Skip("disturbs real processes for half a minute; not with -short")
	}
	text := os.Getenv("MILLRACE_CHAOS")
	if text == "" {
		return 20 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("MILLRACE_CHAOS is %q: give the time for which each fleet is disturbed, as 15m", text)
	}
	return d
}

func TestAFleetOverPostgreSQLKeepsItsPromisesUnderChaos(t *testing.T) {
	lasts := length(t)
	t.Parallel()
	server := testpg.Start(t)
	trial(t, lasts, inPostgres(t, server))
}

// trial disturbs a fleet and holds it against the promises.
func trial(t *testing.T, lasts time.Duration, b backend) {
	began := time.Now()
	a := newArena(t, b)
	l := a.run(lasts)
	found := l.audit()
	for _, problem := range found.problems {
		t.Error(problem)
	}
	faults := map[string]int{}
	for _, f := range l.faults {
		faults[f.kind]++
	}
	t.Logf("done to them: %v", faults)
	t.Logf("records came again after: %v", found.againAfter)
	most, afterOutage := a.most(0, time.Now().UnixNano()), a.mostAfterOutage()
	if afterOutage > mostRequests {
		t.Errorf("L3: %d requests in one second when the store was back, want %d at most", afterOutage, mostRequests)
	}
	var late int64
	for _, s := range a.slots {
		late += s.link.late.Load()
	}
	if t.Failed() {
		return
	}
	proof.Report(t, "worker processes over "+b.name, "seconds of chaos", int(lasts.Seconds()), "processes", generations(a),
		"faults", len(l.faults), "killed", faults[killed], "stopped in good order", a.deploys, "moved by an operator", a.orders[lease.ActionMove],
		"paused by an operator", a.orders[lease.ActionPause], "workers drained by an operator", a.orders[lease.ActionDrain], "begun again by an operator", a.orders[lease.ActionSeek],
		"records acknowledged", found.records, "lost", 0, "booked in the transaction of their checkpoint", found.booked, "booked twice", 0,
		"shards ended", found.ended, "terms", found.terms, "handed over while their holder lived", found.handoffs, "terms held by two at one time", 0,
		"terms lost", found.lapsed, "of them without a fault", found.unprovoked, "writes refused", found.refused, "writes without an answer", found.unknown, "requests that came late", late,
		"records again after a fault", found.again, "again after a clean end", 0, "most requests in a second", most, "most of them after an outage", afterOutage,
		"seconds in all", int(time.Since(began).Seconds()))
	proof.Report(t, "done to worker processes over "+b.name, counted(faults)...)
	proof.Report(t, "why records came again over "+b.name, counted(found.againAfter)...)
}

// counted returns names and numbers as figures.
func counted(m map[string]int) (figures []any) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		figures = append(figures, name, m[name])
	}
	return figures
}

func generations(a *arena) (n int) {
	for _, s := range a.slots {
		n += s.generation
	}
	return n
}

func inPostgres(t *testing.T, server *testpg.Server) backend {
	const application = "fleet"
	pool := server.Pool(t)
	store, err := postgres.New(pool, postgres.Config{Application: application, Schema: application})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	return backend{
		name: "PostgreSQL", target: address.Host, store: store,
		reach: func(cfg *fleet.Config, at string) {
			there := *address
			there.Host = at
			cfg.Postgres, cfg.Application = there.String(), application
		},
		booked: func(ctx context.Context) (map[string]booking, error) {
			table := pgx.Identifier{fleet.BookTable(application)}.Sanitize()
			rows, err := pool.Query(ctx, "SELECT record, count(*), max(term) FROM "+table+" GROUP BY record")
			if err != nil {
				return nil, err
			}
			booked := map[string]booking{}
			var record string
			var b booking
			_, err = pgx.ForEachRow(rows, []any{&record, &b.times, &b.term}, func() error { booked[record] = b; return nil })
			return booked, err
		},
		// It is taken down in the middle of whatever it does.
		globals: []global{{"store restarted", func(ctx context.Context, _ *arena) {
			server.Kill(t)
			rest(ctx, between(0, 0.5))
			server.Resume(t)
		}}},
	}
}
