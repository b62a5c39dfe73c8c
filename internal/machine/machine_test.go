package machine

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestTheNameTellsCoresAndVersion(t *testing.T) {
	name := Name()
	for _, want := range []string{" cores, ", runtime.GOOS, runtime.Version()} {
		if !strings.Contains(name, want) {
			t.Errorf("%q does not tell %q", name, want)
		}
	}
}

func TestTheDiskBelowADirectoryHasAName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	if d := Disk(t.TempDir()); !strings.Contains(d, " on ") {
		t.Errorf("the disk is %q", d)
	}
}

func TestAFieldIsFoundByItsWholeName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "info")
	if err := os.WriteFile(file, []byte("model\t: 1\nmodel name\t: A Processor\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := field(file, "model name"); got != "A Processor" {
		t.Errorf("found %q", got)
	}
	if got := field(file, "name"); got != "" {
		t.Errorf("found %q for a name that is not there", got)
	}
	if got := field(file+"x", "model"); got != "" {
		t.Errorf("found %q in a file that is not there", got)
	}
}
