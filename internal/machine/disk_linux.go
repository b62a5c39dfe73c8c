package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// diskKind says what kind of disk a device is, as far as the system knows.
func diskKind(dir, device string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return device
	}
	real, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
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
