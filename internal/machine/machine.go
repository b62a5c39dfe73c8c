// Package machine says where and of what a figure was measured: without it, no
// figure means anything.
//
//	/proc ────────────────► Name    processor, cores, memory, system, Go
//	/proc/mounts, /sys ───► Disk    file system, and the disk below it
//	git ──────────────────► Commit
//
// What the system does not tell is left out.
package machine

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// Name describes the machine that this runs on, as far as it tells: processor,
// cores, memory, system, and the version of Go.
func Name() string {
	parts := []string{
		or(field("/proc/cpuinfo", "model name"), runtime.GOARCH),
		fmt.Sprintf("%d cores", runtime.NumCPU()),
	}
	if kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20)))
	}
	system := runtime.GOOS
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		system += " " + strings.TrimSpace(string(release))
	}
	return strings.Join(append(parts, system, runtime.Version()), ", ")
}

// field returns a value of a file of "name : value" lines, "" when there is none.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Commit names the commit of the working directory, with a "+" behind it when
// files were changed since, other than pages, figures and pictures, which those
// write who ask; "unknown" outside of a repository.
func Commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=10", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	commit := strings.TrimSpace(string(out))
	if changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--",
		":(top)", ":(top,exclude)*.md", ":(top,exclude)*/results/*.json", ":(top,exclude)*.svg").Output(); err != nil || len(changed) > 0 {
		commit += "+"
	}
	return commit
}
