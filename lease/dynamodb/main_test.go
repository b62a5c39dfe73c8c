package dynamodb

import (
	"testing"

	"github.com/millrace/millrace/internal/testdynamo"
)

func TestMain(m *testing.M) { testdynamo.Main(m) }
