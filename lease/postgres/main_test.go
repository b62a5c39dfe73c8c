package postgres

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/testpg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testpg.Main(m)) }
