package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAStreamLivesInADataDirectory(t *testing.T) {
	sh := newShell(t)
	sh.env["MILLRACE_DATA"] = t.TempDir() + "/new/data"
	theLifeOfAStream(t, sh, exitInTheWay)
}

// theLifeOfAStream is that of one wherever it is; closed is how a second split of
// a shard ends.
func theLifeOfAStream(t *testing.T, sh *shell, closed int) {
	if out := sh.ok("", "stream", "create", "orders", "-shards", "3", "--retention", "48h"); !strings.Contains(out, "created orders, 3 shards") {
		t.Errorf("create says %q", out)
	}
	sh.fails(exitInTheWay, "orders: it exists already", "stream", "create", "orders")
	sh.ok("", "stream", "create", "orders", "--if-not-exists", "--shards", "7")

	var d struct {
		Name      string
		Retention float64 `json:"retention_hours"`
		Open      int     `json:"open_shards"`
		Shards    []struct {
			ID      string
			Parents []string
			Start   string `json:"starting_hash_key"`
			Closed  bool
		}
	}
	describe := func() {
		t.Helper()
		d.Shards = nil
		if err := json.Unmarshal([]byte(sh.ok("", "stream", "describe", "orders", "-o", "json")), &d); err != nil {
			t.Fatal(err)
		}
	}
	if describe(); d.Name != "orders" || d.Retention != 48 || d.Open != 3 || len(d.Shards) != 3 || d.Shards[0].Start != "0" {
		t.Errorf("described as %+v", d)
	}
	sh.ok("", "stream", "reshard", "orders", "--merge", d.Shards[0].ID+","+d.Shards[1].ID)
	sh.ok("", "stream", "reshard", "orders", "--split", d.Shards[2].ID)
	if describe(); d.Open != 3 || len(d.Shards) != 6 || len(d.Shards[3].Parents) != 2 || !d.Shards[0].Closed {
		t.Errorf("after a merge and a split: %+v", d)
	}
	sh.fails(closed, "", "stream", "reshard", "orders", "--split", d.Shards[2].ID)
	if out := sh.ok("", "stream", "reshard", "orders", "--shards", "2"); !strings.Contains(out, "2 open shards") {
		t.Errorf("reshard says %q", out)
	}
	if out := sh.ok("", "stream", "describe", "orders"); !strings.Contains(out, "2 open") || !strings.Contains(out, "closed  -") {
		t.Errorf("described as\n%s", out)
	}
	sh.fails(exitNotFound, "shardId-000000000099", "stream", "reshard", "orders", "--split", "shardId-000000000099")

	sh.ok("", "stream", "create", "audit")
	var all []struct{ Name, Status string }
	if err := json.Unmarshal([]byte(sh.ok("", "stream", "ls", "-o", "json")), &all); err != nil || len(all) != 2 || all[0].Name != "audit" || all[1].Status != "ACTIVE" {
		t.Errorf("listed as %+v, %v", all, err)
	}
	sh.fails(exitUnconfirmed, "say --yes", "stream", "delete", "orders")
	if out := sh.ok("", "stream", "delete", "orders", "--yes"); out != "deleted orders\n" {
		t.Errorf("delete says %q", out)
	}
	for _, args := range []string{"stream describe orders", "stream delete orders --yes", "stream reshard orders --shards 2", "put orders", "tail orders"} {
		sh.fails(exitNotFound, "orders", strings.Fields(args)...)
	}
	if out := sh.ok("", "stream", "ls"); strings.Contains(out, "orders") || !strings.Contains(out, "audit") {
		t.Errorf("listed as %q", out)
	}
}

