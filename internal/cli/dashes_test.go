package cli

import (
	"slices"
	"strings"
	"testing"
)

func TestLongFlagsMayHaveOneDash(t *testing.T) {
	root := newRoot(IO{})
	for given, want := range map[string]string{
		"serve -data DIR -listen 127.0.0.1:0": "serve --data DIR --listen 127.0.0.1:0",
		"serve -data=DIR --listen x":          "serve --data=DIR --listen x",
		"tail s -f -o json -n 3":              "tail s -f -o json -n 3",
		"tail s -ojson -n10 -follow":          "tail s -ojson -n10 --follow",
		"tail s --from -5m":                   "tail s --from -5m",
		"tail s -from -5m -f":                 "tail s --from -5m -f",
		"put s --key -data x":                 "put s --key -data x",
		"put s --key=-data -data x":           "put s --key=-data --data x",
		"tail s -o -data":                     "tail s -o -data",
		"tail s -f -data x":                   "tail s -f --data x",
		"put s -":                             "put s -",
		"put s -- -data":                      "put s -- -data",
		"stream delete s -yes -data x":        "stream delete s --yes --data x",
		"-nonsense":                           "-nonsense",
		"":                                    "",
	} {
		if got := longFlags(root, strings.Fields(given)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q is read as %q, want %q", given, got, want)
		}
	}
}
