package testdynamo

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/internal/provide"
)

// What is installed is pinned to the last package; a changed pin is another
// folder of the cache.
var (
	//go:embed moto-requirements.txt
	motoRequirements []byte
	//go:embed moto.py
	motoScript string

	//go:embed dynalite-package.json
	dynalitePackage []byte
	//go:embed dynalite-lock.json
	dynaliteLock []byte
	//go:embed dynalite.js
	dynaliteScript string
)

var (
	python = provide.Tool{
		Name: "python3 with venv", Try: []string{"python3", "-c", "import ensurepip, venv"},
		Packages: []string{"python3", "python3-venv"}, Image: "python:3.13-slim",
	}
	npm = provide.Tool{
		Name: "npm", Try: []string{"npm", "--version"},
		Packages: []string{"nodejs", "npm"}, Image: "node:22-slim",
	}
)

var (
	motoInstall = install{
		name: "moto", tool: python, pins: motoRequirements, file: "requirements.txt",
		commands: [][]string{
			{"python3", "-m", "venv", "venv"},
			{"venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", "requirements.txt"},
		},
	}
	dynaliteInstall = install{
		name: "dynalite", tool: npm, pins: dynaliteLock, file: "package-lock.json",
		more: map[string][]byte{"package.json": dynalitePackage},
		commands: [][]string{
			{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"},
		},
	}
)

// install says how an emulator gets into the user's cache.
type install struct {
	name     string
	tool     provide.Tool
	pins     []byte // what is installed, to the last package,
	file     string // in a file of this name
	more     map[string][]byte
	commands [][]string
}

// do returns the folder in which the commands have run, and runs them if nobody
// has yet; and where a program that lies there can be run.
func (i install) do(ctx context.Context) (dir string, place provide.Place, err error) {
	if place, err = i.tool.Find(ctx); err != nil {
		return "", place, err
	}
	version := fnv.New64a()
	_, _ = version.Write(i.pins) // a hash never fails
	name := fmt.Sprintf("%s-%x-%s", i.name, version.Sum64(), place.Name())
	dir, err = provide.Dir(ctx, name, func(work string) error {
		if err := os.WriteFile(filepath.Join(work, i.file), i.pins, 0o644); err != nil {
			return err
		}
		for file, content := range i.more {
			if err := os.WriteFile(filepath.Join(work, file), content, 0o644); err != nil {
				return err
			}
		}
		for _, words := range i.commands {
			program := words[0]
			if filepath.Base(program) != program {
				program = filepath.Join(work, program) // one that an earlier command has made
			}
			cmd := place.Command(ctx, work, 0, append([]string{program}, words[1:]...)...)
			if output, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("install: %v: %w: %s", cmd.Args, err, output)
			}
		}
		return nil
	})
	return dir, place, err
}
