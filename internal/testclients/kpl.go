package testclients

import (
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// Packed is a record that the KPL has put, most probably with others in one.
type Packed struct {
	Data, Key, Shard, Sequence string
}

// Produce lets the KPL put some hundred records to a stream, and returns them. It
// speaks HTTPS alone, and trusts any certificate here.
func Produce(t testing.TB, at Endpoint, stream string) (records []Packed) {
	t.Helper()
	classPath := have(t, "the KPL", producer.install)
	endpoint, err := url.Parse(at.URL)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "java", "-XX:TieredStopAtLevel=1", "-cp", classPath, "Producer", endpoint.Port(), stream, t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the KPL: %v\n%s", err, &stderr)
	}
	for line := range strings.Lines(string(out)) {
		var r Packed
		if _, err := fmt.Sscan(line, &r.Data, &r.Key, &r.Shard, &r.Sequence); err != nil {
			t.Fatalf("the KPL's program said %q: %v", line, err)
		}
		records = append(records, r)
	}
	return records
}
