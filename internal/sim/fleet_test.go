package sim

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/proof"
)

var (
	seed  = flag.Uint64("seed", 0, "simulate this seed alone, and show what the workers say; incidents are played with it alone")
	seeds = flag.Int("seeds", 40, "how many seeds to simulate, half of them in each mode; a seed of one hour is about five fleet-hours: 2,000 for 10,000 fleet-hours, 20,000 for 100,000")
	hours = flag.Float64("hours", 1, "virtual hours of faults in each simulation")
	procs = flag.Int("procs", runtime.NumCPU(), "how many processes simulate at the same time")
)

// modeOf says in which mode a seed is simulated.
func modeOf(seed uint64) Mode {
	if seed%2 == 0 {
		return Safety
	}
	return Liveness
}

// simulate runs one seed.
func simulate(t *testing.T, n uint64, log *slog.Logger) (report Report, err error) {
	synctest.Test(t, func(t *testing.T) {
		report, err = Run(t.Context(), Options{
			Seed: n, Mode: modeOf(n), Time: time.Duration(*hours * float64(time.Hour)), Logger: log,
		})
	})
	return report, err
}

func TestFleetsKeepTheirPromisesAndComeToRest(t *testing.T) {
	if *seed != 0 {
		report, err := simulate(t, *seed, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
		t.Logf("%v, %+v", modeOf(*seed), report)
		if err != nil {
			t.Error(err)
		}
		return
	}
	count := *seeds
	if testing.Short() {
		count = min(count, 4)
	}
	totals := map[Mode]*total{Safety: {}, Liveness: {}}
	done, told := 0, time.Now()
	parallel(t, count, *procs, func(o outcome) {
		totals[modeOf(o.Seed)].add(o)
		if done++; time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("%d of %d seeds, %.0f fleet-hours", done, count, (totals[Safety].FleetTime + totals[Liveness].FleetTime).Hours())
		}
		if o.Err != "" {
			t.Errorf("%v: replay with: go test ./internal/sim -run TestFleets -seed %d -hours %g\n%s", modeOf(o.Seed), o.Seed, *hours, o.Err)
		}
	})
	for _, mode := range []Mode{Safety, Liveness} {
		if r := totals[mode]; r.seeds > 0 {
			r.report(t, fmt.Sprintf("fleets, %v", mode))
		}
	}
}

// total is what several seeds saw.
type total struct {
	Report
	seeds, failed int
}

func (s *total) add(o outcome) {
	s.seeds++
	s.Add(o.Report)
	if o.Err != "" {
		s.failed++
	}
}

func (s *total) report(t *testing.T, name string) {
	t.Helper()
	proof.Report(t, name,
		"seeds", s.seeds,
		"fleet-hours", int(s.FleetTime.Hours()),
		"worker lives", s.Lives,
		"crashes", s.Crashes,
		"freezes", s.Freezes,
		"cuts", s.Cuts,
		"streams hung", s.Hangs,
		"store outages", s.Outages,
		"deploys", s.Stops,
		"reshards", s.Reshards,
		"terms", s.Checked.Terms,
		"handoffs", s.Moves.Handoffs,
		"handoffs forced", s.Moves.Forced,
		"deliveries", s.Checked.Deliveries,
		"redeliveries", s.Checked.Repeats,
		"checkpoints", s.Checked.Stored,
		"stale writes refused", s.Checked.Refused+s.EffectsRefused,
		"longest rest s", s.Rest.Seconds(),
		"longest latency at rest s", s.Latency.Seconds(),
		"violations", s.Checked.Violations,
		"seeds failed", s.failed,
	)
}

func TestLeasesStayWhileOnlyLoadsWaver(t *testing.T) {
	const few = 5 // in an hour, of which some are made when the first loads are known
	last := uint64(3)
	if testing.Short() {
		last = 1
	}
	for n := uint64(1); n <= last; n++ {
		synctest.Test(t, func(t *testing.T) {
			report, err := Run(t.Context(), Options{Seed: n, Mode: Calm, Time: time.Hour, Workers: 5, Shards: 4 + 3*int(n)})
			if err != nil {
				t.Error(err)
			}
			if report.Moves.Balanced > few {
				t.Errorf("seed %d: %d leases moved for balance", n, report.Moves.Balanced)
			}
		})
	}
}
