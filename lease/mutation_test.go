package lease_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
)

// Each safety mechanism is switched off in turn, and the simulation has to
// notice. Those that it notices too rarely are proved by tests of their own;
// see the table in mutation_test.go.
func TestWithoutASafetyMechanismTheSimulationFails(t *testing.T) {
	for name, hooks := range lease.Sabotage {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= uint64(*flagSeeds); seed++ {
				var err error
				synctest.Test(t, func(t *testing.T) {
					s := newSim(seed, 8)
					s.hooks = hooks
					err = s.run(5, time.Duration(*flagHours*float64(time.Hour)), true)
				})
				if err != nil {
					t.Logf("seed %d: %.200v", seed, err)
					return
				}
			}
			t.Error(fmt.Sprint("not noticed in ", *flagSeeds, " simulations"))
		})
	}
}
