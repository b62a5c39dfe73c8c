package sqlite

import (
	"testing"
	"time"

	"github.com/millrace/millrace/lease/leasetest"
)

func TestAnOperatorActsOnARunningFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	t.Parallel()
	leasetest.Operate(t, open(t, file(t), Config{Application: "app", PollInterval: 50 * time.Millisecond}))
}
