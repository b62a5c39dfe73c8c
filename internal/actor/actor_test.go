package actor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestActorsDrawWhatIsTheirsAndNothingElse(t *testing.T) {
	first := func(seed uint64, name string, i int) uint64 { return Source(seed, name, i).Uint64() }
	once := first(1, "producer", 1)
	if again := first(1, "producer", 1); again != once {
		t.Error("an actor draws something else the next time")
	}
	for _, other := range []uint64{first(2, "producer", 1), first(1, "slot", 1), first(1, "producer", 2)} {
		if other == once {
			t.Error("two actors draw the same")
		}
	}
}

func TestASleeperWakesInTimeOrWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Sleep(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("slept %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if Sleep(ctx, time.Hour) || time.Since(began) != time.Hour+time.Minute {
			t.Errorf("woke after %v", time.Since(began))
		}
	})
}
