package millrace_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/millrace/millrace"

// layout is the import table: which package may import which others of ours,
// and which modules of others, outside of its tests. Arrows point down, towards
// stream; drivers are leaves. What a package may not do is not in it.
var layout = map[string]room{
	".": {},

	"stream":            {},
	"stream/streamtest": {ours: "stream", support: true},

	"stream/kpl": {ours: "stream"},

	"checkpoint": {ours: "stream"},
	"processors": {ours: "stream checkpoint internal/backoff", others: "github.com/sourcegraph/conc"},

	"fanout": {ours: "stream"},

	"engine":                   {ours: "stream engine/internal/vfs engine/internal/wal engine/internal/manifest", others: otel + " golang.org/x/sys"},
	"engine/internal/vfs":      {others: "golang.org/x/sys"},
	"engine/internal/manifest": {ours: "stream engine/internal/vfs"},
	"engine/internal/wal":      {ours: "stream engine/internal/vfs internal/unset"},
	"engine/server":            {ours: "stream engine internal/wire engine/server/internal/state"},

	"engine/server/internal/state": {ours: "engine/internal/vfs"},

	"kinesis": {ours: "stream internal/wire internal/backoff internal/given internal/unset", others: otel + " golang.org/x/sync " + aws},

	"lease":           {ours: "stream checkpoint internal/given", others: otel},
	"lease/sqlite":    {ours: "stream checkpoint lease lease/internal/sqlstore", others: "modernc.org/sqlite"},
	"lease/postgres":  {ours: "stream checkpoint lease lease/internal/sqlstore", others: "github.com/jackc/pgx/v5"},
	"lease/dynamodb":  {ours: "stream checkpoint lease internal/given", others: aws},
	"lease/leasetest": {ours: "stream checkpoint lease", support: true},

	"lease/internal/sqlstore": {ours: "stream checkpoint lease"},

	"worker": {ours: "stream stream/kpl checkpoint lease processors internal/given", others: otel},

	"internal/given":   {},
	"internal/backoff": {},
	"internal/unset":   {},
	"internal/wire":    {others: "github.com/segmentio/asm"},

	"cmd/millrace": {ours: "internal/cli", program: true},
	"internal/cli": {ours: "stream stream/kpl engine engine/server kinesis", others: aws + " github.com/spf13/cobra github.com/spf13/pflag"},

	"internal/actor":       {support: true},
	"internal/check":       {ours: "stream checkpoint lease", support: true},
	"internal/proof":       {support: true},
	"internal/provide":     {support: true},
	"internal/testpg":      {ours: "internal/provide", others: "github.com/jackc/pgx/v5", support: true},
	"internal/machine":     {others: "golang.org/x/sys", support: true},
	"internal/prove":       {ours: "internal/proof internal/machine", program: true},
	"internal/sim":         {ours: anything, support: true},
	"internal/chaos":       {ours: anything, support: true},
	"internal/fleet":       {ours: anything, others: aws + " github.com/jackc/pgx/v5", support: true},
	"internal/powercut":    {ours: anything, others: "golang.org/x/sys", support: true},
	"internal/testdynamo":  {ours: "internal/provide", others: aws, support: true},
	"internal/testclients": {ours: "internal/provide", others: aws, support: true},
	"internal/clients":     {ours: anything, others: aws, support: true},
	"internal/mutants":     {ours: "internal/proof", program: true},

	"examples/logaggregation": {ours: anything, others: anything, program: true},

	// A module of its own, so that the rivals stay out of ours.
	"benchmarks":                    {ours: anything, others: anything, program: true},
	"benchmarks/internal/emulators": {ours: "internal/provide"},
	"benchmarks/internal/logs":      {ours: anything, others: anything},
	"benchmarks/internal/disk":      {others: "golang.org/x/sys"},
	"benchmarks/internal/svg":       {},
}

// otel is the API of OpenTelemetry, which costs nothing while no provider is
// set. Its SDK is for tests and programs.
const otel = "go.opentelemetry.io/otel go.opentelemetry.io/otel/metric go.opentelemetry.io/otel/trace"

// aws is the SDK, which stops at the packages that talk to Amazon's services.
const aws = "github.com/aws/aws-sdk-go-v2 github.com/aws/smithy-go"

// testOnly are the modules that only tests, and what supports them, may import.
var testOnly = []string{"github.com/anishathalye/porcupine", "github.com/fxamacker/cbor/v2", "go.uber.org/goleak", "pgregory.net/rapid", "go.opentelemetry.io/otel/sdk"}

const anything = "*"

// room is what one package may do.
type room struct {
	ours    string // its imports of ours, separated by spaces
	others  string // the modules of others that it may import
	support bool   // it helps tests, and is free to do as they do: only tests and other support import it
	program bool   // it is a program: imported by nothing, free to sleep
}

