package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// A mutant whose patch lies in the body of a function is woven into the program of
// many. The function becomes a switch, and its body one of several:
//
//	func (d *Door) Opens(key int) bool {     func (d *Door) Opens(p0 int) bool {
//	    return key == d.lock                     switch millraceMutant {
//	}                                  ──►       case "7":
//	                                                 return d.Opens_mutant7(p0)
//	                                             }
//	                                             return d.Opens_asItIs(p0)
//	                                         }
//	                                         func (d *Door) Opens_asItIs(key int) bool { … }
//	                                         func (d *Door) Opens_mutant7(key int) bool { … }
//
// So one program, linked once, is that without mutants and that with any one of
// them, as its environment says.

// envMutant is the number of the mutant that a woven program is to be; none when it
// is empty.
const envMutant = "MILLRACE_MUTANT"

// switchFile is the file in which each woven package learns what it is to be.
const switchFile = "millrace_mutant.go"

func switchOf(pkg string) string {
	return fmt.Sprintf("package %s\n\nimport millraceOS %q\n\nvar millraceMutant = millraceOS.Getenv(%q)\n", pkg, "os", envMutant)
}

// variant is a mutant with the number by which it is called.
type variant struct {
	*Mutant
	number int
}

// weave returns the source of a file with a switch in each function that variants
// patch, the name of its package, and the variants that are in it. Patches outside of
// functions are left out.
func weave(source string, variants []variant) (text, pkg string, in []variant, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return "", "", nil, err
	}
	pkg = file.Name.Name
	var b strings.Builder
	copied := 0 // of source
	for _, d := range file.Decls {
		f := &function{files: files, source: source}
		if f.decl, _ = d.(*ast.FuncDecl); f.decl == nil || !f.divisible() {
			continue
		}
		var bodies []string
		var here []variant
		for _, v := range variants {
			if body, ok := f.patched(v.Mutant); ok {
				bodies, here = append(bodies, f.named(fmt.Sprint("_mutant", v.number), body)), append(here, v)
			}
		}
		if len(here) == 0 {
			continue
		}
		b.WriteString(source[copied:f.at(f.decl.Pos())])
		copied = f.at(f.decl.End())
		b.WriteString(f.switched(here) + "\n\n" + f.named("_asItIs", f.text(f.decl.Body)))
		for _, body := range bodies {
			b.WriteString("\n\n" + body)
		}
		in = append(in, here...)
	}
	b.WriteString(source[copied:])
	slices.SortFunc(in, func(a, b variant) int { return cmp.Compare(a.number, b.number) })
	return b.String(), pkg, in, nil
}

// function is one that is to be a switch.
type function struct {
	files  *token.FileSet
	source string
	decl   *ast.FuncDecl
}

func (f *function) at(p token.Pos) int { return f.files.Position(p).Offset }

// text returns the source of a node.
func (f *function) text(n ast.Node) string { return f.source[f.at(n.Pos()):f.at(n.End())] }

// divisible reports whether the function does the same when another one calls it. One
// that recovers from a panic does not: it has to be what was deferred.
func (f *function) divisible() bool {
	if name := f.decl.Name.Name; f.decl.Body == nil || f.decl.Recv == nil && (name == "init" || name == "main") || name == "_" {
		return false
	}
	recovers := false
	ast.Inspect(f.decl.Body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			called, ok := call.Fun.(*ast.Ident)
			recovers = recovers || ok && called.Name == "recover"
		}
		_, inner := n.(*ast.FuncLit)
		return !inner
	})
	return !recovers
}

// patched returns the body of the function with the mutant's patch, if it is one of
// this body.
func (f *function) patched(m *Mutant) (body string, ok bool) {
	from := strings.Index(f.source, m.Old)
	if from < f.at(f.decl.Body.Lbrace) || from+len(m.Old) > f.at(f.decl.Body.End()) {
		return "", false
	}
	return strings.Replace(f.text(f.decl.Body), m.Old, m.New, 1), true
}

// named returns the function with another name and body.
func (f *function) named(suffix, body string) string {
	return f.source[f.at(f.decl.Pos()):f.at(f.decl.Name.End())] + suffix +
		f.source[f.at(f.decl.Name.End()):f.at(f.decl.Body.Pos())] + body
}

// switched returns the function that calls one of the others.
func (f *function) switched(variants []variant) string {
	var b strings.Builder
	b.WriteString("func ")
	self := ""
	if f.decl.Recv != nil {
		fmt.Fprintf(&b, "(self %s) ", f.text(f.decl.Recv.List[0].Type))
		self = "self."
	}
	b.WriteString(f.decl.Name.Name)
	types := ""
	if t := f.decl.Type.TypeParams; t != nil {
		var names []string
		for _, field := range t.List {
			for _, name := range field.Names {
				names = append(names, name.Name)
			}
		}
		b.WriteString(f.text(t))
		types = "[" + strings.Join(names, ", ") + "]"
	}
	var takes, gives []string
	for _, field := range f.decl.Type.Params.List {
		for range max(1, len(field.Names)) {
			p := fmt.Sprint("p", len(takes))
			takes = append(takes, p+" "+f.text(field.Type))
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				p += "..."
			}
			gives = append(gives, p)
		}
	}
	fmt.Fprintf(&b, "(%s) ", strings.Join(takes, ", "))
	// With no name for a result there is none that hides a function.
	answers := ""
	if r := f.decl.Type.Results; r != nil {
		var results []string
		for _, field := range r.List {
			for range max(1, len(field.Names)) {
				results = append(results, f.text(field.Type))
			}
		}
		fmt.Fprintf(&b, "(%s) ", strings.Join(results, ", "))
		answers = "return "
	}
	call := func(suffix string) string {
		return self + f.decl.Name.Name + suffix + types + "(" + strings.Join(gives, ", ") + ")"
	}
	b.WriteString("{\n\tswitch millraceMutant {\n")
	for _, v := range variants {
		fmt.Fprintf(&b, "\tcase \"%d\":\n\t\t%s%s\n", v.number, answers, call(fmt.Sprint("_mutant", v.number)))
		if answers == "" {
			b.WriteString("\t\treturn\n")
		}
	}
	fmt.Fprintf(&b, "\t}\n\t%s%s\n}", answers, call("_asItIs"))
	return b.String()
}
