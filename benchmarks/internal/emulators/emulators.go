// Package emulators has programs of others that speak the API of Kinesis Data
// Streams, to be measured against: kinesalite 3.3.3, in memory or on LevelDB, and
// kinesis-mock 0.6.2, as its build for Node.js. They are installed into the user's
// cache at first use, pinned to the last package.
package emulators

import (
	"context"
	_ "embed"
	"os/exec"
	"time"

	"github.com/millrace/millrace/internal/provide"
)

// Emulators by name.
const (
	Kinesalite  = "kinesalite"
	KinesisMock = "kinesis-mock"
)

var (
	//go:embed package.json
	packages []byte
	//go:embed package-lock.json
	lock []byte
	//go:embed emulators.js
	script string
)

var install = provide.Install{
	Name: "emulators",
	Tool: provide.Tool{
		Name: "Node.js, with npm", Try: []string{"sh", "-c", "npm --version && node --version"}, Packages: []string{"nodejs", "npm"},
	},
	Files:    map[string][]byte{"package.json": packages, "package-lock.json": lock},
	Commands: [][]string{{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"}},
}

// patience is how long the installation may take: some seconds, where the packages
// are near.
const patience = 3 * time.Minute

// Have installs the emulators, or says why that cannot be.
func Have(ctx context.Context) (dir string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, _, err = install.Do(ctx)
	return dir, err
}

// Command is one of them as a process, installed in dir. It prints its URL when it
// can be asked, and ends when its standard input does. Data of kinesalite is kept
// in a folder, or in memory where that is "".
func Command(dir, name, folder string) *exec.Cmd {
	cmd := exec.Command("node", "--no-warnings", "-e", script, name, folder)
	cmd.Dir = dir
	return cmd
}
