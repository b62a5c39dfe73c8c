package testpg

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attributes lets a process run as that user, and end with this one, however
// this one ends.
func attributes(u *user) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if u != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
	}
	return attr
}

// tick is the unit of times in /proc, on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOfFamily returns the processor time of a process and of all children that
// it has or had.
func cpuOfFamily(pid int) (used time.Duration, ok bool) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, false
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name, which may hold anything) state ppid …
		id, _, _ := strings.Cut(string(text), " ")
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 15 {
			continue
		}
		number := func(i int) time.Duration {
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			return time.Duration(n) * tick
		}
		const ppid, utime, stime, cutime, cstime = 1, 11, 12, 13, 14
		switch {
		case id == strconv.Itoa(pid):
			used += number(utime) + number(stime) + number(cutime) + number(cstime)
			ok = true
		case fields[ppid] == strconv.Itoa(pid):
			used += number(utime) + number(stime)
		}
	}
	return used, ok
}

// tryLock locks a file until it is closed, by its process's end at the latest, and
// reports whether it could: whether nobody else has it locked.
func tryLock(file *os.File) bool {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
