package main

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Mutant is a safety mechanism, the patch that takes it out, and the test that
// notices.
type Mutant struct {
	// Mechanism says in a sentence what is done for safety.
	Mechanism string
	// Promise is the promise of DESIGN.md that would be broken: P1 to P9.
	Promise string
	// Without says what the mutant does instead.
	Without string
	// File is patched; its path begins at the root of the module.
	File string
	// Old is the text that is replaced by New. It is in File exactly once.
	Old, New string
	// Package is whose test notices, as a path from the root. Default: that of
	// File.
	Package string
	// Test is the name of the test, with subtests behind slashes.
	Test string
	// Args are further arguments for the test. Default: none.
	Args []string
	// Panics says that the test may panic after it has failed: a failure in a
	// bubble of testing/synctest leaves goroutines behind, which ends in one.
	// Default: false, a test that panics proves nothing.
	Panics bool
}

// table is every mutant, package by package from the top of a worker down to
// the disk.
func table() []Mutant {
	return slices.Concat(cliMutants, workerMutants, leaseMutants, operatorMutants, storeMutants, postgresMutants, dynamodbMutants, checkpointMutants, streamMutants, fanoutMutants, engineMutants, serverMutants, wireMutants, recordMutants, kinesisMutants)
}

// dir returns the path of the tested package.
func (m *Mutant) dir() string {
	if m.Package != "" {
		return m.Package
	}
	return path.Dir(m.File)
}

// pattern returns the argument that selects the test and no other.
func (m *Mutant) pattern() string {
	levels := strings.Split(m.Test, "/")
	for i, l := range levels {
		levels[i] = "^" + regexp.QuoteMeta(l) + "$"
	}
	return strings.Join(levels, "/")
}

func (m *Mutant) validate() error {
	for field, value := range map[string]string{
		"Mechanism": m.Mechanism, "Promise": m.Promise, "Without": m.Without, "File": m.File, "Old": m.Old, "Test": m.Test,
	} {
		if value == "" {
			return fmt.Errorf("the mutant of %q has no %s", m.Mechanism, field)
		}
	}
	return nil
}

// patched returns the source of a file with the mutant in it.
func (m *Mutant) patched(source string) (string, error) {
	switch n := strings.Count(source, m.Old); {
	case n == 0:
		return "", errMoved
	case n > 1:
		return "", fmt.Errorf("%w: it is there %d times", errMoved, n)
	case m.Old == m.New:
		return "", errors.New("it changes nothing: Old and New are the same")
	}
	return strings.Replace(source, m.Old, m.New, 1), nil
}

// Why a mutant proves nothing.
var (
	errMoved    = errors.New("the text of Old is not in File exactly once: mend the table")
	errCompile  = errors.New("it does not compile")
	errRed      = errors.New("its test does not even pass without it")
	errMissing  = errors.New("there is no such test, or it was skipped")
	errSurvived = errors.New("it survives: its test passes")
	errHangs    = errors.New("its test hangs")
	errPanics   = errors.New("its test ends without a word: it panics")
)
