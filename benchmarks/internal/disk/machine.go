package disk

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine says where figures were measured: processor, cores, memory, file
// system and disk below dir, kernel and Go. Without it no figure means anything.
func Machine(dir string) string {
	var info unix.Sysinfo_t
	var name unix.Utsname
	_, _ = unix.Sysinfo(&info), unix.Uname(&name)
	gib := (uint64(info.Totalram)*uint64(info.Unit) + 1<<29) >> 30
	return fmt.Sprintf("%s, %d cores, %d GiB, %s, %s %s/%s, %s", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), gib, fileSystem(dir),
		unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:]), runtime.GOARCH, runtime.Version())
}

// field returns the first value of that name in a file of "name: value" lines.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// fileSystem names the file system that dir lies on and the disk below it.
func fileSystem(dir string) string {
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

// diskKind says what kind of disk a device is, as far as the system knows.
func diskKind(dir, device string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return device
	}
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	real, err := filepath.EvalSymlinks(sys)
	if err != nil {
		return device
	}
	var kind []string
	if strings.Contains(real, "/virtio") {
		// What a host says of the disk behind it means nothing.
		return "virtio " + filepath.Base(device)
	}
	// A partition has the queue of its disk.
	for _, at := range []string{real, filepath.Dir(real)} {
		text, err := os.ReadFile(filepath.Join(at, "queue/rotational"))
		if err != nil {
			continue
		}
		if strings.TrimSpace(string(text)) == "1" {
			kind = append(kind, "rotational")
		} else {
			kind = append(kind, "solid state")
		}
		break
	}
	return strings.Join(append(kind, filepath.Base(device)), " ")
}
