package testclients

import (
	"context"
	_ "embed"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/provide"
)

var (
	//go:embed node/package.json
	nodePackage []byte
	//go:embed node/package-lock.json
	nodeLock []byte
	//go:embed node/client.js
	nodeClient string

	//go:embed python/requirements.txt
	pythonRequirements []byte
	//go:embed python/client.py
	pythonClient string

	//go:embed java/pom.xml
	javaPOM []byte
	//go:embed java/Client.java
	javaClient []byte
	//go:embed java/Consumer.java
	javaConsumer []byte
	//go:embed java/Pojos.java
	javaPojos []byte

	//go:embed java/kpl/pom.xml
	kplPOM []byte
	//go:embed java/kpl/Producer.java
	kplProducer []byte
)

var (
	nodeInstall = provide.Install{
		Name: "client-node",
		Tool: provide.Tool{
			Name:     "Node.js 20 or newer, with npm",
			Try:      []string{"sh", "-c", "npm --version && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'"},
			Packages: []string{"nodejs", "npm"},
		},
		Files:    map[string][]byte{"package.json": nodePackage, "package-lock.json": nodeLock},
		Commands: [][]string{{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"}},
	}
	pythonInstall = provide.Install{
		Name: "client-python",
		Tool: provide.Tool{
			Name: "python3 with venv", Try: []string{"python3", "-c", "import ensurepip, venv"},
			Packages: []string{"python3", "python3-venv"},
		},
		Files: map[string][]byte{"requirements.txt": pythonRequirements},
		Commands: [][]string{
			{"python3", "-m", "venv", "venv"},
			{"venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", "requirements.txt"},
		},
	}

	java = provide.Tool{
		Name: "Java 17 or newer, with its compiler and Maven", Try: []string{"sh", "-c", "javac --version && java --version && mvn --version"},
		Packages: []string{"default-jdk-headless", "maven"},
	}
	consumer = program{
		name: "client", pom: javaPOM,
		files: map[string][]byte{"Client.java": javaClient, "Consumer.java": javaConsumer, "Pojos.java": javaPojos},
	}
	producer = program{name: "producer", pom: kplPOM, files: map[string][]byte{"Producer.java": kplProducer}}
)

// program is one in Java: what it needs, and what is ours.
type program struct {
	name  string
	pom   []byte
	files map[string][]byte
}

// install returns the class path of the compiled program. The jars are apart from
// what is compiled: a change of our few lines downloads nothing.
func (p program) install(ctx context.Context) (classPath string, err error) {
	jars, _, err := provide.Install{
		Name: p.name + "-jars", Tool: java,
		Files: map[string][]byte{"pom.xml": p.pom},
		Commands: [][]string{{
			"mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory=lib",
		}},
	}.Do(ctx)
	if err != nil {
		return "", err
	}
	lib := filepath.Join(jars, "lib", "*")
	files := maps.Clone(p.files)
	files["libraries"] = []byte(lib) // other libraries, other classes
	classes, _, err := provide.Install{
		Name: p.name + "-java", Tool: java, Files: files,
		Commands: [][]string{{"sh", "-c", `javac -cp "$(cat libraries)" *.java`}},
	}.Do(ctx)
	return classes + string(filepath.ListSeparator) + lib, err
}

// patience is how long an installation may take: some seconds, where the packages
// are near, and a minute or two for Maven's many small files.
const patience = 5 * time.Minute

// have installs something, or ends the test.
func have[T any](t testing.TB, what string, install func(context.Context) (T, error)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := install(ctx)
	if err != nil {
		need(t, what, err)
	}
	return got
}

func need(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("MILLRACE_NEED_SERVICES") != "" {
		t.Fatalf("not tested with %s: %v", what, err)
	}
	t.Skipf("not tested with %s: %v", what, err)
}
