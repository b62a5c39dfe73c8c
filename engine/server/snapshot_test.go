package server

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// snapshots returns what the SDK's own tests keep of its requests or answers, by
// operation: the body of each.
func snapshots(t *testing.T, kind string) map[string]string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/kinesis").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), kind+"_snapshot", "*.snap"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d snapshots, %v", len(files), err)
	}
	bodies := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		_, target, _ := strings.Cut(string(text), "X-Amz-Target: "+targetPrefix)
		target, _, _ = strings.Cut(target, "\n")
		if kind == "request" && target != name {
			t.Errorf("%s asks for %q", file, target)
		}
		_, bodies[name], _ = strings.Cut(string(text[strings.Index(string(text), "Content-Type"):]), "\n\n")
	}
	return bodies
}

// paths lists the members of a parsed document: "Records.Data". What a list holds
// counts as its own; names in a map are left out.
func paths(prefix string, v any) (all []string) {
	switch x := v.(type) {
	case map[string]any:
		for name, member := range x {
			if name == "key0" {
				continue // of a map
			}
			all = append(all, prefix+name)
			all = append(all, paths(prefix+name+".", member)...)
		}
	case []any:
		for _, item := range x {
			all = append(all, paths(prefix, item)...)
		}
	}
	return all
}

// shapePaths lists the members of a shape in the same way.
func shapePaths(prefix string, t reflect.Type) (all []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == timeType || t.Implements(textType) {
		return nil
	}
	for _, m := range shapeOf(t).members {
		all = append(all, prefix+m.name)
		all = append(all, shapePaths(prefix+m.name+".", t.FieldByIndex(m.index).Type)...)
	}
	return all
}

func TestTheRequestsOfTheSDKAreUnderstood(t *testing.T) {
	requests := snapshots(t, "request")
	for name, op := range operations() {
		body, ok := requests[name]
		if !ok && name != "SubscribeToShard" {
			t.Errorf("%s: there is no snapshot", name)
		}
		if !ok || strings.Contains(name, "Channel") { // there are no channels here
			continue
		}
		var err error
		switch name {
		case "PutRecord":
			err = new(putRequest).decodeRecord(json11, []byte(body))
		case "PutRecords":
			err = new(putRequest).decodeRecords(json11, []byte(body))
		default:
			in := op.input()
			err = decode(json11, []byte(body), in)
			var doc any
			if err := json.Unmarshal([]byte(body), &doc); err != nil {
				t.Fatal(err)
			}
			known := shapePaths("", reflect.TypeOf(in))
			for _, path := range paths("", doc) {
				if !slices.Contains(known, path) {
					t.Errorf("%s has a member %s, which its shape has not", name, path)
				}
			}
			for _, path := range known {
				if !slices.Contains(paths("", doc), path) {
					t.Errorf("the shape of %s has a member %s, which the SDK has not", name, path)
				}
			}
		}
		// Names like __StreamARN__ do not satisfy their patterns.
		if f, ok := errors.AsType[*fault](err); err != nil && (!ok || f.name != "ValidationException") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersHaveTheMembersThatTheSDKKnows(t *testing.T) {
	answers := snapshots(t, "response")
	for name, op := range operations() {
		if op.output == nil {
			continue
		}
		var doc any
		if err := json.Unmarshal([]byte(answers[name]), &doc); err != nil {
			t.Errorf("%s: %q is no answer: %v", name, answers[name], err)
			continue
		}
		known := paths("", doc)
		for _, path := range shapePaths("", reflect.TypeOf(op.output)) {
			if !slices.Contains(known, path) {
				t.Errorf("the answer of %s has a member %s, which the SDK has not", name, path)
			}
		}
		for _, path := range known {
			reserved := strings.HasSuffix(path, ".StreamId")
			if !strings.Contains(name, "Channel") && !reserved && !slices.Contains(shapePaths("", reflect.TypeOf(op.output)), path) {
				t.Errorf("the answer of %s has no member %s", name, path)
			}
		}
	}
}
