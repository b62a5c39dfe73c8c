package postgres

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/testpg"
)

func TestMain(m *testing.M) {
	if os.Getenv(envChild) != "" {
		fmt.Fprintln(os.Stderr, child())
		os.Exit(1)
	}
	goleak.VerifyTestMain(testpg.Main(m))
}
