package provide

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// atHome gives the test a cache of its own.
func atHome(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
}

func TestAFolderIsMadeOnceByWhomeverComesFirst(t *testing.T) {
	atHome(t)
	var makers, inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := Dir(t.Context(), "thing", func(dir string) error {
				makers.Add(1)
				if inside.Add(1) > 1 {
					t.Error("two at a time make the folder")
				}
				defer inside.Add(-1)
				return os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := makers.Load(); n != 1 {
		t.Errorf("the folder was made %d times", n)
	}
}

func TestAFolderThatCouldNotBeMadeIsNotThere(t *testing.T) {
	atHome(t)
	broken := errors.New("broken")
	dir, err := Dir(t.Context(), "thing", func(string) error { return broken })
	if !errors.Is(err, broken) || there(dir) {
		t.Errorf("error %v; the folder is there: %v", err, there(dir))
	}
	left, _ := filepath.Glob(dir + "-new-*")
	if _, err := Dir(t.Context(), "thing", func(string) error { return nil }); err != nil || len(left) > 0 {
		t.Errorf("the next attempt: %v; left over: %v", err, left)
	}
}

func TestWhoWaitsForALockStopsWithItsContext(t *testing.T) {
	atHome(t)
	enough := errors.New("enough")
	err := locked(t.Context(), "thing", func() error {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(enough)
		return locked(ctx, "thing", func() error { return nil })
	})
	if !errors.Is(err, enough) {
		t.Errorf("error %v, want %v", err, enough)
	}
}

// programs makes a PATH of the test's own, with shell scripts in it.
func programs(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestAToolIsLookedForInOnePlaceAfterTheOther(t *testing.T) {
	atHome(t)
	tool := Tool{Name: "tool", Try: []string{"tool"}, Packages: []string{"some-package"}, Image: "some/image:1"}
	const works, fails = "exit 0", "echo no use; exit 1"

	programs(t, map[string]string{"tool": works})
	if place, err := tool.Find(t.Context()); err != nil || place.image != "" {
		t.Errorf("installed: %+v, %v", place, err)
	}

	programs(t, map[string]string{"docker": works})
	if place, err := tool.Find(t.Context()); err != nil || place.image != tool.Image {
		t.Errorf("with Docker: %+v, %v", place, err)
	}

	programs(t, map[string]string{"tool": fails, "docker": fails})
	if _, err := tool.Find(t.Context()); !errors.Is(err, ErrNone) || strings.Count(err.Error(), "no use") != 2 {
		t.Errorf("nowhere: %v", err)
	}

	if os.Geteuid() != 0 {
		return // nothing can be installed
	}
	dir := programs(t, nil)
	apt := `case "$*" in *install*some-package*) echo '#!/bin/sh' > ` + dir + `/tool; /bin/chmod +x ` + dir + `/tool;; esac`
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte("#!/bin/sh\n"+apt), 0o755); err != nil {
		t.Fatal(err)
	}
	if place, err := tool.Find(t.Context()); err != nil || place.image != "" {
		t.Errorf("from a package: %+v, %v", place, err)
	}
}

func TestACommandInAContainerHasItsFolderAndItsPortOnTheLoopback(t *testing.T) {
	here := Place{}.Command(t.Context(), "/work", 1234, "program", "argument")
	if here.Dir != "/work" || !slices.Equal(here.Args, []string{"program", "argument"}) {
		t.Errorf("here: %q in %s", here.Args, here.Dir)
	}
	there := strings.Join(Place{"some/image:1"}.Command(t.Context(), "/work", 1234, "program", "argument").Args, " ")
	for _, want := range []string{"docker run --rm -i", "-v /work:/work", "-w /work", "-p 127.0.0.1:1234:1234", "some/image:1 program argument"} {
		if !strings.Contains(there, want) {
			t.Errorf("in a container: %s; want %s", there, want)
		}
	}
	if a, b := (Place{}).Name(), (Place{"some/image:1"}).Name(); a == b || strings.ContainsAny(b, "/:") {
		t.Errorf("names %q and %q", a, b)
	}
}

func TestAToolThatMustBeHereIsNotTakenFromDocker(t *testing.T) {
	atHome(t)
	programs(t, map[string]string{"tool": "exit 1", "docker": "exit 0"})
	if place, err := (Tool{Name: "tool", Try: []string{"tool"}}).Find(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("got %+v, %v", place, err)
	}
}

func TestAnInstallationRunsItsCommandsOnceInAFolderOfItsFiles(t *testing.T) {
	atHome(t)
	install := Install{
		Name: "thing", Tool: Tool{Name: "sh", Try: []string{"/bin/sh", "-c", ":"}},
		Files:    map[string][]byte{"pins": []byte("1")},
		Commands: [][]string{{"sh", "-c", "printf '#!/bin/sh\ncat pins > made' > program && chmod +x program"}, {"./program"}},
	}
	do := func() string {
		t.Helper()
		dir, _, err := install.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		made, err := os.ReadFile(filepath.Join(dir, "made"))
		if err != nil || string(made) != string(install.Files["pins"]) {
			t.Errorf("made %q, error %v", made, err)
		}
		return dir
	}
	first := do()
	install.Commands = [][]string{{"false"}} // not run again
	if again := do(); again != first {
		t.Errorf("it was made twice, in %s and in %s", first, again)
	}
	install.Files = map[string][]byte{"pins": []byte("2")}
	if dir, _, err := install.Do(t.Context()); err == nil {
		t.Errorf("other files are in the same folder %s", dir)
	}
}
