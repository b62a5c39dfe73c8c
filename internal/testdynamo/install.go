package testdynamo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
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

func installMoto(ctx context.Context) (string, error) {
	files := map[string][]byte{"requirements.txt": motoRequirements}
	return install(ctx, "moto", motoRequirements, files,
		[]string{"python3", "-m", "venv", "venv"},
		[]string{"venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", "requirements.txt"},
	)
}

func installDynalite(ctx context.Context) (string, error) {
	files := map[string][]byte{"package.json": dynalitePackage, "package-lock.json": dynaliteLock}
	return install(ctx, "dynalite", dynaliteLock, files,
		[]string{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"},
	)
}

// install returns the folder in which the commands have run, and runs them if
// no one has yet. Several processes may do so at once: each works in a folder
// of its own, and the first to end gives it the name.
func install(ctx context.Context, name string, pins []byte, files map[string][]byte, commands ...[]string) (dir string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	version := fnv.New64a()
	_, _ = version.Write(pins) // a hash never fails
	cache = filepath.Join(cache, "millrace")
	dir = filepath.Join(cache, fmt.Sprintf("%s-%x", name, version.Sum64()))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, name+"-new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(work, file), content, 0o644); err != nil {
			return "", err
		}
	}
	for _, words := range commands {
		if program := filepath.Join(work, words[0]); filepath.Base(words[0]) != words[0] {
			words[0] = program // one that an earlier command has made
		}
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Dir = work
		if output, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("install: %v: %w: %s", words, err, output)
		}
	}
	if err := os.Rename(work, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", err
		}
	}
	return dir, nil
}
