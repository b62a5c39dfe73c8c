package sim

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed  = flag.Uint64("seed", 0, "simulate this seed alone, and show what the workers say")
	seeds = flag.Int("seeds", 20, "how many seeds to simulate")
	hours = flag.Float64("hours", 1, "virtual hours of faults in each simulation")
)

func TestFleetsKeepTheirPromisesAndComeToRest(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if testing.Short() {
		last = 1
	}
	if *seed != 0 {
		first, last = *seed, *seed
	}
	var fleetTime time.Duration
	for n := first; n <= last; n++ {
		t.Run(fmt.Sprint("seed ", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Seed: n, Time: time.Duration(*hours * float64(time.Hour)), Workers: 5, Shards: 6}
				if *seed != 0 {
					o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
				}
				report, err := Run(t.Context(), o)
				fleetTime += report.FleetTime
				t.Logf("%+v", report)
				if err != nil {
					t.Errorf("replay with: go test ./internal/sim -seed %d -hours %g\n%v", n, *hours, err)
				}
			})
		})
	}
	t.Logf("%.1f fleet-hours", fleetTime.Hours())
}

func TestLeasesStayWhileOnlyLoadsWaver(t *testing.T) {
	const few = 5 // in an hour, of which some are made when the first loads are known
	last := uint64(3)
	if testing.Short() {
		last = 1
	}
	for n := uint64(1); n <= last; n++ {
		synctest.Test(t, func(t *testing.T) {
			report, err := Run(t.Context(), Options{Seed: n, Time: time.Hour, Workers: 5, Shards: 4 + 3*int(n), Quiet: true})
			if err != nil {
				t.Error(err)
			}
			if report.Balanced > few {
				t.Errorf("seed %d: %d leases moved for balance", n, report.Balanced)
			}
		})
	}
}
