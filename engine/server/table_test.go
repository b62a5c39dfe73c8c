package server

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// sdkOperations are the operations that Amazon's own client knows: its methods
// that take a context and an input.
func sdkOperations() (names []string) {
	client := reflect.TypeFor[*kinesis.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() >= 3 && strings.HasSuffix(m.Type.In(2).String(), m.Name+"Input") {
			names = append(names, m.Name)
		}
	}
	return names
}

// testsHere are the names of this package's tests.
func testsHere(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

func TestEveryOperationOfTheSDKIsServedAndTested(t *testing.T) {
	sdk, served := sdkOperations(), operations()
	if len(sdk) != 45 {
		t.Errorf("the SDK has %d operations, and had 45: add what is new, or take away what went", len(sdk))
	}
	// A test belongs to the operation with the longest name that it begins with.
	tested := map[string]bool{}
	for _, test := range testsHere(t) {
		of := ""
		for _, name := range sdk {
			if strings.HasPrefix(test, "Test"+name) && len(name) > len(of) {
				of = name
			}
		}
		tested[of] = true
	}
	for _, name := range sdk {
		if _, ok := served[name]; !ok {
			t.Errorf("%s is not served", name)
		}
		if !tested[name] {
			t.Errorf("no test has a name that begins with Test%s", name)
		}
	}
	for name := range served {
		if !slices.Contains(sdk, name) {
			t.Errorf("%s is served, and no operation of the SDK", name)
		}
	}
}