func TestAPersonIsAskedBeforeAStreamIsDeleted(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	sh.ok("", "stream", "create", "orders", "--data", dir)
	for typed, want := range map[string]int{"": exitUnconfirmed, "yes\n": exitUnconfirmed, "orders\n": exitOK} {
		var out, err strings.Builder
		exit := Run(t.Context(), []string{"stream", "delete", "orders", "--data", dir}, IO{In: strings.NewReader(typed), Out: &out, Err: &err, Person: true})
		if exit != want || !strings.Contains(err.String(), `Type "orders"`) {
			t.Errorf("who typed %q got exit %d and %q", typed, exit, err.String())
		}
		if want == exitOK {
			sh.fails(exitNotFound, "orders", "stream", "describe", "orders", "--data", dir)
			sh.ok("", "stream", "create", "orders", "--data", dir)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	sh.ok("", "stream", "create", "s", "--data", dir)
	at := " --data " + dir
	for args, words := range map[string]string{
		"streem":                                 `"streem" is no command of "millrace": did you mean "stream"?`,
		"stream delet":                           `did you mean "delete"?`,
		"stream create":                          "STREAM is missing",
		"stream create a b":                      `"b" is one argument too many`,
		"put":                                    "STREAM is missing",
		"put a b c":                              "too many",
		"serve x":                                `"x" is one argument too many`,
		"serve":                                  "--data is missing",
		"stream ls":                              "where are the streams?",
		"stream ls --data a --endpoint http://b": "give one of --data and --endpoint",
		"stream ls --endpoint nowhere":           `--endpoint is "nowhere": use a URL`,
		"stream ls --endpoint aws":               "no region is configured",
		"stream ls --endpoint http://h --access-key x": "use the form ID:SECRET",
		"stream ls --frobnicate":                       "unknown flag: --frobnicate",
		"stream ls -o yaml" + at:                       "use one of table, json",
		"stream create n --shards 0" + at:              "--shards is 0: use at least 1",
		"stream create n --retention 5h" + at:          "--retention is 5h0m0s: use whole hours, at least 24h",
		"stream create a/b" + at:                       `stream name is "a/b"`,
		"stream reshard s" + at:                        "give one of --shards, --split and --merge",
		"stream reshard s --shards 2 --split x" + at:   "give one of",
		"stream reshard s --shards 2 --at 7" + at:      "--at says where to split",
		"stream reshard s --shards -1" + at:            "--shards is -1",
		"stream reshard s --merge x" + at:              `--merge is "x": give two shards`,
		"stream reshard s --split x --at y" + at:       `--at: hash key "y"`,
		"put s --format xml" + at:                      "use one of lines, ndjson",
		"put s --key a --key-field b" + at:             "give one",
		"tail s --from yesterday" + at:                 `--from is "yesterday": use horizon`,
		"tail s --from 4959" + at:                      "name it by --shard",
		"tail s -n -3" + at:                            "--number is -3",
		"serve -data x -listen nonsense":               `--listen is "nonsense": use the form`,
		"serve -data x -limits some":                   "use one of none, kinesis",
		"serve -data x --tls-cert c":                   "give both",
		"serve -data x --access-key k":                 "use the form ID:SECRET",
		"serve -data x --create a:b":                   `--create is "a:b"`,
	} {
		sh.fails(exitUsage, words, strings.Fields(args)...)
	}
	sh.fails(exitNotFound, "makes one", "stream", "ls", "--data", dir+"/none")
	if a := sh.run("", "stream", "ls", "--frobnicate"); !strings.Contains(a.err, `Try "millrace stream ls --help"`) || a.out != "" {
		t.Errorf("%+v", a)
	}
}

func TestEveryCommandHelpsWithExamples(t *testing.T) {
	sh := newShell(t)
	for _, command := range []string{"", "serve", "stream create", "stream ls", "stream describe", "stream reshard", "stream delete", "put", "tail"} {
		out := sh.ok("", append(strings.Fields(command), "--help")...)
		if !strings.Contains(out, "Examples:") || !strings.Contains(out, "millrace "+command) {
			t.Errorf("the help of %q has no example:\n%s", command, out)
		}
	}
	if out := sh.ok("", "help"); !strings.Contains(out, "Exit codes:") {
		t.Error("the exit codes are not documented")
	}
}
