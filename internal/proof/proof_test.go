package proof

import (
	"fmt"
	"testing"
)

// recorder keeps what a test would log.
type recorder struct {
	testing.TB
	log string
}

func (r *recorder) Helper()      {}
func (r *recorder) Log(a ...any) { r.log = fmt.Sprint(a...) }

func TestWhatIsReportedIsFoundInTheLog(t *testing.T) {
	r := &recorder{TB: t}
	Report(r, "crash images", "images", 1000, "mode", "durable")
	p, ok := Parse("    crash_test.go:12: " + r.log)
	if !ok || p.Name != "crash images" || len(p.Figures) != 2 {
		t.Fatalf("found %v, %+v", ok, p)
	}
	if got := fmt.Sprint(p.Figures); got != "[{images 1000} {mode durable}]" {
		t.Errorf("figures are %s", got)
	}
}

func TestFiguresComeInPairs(t *testing.T) {
	if line, err := Line("crash images", "images"); err == nil {
		t.Errorf("a name without a value gives %s", line)
	}
}

func TestOtherLinesAreNoProof(t *testing.T) {
	for _, line := range []string{"", "ok  \tpackage\t1.2s", "proof: ", "proof: {}", "a proof: of nothing"} {
		if p, ok := Parse(line); ok {
			t.Errorf("%q gives %+v", line, p)
		}
	}
}
