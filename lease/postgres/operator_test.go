package postgres

import (
	"testing"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease/leasetest"
)

func TestAnOperatorActsOnARunningFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	t.Parallel()
	leasetest.Operate(t, open(t, testpg.Shared(t), Config{Application: "app"}))
}
