package millrace_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section returns a chapter of DESIGN.md, by its heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("DESIGN.md has no chapter %q", heading)
	}
	chapter, _, _ := strings.Cut(rest, "\n## ")
	return chapter
}

var quoted = regexp.MustCompile("`([^`]+)`")

// named returns what the file map names: files, folders, and patterns. A name
// without a folder is in that of the one before it.
func named(t *testing.T) (names []string) {
	t.Helper()
	for line := range strings.Lines(section(t, "8. File map")) {
		cell, _, isRow := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		if !isRow {
			continue
		}
		dir := ""
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			name := m[1]
			if strings.Contains(name, "/") {
				dir = path.Dir(name)
			} else {
				name = path.Join(dir, name)
			}
			names = append(names, name)
		}
	}
	return names
}

func TestTheFileMapNamesWhatIsThere(t *testing.T) {
	names := named(t)
	for _, name := range names {
		if found, err := filepath.Glob(name); err != nil || len(found) == 0 {
			t.Errorf("%s is not there", name)
		}
	}
	for _, s := range parseAll(t) {
		file := path.Join(s.dir, s.name)
		if s.test() || s.name == "doc.go" {
			continue
		}
		if !slices.ContainsFunc(names, func(name string) bool {
			is, _ := path.Match(name, file)
			return is || strings.HasPrefix(file, name+"/")
		}) {
			t.Errorf("%s is not in the file map", file)
		}
	}
}

// aTest is the name of a test, of which … stands for anything.
var aTest = regexp.MustCompile("`(Test(?:[A-Z]|…)[A-Za-z0-9…]*)`")

func TestThePromisesNameTestsThatAreThere(t *testing.T) {
	var tests []string
	for _, s := range parseAll(t) {
		tests = append(tests, s.tests...)
	}
	for _, m := range aTest.FindAllStringSubmatch(section(t, "1. Promises"), -1) {
		pattern := strings.ReplaceAll(m[1], "…", "*")
		if !slices.ContainsFunc(tests, func(name string) bool {
			is, _ := path.Match(pattern, name)
			return is
		}) {
			t.Errorf("%s is nowhere", m[1])
		}
	}
}
