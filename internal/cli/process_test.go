package cli

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// millrace builds the command.
func millrace(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "millrace")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/millrace/millrace/cmd/millrace").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestNoRecordIsLostWhenTheServerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the command")
	}
	binary := millrace(t)
	sh := newShell(t)
	dir := t.TempDir()
	var want []string
	for i := range 3 {
		server := exec.CommandContext(t.Context(), binary, "serve", "-data", dir, "-listen", "127.0.0.1:0", "-create", "orders:4")
		var complaints strings.Builder
		server.Stderr = &complaints
		out, err := server.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		url := ""
		for lines := bufio.NewScanner(out); url == "" && lines.Scan(); {
			url = urlForm.FindString(lines.Text())
		}
		sh.env["MILLRACE_ENDPOINT"] = url
		numbers := upTo(1000*i, 1000*i+999)
		want = append(want, numbers...)
		sh.ok(strings.Join(numbers, "\n"), "put", "orders")
		got := strings.Fields(sh.ok("", "tail", "orders", "-o", "raw"))
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("start %d: %d records, want %d", i, len(got), len(want))
		}
		if i == 1 {
			if err := server.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if err := server.Wait(); err != nil {
				t.Errorf("ended by SIGTERM: %v\n%s", err, complaints.String())
			}
			continue
		}
		if err := server.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = server.Wait()
	}
	// Nobody holds the directory any more.
	sh.env = map[string]string{"MILLRACE_DATA": dir}
	got := strings.Fields(sh.ok("", "tail", "orders", "-o", "raw"))
	if len(got) != len(want) {
		t.Errorf("in the end %d records, want %d", len(got), len(want))
	}
}
