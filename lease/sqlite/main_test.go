package sqlite

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, in the processes that they start, one of the
// parts that a process can play.
func TestMain(m *testing.M) {
	if part := os.Getenv(partVariable); part != "" {
		os.Exit(play(part))
	}
	goleak.VerifyTestMain(m)
}
