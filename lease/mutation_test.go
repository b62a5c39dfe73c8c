package lease_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
)

// Safety mechanisms are switched off in turn, and the simulation has to notice.
//
//	switched off                                    noticed as
//	unguarded      the guard of checkpoints         a former holder is not refused
//	immortal       fencing oneself by the clock     F5: two hold a shard
//	trustUnknown   reading back unknown writes      F2, F4, C5: terms that nobody issued
//	orphan         waiting for parents              P1, C3
//	skipHandoff    asking a live owner              F5
//	deafOwners     polling without being told       L2: a shard stays idle
//
// TestRule has the others: bumpFirst, applyLate, forgetPending, forceEarly,
// seizeUnfenced.
func TestWithoutASafetyMechanismTheSimulationFails(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates hours for each mechanism")
	}
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
