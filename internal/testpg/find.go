package testpg

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
)

// errNoServer says that tests cannot have a server on this machine.
var errNoServer = errors.New("there is no PostgreSQL server: install the package postgresql (its programs are looked for on PATH and in /usr/lib/postgresql/*/bin), or give the address of a server in MILLRACE_POSTGRES")

// findBinaries returns the folder of the newest server that is installed.
func findBinaries() (dir string, err error) {
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(installed, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			installed = append([]string{filepath.Dir(path)}, installed...)
		}
	}
	for _, dir := range installed {
		if isProgram(dir, "initdb") && isProgram(dir, "postgres") {
			return dir, nil
		}
	}
	return "", errNoServer
}

// version returns the number in /usr/lib/postgresql/15/bin.
func version(dir string) float64 {
	v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
	return v
}

func isProgram(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// user is whom a server runs as.
type user struct{ uid, gid int }

// unprivileged returns a user as whom PostgreSQL does not refuse to run, or
// nil when this process can start it as it is.
func unprivileged() (*user, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := osuser.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		return &user{uid, gid}, errors.Join(errUID, errGID)
	}
	return nil, fmt.Errorf("%w (it refuses to run as root, and there is neither a user postgres nor a user nobody)", errNoServer)
}
