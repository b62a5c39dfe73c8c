package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Disk names the file system that a directory lies on and the disk below it,
// as far as the system tells.
func Disk(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "unknown file system"
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "unknown file system"
	}
	var best []string // device, mount point, kind, options
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 4 || dir != f[1] && !strings.HasPrefix(dir, strings.TrimSuffix(f[1], "/")+"/") {
			continue
		}
		if best == nil || len(f[1]) >= len(best[1]) {
			best = f
		}
	}
	if best == nil {
		return "unknown file system"
	}
	return fmt.Sprintf("%s (%s) on %s", best[2], best[3], diskKind(dir, best[0]))
}
