package kinesis

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(endpointVariable) != "" {
		serveEndpoint()
	}
	goleak.VerifyTestMain(m)
}
