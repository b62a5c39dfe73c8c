package testclients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Shell runs a script as somebody types it who has the AWS CLI, and credentials and
// the endpoint in the environment. It returns what the script printed; a command
// that fails ends it, and fails the test. The script works in a folder of its own.
func Shell(t testing.TB, at Endpoint, script string) string {
	t.Helper()
	bin := filepath.Join(have(t, "the AWS CLI", folder(pythonInstall)), "venv", "bin")
	key, secret := at.credentials()
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(),
		"PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"AWS_ENDPOINT_URL_KINESIS="+at.URL, "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1",
	)
	if at.CA != "" {
		cmd.Env = append(cmd.Env, "AWS_CA_BUNDLE="+at.CA)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the shell: %v\n%s\n%s", err, out, &stderr)
	}
	return string(out)
}
