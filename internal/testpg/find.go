package testpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/millrace/millrace/internal/provide"
)

// errNoServer says that tests cannot have a server on this machine.
var errNoServer = errors.New("there is no PostgreSQL server: install the package postgresql (its programs are looked for on PATH and in /usr/lib/postgresql/*/bin) or Docker, or give the address of a server in MILLRACE_POSTGRES")

// image is where the server comes from that is run by Docker.
const image = "postgres:17"

// programs are where a server's programs are: in a folder, or in a Docker image.
type programs struct {
	dir    string // "" for the image
	volume string // the name of what a container keeps its data in
	user   *user  // whom they run as; nil for whoever runs the tests
}

// find returns the newest server that is installed; else it installs one, as root;
// else it takes that of Docker.
func find(ctx context.Context) (programs, error) {
	dir, err := findBinaries()
	if err != nil {
		noPackage := provide.Packages(ctx, "postgresql")
		if noPackage == nil {
			dir, noPackage = findBinaries()
		}
		if noPackage != nil {
			if noDocker := provide.Docker(ctx); noDocker != nil {
				return programs{}, fmt.Errorf("%w; from packages: %w; from Docker: %w", err, noPackage, noDocker)
			}
			return programs{volume: fmt.Sprintf("%s%d-%d", folders, os.Getpid(), volumes.Add(1))}, nil
		}
	}
	user, err := unprivileged()
	return programs{dir: dir, user: user}, err
}

var volumes atomic.Int64

// debian is where packages put the programs, which are not on PATH there.
var debian = "/usr/lib/postgresql/*/bin"

// findBinaries returns the folder of the newest server that is installed.
func findBinaries() (dir string, err error) {
	installed, err := filepath.Glob(debian)
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
