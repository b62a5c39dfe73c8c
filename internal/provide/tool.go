package provide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Tool is a program that tests need, and where it can be had.
type Tool struct {
	Name string
	// Try is a command that succeeds where the tool is.
	Try []string
	// Packages have it, on Debian and its like.
	Packages []string
	// Image is a Docker image that has it; "" for a tool that must be on this machine.
	Image string
}

// ErrNone says that a tool is not on this machine, and cannot be put there.
var ErrNone = errors.New("not installed, and not to be had")

// Find returns where the tool is, and puts it there where it is not: that may take
// a minute. [ErrNone] says that there is no way.
func (t Tool) Find(ctx context.Context) (Place, error) {
	missing := try(ctx, t.Try)
	if missing == nil {
		return Place{}, nil
	}
	noPackage := Packages(ctx, t.Packages...)
	if noPackage == nil {
		if noPackage = try(ctx, t.Try); noPackage == nil {
			return Place{}, nil
		}
	}
	if t.Image == "" {
		return Place{}, fmt.Errorf("%s: %w: %w; from packages: %w", t.Name, ErrNone, missing, noPackage)
	}
	noDocker := Docker(ctx)
	if noDocker == nil {
		return Place{t.Image}, nil
	}
	return Place{}, fmt.Errorf("%s: %w: %w; from packages: %w; from Docker: %w", t.Name, ErrNone, missing, noPackage, noDocker)
}

func try(ctx context.Context, words []string) error {
	return run(exec.CommandContext(ctx, words[0], words[1:]...))
}

// Packages installs packages of the system. It can do so as root where there is
// apt-get.
func Packages(ctx context.Context, names ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may install packages")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return err
	}
	return locked(ctx, "apt-get", func() error {
		fmt.Fprintf(os.Stderr, "installing %s for tests\n", strings.Join(names, " "))
		for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, names...)} {
			cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			if err := run(cmd); err != nil {
				return err
			}
		}
		return nil
	})
}

// Docker reports whether there is an engine that can be asked, by an error that
// says why not.
func Docker(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return try(ctx, []string{"docker", "version", "--format", "{{.Server.Version}}"})
}

func run(cmd *exec.Cmd) error {
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// Place is where a tool is: on this machine, or in a Docker image.
type Place struct {
	image string
}

// Name is a part of the name of what was made in this place, and works in no other.
func (p Place) Name() string {
	return cmp.Or(strings.NewReplacer(":", "-", "/", "-").Replace(p.image), "here")
}

// Host is the address to listen on: that of the loopback, which a container has
// for itself.
func (p Place) Host() string {
	if p.image == "" {
		return "127.0.0.1"
	}
	return "0.0.0.0"
}

// Command returns a command that works in dir, at the same path in a container.
// port is that on which it listens, 0 when it does not; it can be reached on the
// machine's loopback alone.
func (p Place) Command(ctx context.Context, dir string, port int, words ...string) *exec.Cmd {
	if p.image != "" {
		args := []string{"docker", "run", "--rm", "-i", "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
			"-e", "HOME=/tmp", "-v", dir + ":" + dir, "-w", dir}
		if port != 0 {
			args = append(args, "-p", fmt.Sprintf("127.0.0.1:%d:%d", port, port))
		}
		words = append(append(args, p.image), words...)
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = dir
	return cmd
}
