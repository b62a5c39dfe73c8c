package testdynamo

import (
	_ "embed"

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
	motoInstall = provide.Install{
		Name: "moto", Tool: python,
		Files: map[string][]byte{"requirements.txt": motoRequirements},
		Commands: [][]string{
			{"python3", "-m", "venv", "venv"},
			{"venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", "requirements.txt"},
		},
	}
	dynaliteInstall = provide.Install{
		Name: "dynalite", Tool: npm,
		Files: map[string][]byte{"package.json": dynalitePackage, "package-lock.json": dynaliteLock},
		Commands: [][]string{
			{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"},
		},
	}
)