// source is what the layout needs to know of a Go file.
type source struct {
	dir, name string
	imports   []string
	hasDoc    bool
	sleeps    []token.Position
	tests     []string
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func TestPackagesKeepTheLayout(t *testing.T) {
	sources := parseAll(t)
	for _, fault := range faults(layout, sources) {
		t.Error(fault)
	}
	if len(sources) < 50 {
		t.Errorf("only %d Go files were found", len(sources))
	}
}

func TestTheLayoutNamesNoPackageThatIsGone(t *testing.T) {
	there := map[string]bool{}
	for _, s := range parseAll(t) {
		there[s.dir] = true
	}
	for dir, r := range layout {
		if !there[dir] {
			t.Errorf("the layout has a room for %s, which is not there", dir)
		}
		for _, p := range strings.Fields(r.ours) {
			if _, ok := layout[p]; !ok && p != anything {
				t.Errorf("the layout lets %s import %s, which has no room", dir, p)
			}
		}
	}
}

func TestBrokenLayoutsAreNoticed(t *testing.T) {
	rooms := map[string]room{
		"low":  {},
		"high": {ours: "low", others: "example.org/driver"},
		"help": {ours: "low", support: true},
		"prog": {ours: anything, program: true},
	}
	file := func(dir, name string, imports ...string) source {
		for i, p := range imports {
			if !strings.Contains(p, ".") && p != "fmt" {
				imports[i] = module + "/" + p
			}
		}
		return source{dir: dir, name: name, imports: imports, hasDoc: true}
	}
	undocumented := file("low", "low.go")
	undocumented.hasDoc = false
	sleeping := file("low", "low.go")
	sleeping.sleeps = []token.Position{{Filename: "low/low.go", Line: 3}}
	sleepingProgram := file("prog", "main.go")
	sleepingProgram.sleeps = sleeping.sleeps

	for _, c := range []struct {
		name   string
		source source
		want   string
	}{
		{"down", file("high", "high.go", "low", "fmt"), ""},
		{"up", file("low", "low.go", "high"), "may not import high"},
		{"up in a test", file("low", "low_test.go", "high"), ""},
		{"its own driver", file("high", "high.go", "example.org/driver/v2"), ""},
		{"the driver of another", file("low", "low.go", "example.org/driver"), "may not import example.org/driver"},
		{"a module with a like name", file("high", "high.go", "example.org/driverx"), "may not import example.org/driverx"},
		{"test support", file("high", "high.go", "help"), "may not import help"},
		{"test support in a test", file("high", "high_test.go", "help"), ""},
		{"a test module", file("high", "high.go", "go.uber.org/goleak"), "only tests may import go.uber.org/goleak"},
		{"a test module in a program", file("prog", "main.go", "pgregory.net/rapid"), "only tests may import pgregory.net/rapid"},
		{"a test module in test support", file("help", "help.go", "pgregory.net/rapid"), ""},
		{"a test module in a test", file("low", "low_test.go", "go.uber.org/goleak"), ""},
		{"a program", file("high", "high.go", "prog"), "may not import prog"},
		{"a program in a test", file("high", "high_test.go", "prog"), "may not import prog"},
		{"an unknown room", file("new", "new.go"), "has no room"},
		{"no package documentation", undocumented, "no package documentation"},
		{"a sleep", sleeping, "sleeps"},
		{"a sleep in a program", sleepingProgram, ""},
	} {
		got := strings.Join(faults(rooms, []source{c.source}), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// faults returns what in the sources does not keep the layout.
func faults(rooms map[string]room, sources []source) []string {
	var faults []string
	documented := map[string]bool{}
	for _, s := range sources {
		if s.hasDoc && !s.test() {
			documented[s.dir] = true
		}
	}
	undocumented := map[string]bool{}
	for _, s := range sources {
		r, ok := rooms[s.dir]
		if !ok {
			faults = append(faults, fmt.Sprintf("%s/%s: package %s has no room in the layout", s.dir, s.name, s.dir))
			continue
		}
		for _, imported := range s.imports {
			if why := refuse(rooms, s, r, imported); why != "" {
				faults = append(faults, fmt.Sprintf("%s/%s: %s", s.dir, s.name, why))
			}
		}
		if !s.test() && !r.program && !r.support {
			for _, at := range s.sleeps {
				faults = append(faults, fmt.Sprintf("%v: a library sleeps; wait for a timer and for the context", at))
			}
		}
		if !s.test() && !documented[s.dir] && !undocumented[s.dir] {
			undocumented[s.dir] = true
			faults = append(faults, fmt.Sprintf("%s: no package documentation", s.dir))
		}
	}
	return faults
}

// refuse returns why a file of room r may not have that import, or "".
func refuse(rooms map[string]room, s source, r room, imported string) string {
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		target, known := rooms[ours]
		switch {
		case known && target.program:
		case s.test(), r.ours == anything && known, slices.Contains(strings.Fields(r.ours), ours):
			return ""
		case r.support && target.support:
			return ""
		}
		return fmt.Sprintf("%s may not import %s", s.dir, ours)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || s.test() {
		return "" // the standard library
	}
	if within(imported, testOnly) {
		if r.support {
			return ""
		}
		return "only tests may import " + imported
	}
	if r.others == anything || within(imported, strings.Fields(r.others)) {
		return ""
	}
	return fmt.Sprintf("%s may not import %s", s.dir, imported)
}

// within reports whether a package belongs to one of the modules.
func within(imported string, modules []string) bool {
	return slices.ContainsFunc(modules, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") })
}

// parseAll reads every Go file below the root.
func parseAll(t *testing.T) []source {
	t.Helper()
	var sources []source
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			hidden := file != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"))
			if hidden || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) == ".go" {
			s, err := parseFile(file)
			if err != nil {
				return err
			}
			sources = append(sources, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func parseFile(file string) (source, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{dir: filepath.ToSlash(filepath.Dir(file)), name: filepath.Base(file), hasDoc: parsed.Doc.Text() != ""}
	for _, spec := range parsed.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, p)
	}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && s.test() && strings.HasPrefix(f.Name.Name, "Test") {
			s.tests = append(s.tests, f.Name.Name)
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
				s.sleeps = append(s.sleeps, fset.Position(sel.Pos()))
			}
		}
		return true
	})
	return s, nil
}
