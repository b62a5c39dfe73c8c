package dynamodb

import (
	"testing"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease/leasetest"
)

func TestAnOperatorActsOnARunningFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	t.Parallel()
	leasetest.Operate(t, open(t, testdynamo.Any(t).Client(t, nil), Config{}))
}
