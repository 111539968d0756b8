package rooms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "cpcds2fhir"
	maxLines = 500
)

// room is what the packages of a folder may import of this module, tests left
// aside. A name ending in /... stands for the folder and all below it.
type room struct {
	packages string
	imports  []string
	never    []string // packages of others, or of the standard library, that have no place here
}

// rooms lists every package once; the first that matches counts.
var rooms = []room{
	{packages: "schemas/cpcds", never: pure},
	{packages: "schemas/fhir", never: pure},
	{packages: "schemas/carin", imports: []string{"schemas/cpcds"}, never: pure},
	{packages: "schemas/layouts", imports: []string{"schemas/cpcds"}, never: []string{"net"}}, // it knows time zones, and reads no clock
	{packages: "mappers", imports: []string{"schemas/carin", "schemas/cpcds", "schemas/fhir"}, never: pure},
	{packages: "pipeline", imports: []string{"schemas/cpcds", "schemas/fhir", "schemas/layouts"}}, // contracts
	{packages: "pipeline/rowbatch", imports: []string{"pipeline", "schemas/cpcds", "schemas/layouts"}},
	{packages: "pipeline/referenced", imports: []string{"pipeline/statefile", "mappers", "schemas/..."}},
	{packages: "pipeline/directory", imports: []string{"pipeline/referenced", "pipeline/rowbatch", "pipeline/sorted", "schemas/..."}},
	{packages: "pipeline/claims", imports: makers, never: pure},
	{packages: "pipeline/tables", imports: makers, never: pure},
	{packages: "pipeline/scattered", imports: []string{"pipeline", "pipeline/rowbatch", "pipeline/sorted", "pipeline/spill", "schemas/cpcds"}},
	{packages: "pipeline/statefile"}, // knows nothing of the field
	{packages: "pipeline/manifest", imports: []string{"pipeline", "pipeline/rowbatch", "pipeline/statefile", "schemas/..."}},
	{packages: "pipeline/rejects", imports: []string{"pipeline", "pipeline/manifest", "pipeline/rowbatch", "pipeline/statefile", "schemas/..."}},
	{packages: "pipeline/batchrun", imports: []string{"pipeline", "pipeline/statefile", "pipeline/claims", "pipeline/directory", "pipeline/referenced", "pipeline/rejects",
		"pipeline/rowbatch", "pipeline/scattered", "pipeline/tables", "mappers", "schemas/..."}}, // it wires the others
	{packages: "pipeline/streamrun", imports: []string{"pipeline", "pipeline/statefile", "pipeline/claims", "pipeline/directory", "pipeline/messages", "pipeline/referenced",
		"pipeline/rowbatch", "pipeline/tables", "mappers", "schemas/..."}}, // it wires the others, and knows no Kafka client
	{packages: "pipeline/publish", imports: []string{"pipeline", "pipeline/rowbatch", "pipeline/scattered", "pipeline/tables", "schemas/..."}},
	{packages: "pipeline/where"},   // knows nothing of the field
	{packages: "pipeline/kafkaio"}, // knows nothing of claims
	{packages: "pipeline/messages/registry"},
	{packages: "pipeline/messages", imports: []string{"pipeline", "pipeline/columnar", "pipeline/messages/registry", "schemas/cpcds"}, never: noFiles},
	{packages: "pipeline/columnar", imports: []string{"schemas/cpcds"}},
	{packages: "pipeline/arrowmeta"}, // knows nothing of files
	{packages: "pipeline/spill", imports: []string{"schemas/cpcds"}},
	{packages: "pipeline/sorted"},                                                  // knows nothing of the field
	{packages: "pipeline/folders", imports: []string{"pipeline", "schemas/cpcds"}}, // knows no format of data files

	// The parts of a source know nothing of it: it imports them.
	{packages: "pipeline/parquetio/guarded"},
	{packages: "pipeline/parquetio/page", imports: []string{"pipeline/parquetio/guarded"}, never: noFiles},
	{packages: "pipeline/parquetio/cell", imports: []string{"pipeline/columnar"}, never: noFiles},
	{packages: "pipeline/parquetio/deltacheckpoint", imports: []string{"pipeline", "pipeline/parquetio/guarded"}},
	{packages: "pipeline/parquetio", imports: []string{"pipeline", "pipeline/arrowmeta", "pipeline/columnar", "pipeline/parquetio/...", "schemas/cpcds"}},
	{packages: "pipeline/arrowio/fault", imports: []string{"pipeline/columnar"}, never: noFiles},
	{packages: "pipeline/arrowio/ipc", imports: []string{"pipeline", "pipeline/arrowio/fault", "pipeline/arrowmeta"}, never: noFiles},
	{packages: "pipeline/arrowio/array", imports: []string{"pipeline", "pipeline/arrowio/fault", "pipeline/arrowio/ipc", "pipeline/arrowmeta", "pipeline/columnar"}},
	{packages: "pipeline/arrowio", imports: []string{"pipeline", "pipeline/arrowio/...", "pipeline/arrowmeta", "pipeline/columnar", "schemas/cpcds"}},

	{packages: "pipeline/...", imports: []string{"pipeline", "pipeline/arrowmeta", "pipeline/columnar", "schemas/cpcds"}},
	{packages: "loaders/store", imports: []string{"pipeline", "schemas/fhir", "internal/store", "internal/store/owner"}},
	{packages: "loaders/remote", imports: []string{"pipeline", "schemas/fhir", "internal/fhirclient", "internal/store", "internal/store/owner", "loaders/store"}}, // its index is a store
	{packages: "loaders/bundle", imports: []string{"pipeline", "schemas/fhir", "internal/fhirclient", "loaders/remote"}},
	{packages: "loaders/bulkimport", imports: []string{"pipeline", "schemas/fhir", "internal/fhirclient", "loaders/ndjson", "loaders/remote"}},
	{packages: "loaders/loadertest", imports: []string{"pipeline", "schemas/fhir", "internal/fhirtest"}},
	{packages: "loaders/...", imports: []string{"pipeline", "schemas/fhir"}},
	{packages: "internal/fhirclient", imports: []string{"internal/fhirclient/credentials"}}, // it knows servers, and nothing of loads
	{packages: "internal/fhirclient/credentials"},
	{packages: "internal/fhirtest"}, // a server for tests
	{packages: "internal/store", imports: []string{"schemas/fhir"}},
	{packages: "internal/store/owner", imports: []string{"internal/store", "schemas/fhir"}},
	{packages: "internal/rates"},                                                                      // knows nothing of the field
	{packages: "internal/api", imports: []string{"internal/rates", "internal/store", "schemas/fhir"}}, // it knows no HTTP listener, and no token
	{packages: "internal/smart", imports: []string{"internal/api"}},                                   // it checks tokens, and knows no store
	{packages: "internal/outbound"},                                                                   // knows nothing of the field
	{packages: "internal/smart/clientrules", imports: []string{"internal/accounts"}},                  // it speaks no OAuth
	{packages: "internal/smart/authserver", imports: []string{"internal/accounts", "internal/api", "internal/outbound", "internal/rates", "internal/smart", "internal/smart/clientrules"}},
	{packages: "internal/smart/blackbox"}, // it knows servers by their URLs only
	{packages: "internal/database"},       // it knows SQL, and nothing of what is kept
	{packages: "internal/database/databasetest", imports: []string{"internal/database"}},
	{packages: "internal/accounts", imports: []string{"internal/database"}}, // it knows people and apps, and nothing of claims
	{packages: "internal/identity", imports: []string{"internal/accounts"}},
	{packages: "internal/site/frame"}, // it knows pages, and nothing of what they are about
	{packages: "internal/site/desk", imports: []string{"internal/accounts", "internal/portal", "internal/portal/...", "internal/rates", "internal/site/frame"}}, // what pages of developers and of staff share
	{packages: "internal/site/developers", imports: []string{"internal/accounts", "internal/portal", "internal/portal/...", "internal/site/desk", "internal/site/frame"}},
	{packages: "internal/site/docs", imports: []string{"internal/site/frame", "internal/smart/authserver"}}, // it knows the API by its description
	{packages: "internal/site/staff", imports: []string{"internal/accounts", "internal/portal", "internal/portal/...", "internal/site/desk", "internal/site/frame"}},
	{packages: "internal/site", imports: []string{"internal/accounts", "internal/identity", "internal/portal/forms", "internal/rates", "internal/site/frame", "internal/smart/authserver"}}, // it reads no claims but through the API
	{packages: "internal/portal", imports: []string{"internal/accounts", "internal/database", "internal/outbound", "internal/portal/forms", "internal/portal/lifecycle",
		"internal/smart/clientrules"}}, // it knows no pages, and nothing of claims
	{packages: "internal/portal/lifecycle", never: pure},
	{packages: "internal/portal/mail", imports: []string{"internal/portal"}},         // it speaks SMTP
	{packages: "internal/portal/forms", never: []string{"net/http", "database/sql"}}, // it knows neither pages nor databases
	{packages: "internal/portal/forms/formstest", imports: []string{"internal/portal/forms"}},
	{packages: "internal/sandbox", imports: []string{"internal/accounts", "internal/synth", "schemas/cpcds"}},
	{packages: "internal/audit"}, // it knows ids, and neither store nor API
	{packages: "internal/synth", imports: []string{"schemas/cpcds", "schemas/carin"}},
	{packages: "internal/verify", imports: []string{"internal/store", "internal/store/owner"}},
	{packages: "internal/verify/strict", imports: []string{"internal/verify", "internal/store"}},
	{packages: "internal/rooms"},
	{packages: "bench", imports: []string{"internal/fhirtest"}}, // it measures programs from outside, and starts servers for them
	{packages: "cmd/cpcds2fhir-verify", imports: []string{"internal/verify/strict"}},
	{packages: "cmd/...", imports: []string{"..."}},
}

// makers make resources of rows: they may ask a directory, and do no I/O themselves.
var makers = []string{"pipeline", "pipeline/directory", "pipeline/referenced", "pipeline/rowbatch", "mappers", "schemas/..."}

// pure packages do no I/O and know no time.
var pure = []string{"io", "os", "net", "time", "math/rand", "encoding/json"}

// noFiles are what packages have no use for that read what is given to them, and open nothing.
var noFiles = []string{"os", "net"}

// confined says which packages alone may import a module of others; tests may
// import any.
var confined = map[string][]string{
	"github.com/apache/arrow":          {"pipeline/spill"},
	"github.com/parquet-go/parquet-go": {"pipeline/parquetio/...", "internal/synth", "bench"},
	"github.com/cockroachdb/pebble":    {"internal/store", "loaders/store", "bench"},
	"cel.dev/cel-go":                   {"schemas/layouts", "pipeline/where"},
	"github.com/goccy/go-yaml":         {"schemas/layouts", "internal/portal/forms", "internal/fhirclient", "cmd/..."},
	"github.com/segmentio/kafka-go":    {"pipeline/kafkaio", "bench"},
	"github.com/twmb/franz-go":         {"bench"},
	"github.com/bufbuild/protocompile": {"pipeline/messages"},
	"github.com/prometheus":            {"cmd/..."},
	"github.com/spf13/cobra":           {"cmd/..."},
	"github.com/vbauerster/mpb":        {"cmd/..."},
	"go.uber.org/zap":                  {"cmd/..."},
	"golang.org/x/time":                {"internal/rates"},
	"github.com/go-jose/go-jose":       {"internal/smart/...", "internal/identity", "internal/fhirclient/credentials"},
	"github.com/coreos/go-oidc":        {"internal/identity"},
	"golang.org/x/oauth2":              {"internal/identity", "internal/fhirclient/credentials"},
	"gocloud.dev":                      {"loaders/bulkimport"},
	"github.com/aws":                   {"internal/fhirclient/credentials"},
	"github.com/Azure":                 {"internal/fhirclient/credentials"},
	"golang.org/x/crypto":              {"internal/accounts"},
	"github.com/wneessen/go-mail":      {"internal/portal/mail"},
	"github.com/pquerna/otp":           {"internal/portal"},
	"github.com/emersion":              nil,
	"modernc.org/sqlite":               {"internal/database"},
	"github.com/jackc/pgx":             {"internal/database"},
	"github.com/pressly/goose":         {"internal/database"},
	"github.com/google/fhir":           {"internal/verify/strict"},
	"github.com/yuin/goldmark":         {"internal/site/docs"},
	"github.com/rogpeppe/go-internal":  nil,
	"github.com/google/go-cmp":         {"loaders/loadertest"},
	"testing":                          {"loaders/loadertest", "internal/fhirtest", "internal/smart/blackbox", "internal/database/databasetest"},
}

// banned modules are imported nowhere, tests included.
var banned = []string{"github.com/apache/arrow-go", "github.com/apache/arrow/go/v17/parquet", "github.com/stretchr/testify", "io/ioutil"}

// pkg is a package as go list describes it.
type pkg struct {
	ImportPath, Doc                    string
	Imports, TestImports, XTestImports []string
}

func (p *pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		i := slices.IndexFunc(rooms, func(r room) bool { return matches(r.packages, p.name()) })
		if i < 0 {
			t.Errorf("%s stands in no room: say in rooms_test.go and .golangci.yml what it may import", p.name())
			continue
		}
		for _, imp := range p.Imports {
			for _, complaint := range judge(&rooms[i], p.name(), imp) {
				t.Error(complaint)
			}
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if slices.ContainsFunc(banned, func(b string) bool { return below(imp, b) }) {
				t.Errorf("%s imports %s, which nothing here may", p.name(), imp)
			}
		}
	}
}

// TestJudge proves that the rules above can fail.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, imp string
		want      bool // a complaint
	}{
		{"schemas/cpcds", "cpcds2fhir/schemas/fhir", true},
		{"schemas/carin", "cpcds2fhir/schemas/cpcds", false},
		{"schemas/layouts", "cpcds2fhir/pipeline", true},
		{"mappers", "cpcds2fhir/pipeline", true},
		{"mappers", "cpcds2fhir/schemas/fhir", false},
		{"mappers", "time", true},
		{"mappers", "os/exec", true},
		{"mappers", "strings", false},
		{"pipeline", "cpcds2fhir/pipeline/csvio", true},
		{"pipeline", "cpcds2fhir/pipeline/spill", true},
		{"pipeline", "cpcds2fhir/pipeline/rowbatch", true},
		{"pipeline/claims", "cpcds2fhir/pipeline/directory", false},
		{"pipeline/claims", "cpcds2fhir/pipeline/batchrun", true},
		{"pipeline/claims", "cpcds2fhir/pipeline/rejects", true},
		{"pipeline/claims", "os", true},
		{"pipeline/tables", "time", true},
		{"pipeline/batchrun", "cpcds2fhir/pipeline/claims", false},
		{"pipeline/batchrun", "cpcds2fhir/pipeline/parquetio", true},
		{"pipeline/rejects", "cpcds2fhir/pipeline/claims", true},
		{"pipeline", "cpcds2fhir/internal/store", true},
		{"pipeline", "cpcds2fhir/loaders/ndjson", true},
		{"pipeline/csvio", "cpcds2fhir/pipeline", false},
		{"pipeline/csvio", "cpcds2fhir/mappers", true},
		{"pipeline/csvio", "github.com/parquet-go/parquet-go", true},
		{"pipeline/folders", "cpcds2fhir/pipeline/parquetio", true},
		{"pipeline/folders", "cpcds2fhir/pipeline/columnar", true},
		{"pipeline/folders", "github.com/parquet-go/parquet-go", true},
		{"pipeline/folders", "cpcds2fhir/pipeline", false},
		{"pipeline/parquetio", "github.com/parquet-go/parquet-go/format", false},
		{"pipeline/parquetio", "github.com/apache/arrow/go/v17/arrow", true},
		{"pipeline/parquetio", "cpcds2fhir/pipeline/parquetio/page", false},
		{"pipeline/parquetio/page", "cpcds2fhir/pipeline/parquetio", true},
		{"pipeline/parquetio/page", "cpcds2fhir/pipeline/parquetio/cell", true},
		{"pipeline/parquetio/page", "cpcds2fhir/schemas/cpcds", true},
		{"pipeline/parquetio/page", "github.com/parquet-go/parquet-go/format", false},
		{"pipeline/parquetio/page", "os", true},
		{"pipeline/parquetio/deltacheckpoint", "cpcds2fhir/pipeline/parquetio", true},
		{"pipeline/csvio", "cpcds2fhir/pipeline/parquetio/cell", true},
		{"pipeline/arrowio", "cpcds2fhir/pipeline/arrowio/array", false},
		{"pipeline/arrowio/array", "cpcds2fhir/pipeline/arrowio/ipc", false},
		{"pipeline/arrowio/array", "cpcds2fhir/schemas/cpcds", true},
		{"pipeline/arrowio/ipc", "cpcds2fhir/pipeline/arrowio/array", true},
		{"pipeline/arrowio/fault", "cpcds2fhir/pipeline/arrowio", true},
		{"loaders/store", "cpcds2fhir/internal/store", false},
		{"loaders/ndjson", "cpcds2fhir/internal/store", true},
		{"internal/store", "cpcds2fhir/pipeline", true},
		{"cmd/cpcds2fhir", "cpcds2fhir/loaders/ndjson", false},
		{"cmd/cpcds2fhir", "github.com/google/fhir/go/jsonformat", true},
		{"internal/verify/strict", "github.com/google/fhir/go/jsonformat", false},
		{"internal/portal/forms", "github.com/goccy/go-yaml/ast", false},
		{"internal/portal/forms", "net/http", true},
		{"internal/portal", "cpcds2fhir/internal/site", true},
		{"internal/portal", "cpcds2fhir/internal/portal/mail", true},
		{"internal/portal", "github.com/wneessen/go-mail", true},
		{"internal/portal/lifecycle", "time", true},
		{"internal/portal/mail", "github.com/wneessen/go-mail/smtp", false},
		{"internal/portal/mail", "github.com/emersion/go-smtp", true},
		{"internal/portal/forms", "net/url", false},
		{"internal/portal/forms", "cpcds2fhir/internal/accounts", true},
		{"internal/verify", "cpcds2fhir/mappers", true},
		{"internal/verify", "cpcds2fhir/schemas/carin", true},
		{"cmd/cpcds2fhir", "testing", true},
	} {
		i := slices.IndexFunc(rooms, func(r room) bool { return matches(r.packages, c.name) })
		if i < 0 {
			t.Fatalf("%s stands in no room", c.name)
		}
		if got := len(judge(&rooms[i], c.name, c.imp)) > 0; got != c.want {
			t.Errorf("%s importing %s: a complaint: %t, want %t", c.name, c.imp, got, c.want)
		}
	}
}

// judge says what is wrong with an import of a package of a room.
func judge(r *room, name, imp string) (complaints []string) {
	complain := func(why string) { complaints = append(complaints, name+" imports "+imp+": "+why) }
	if own, ok := strings.CutPrefix(imp, module+"/"); ok {
		if !slices.ContainsFunc(r.imports, func(p string) bool { return matches(p, own) }) {
			complain("imports point one way, see DESIGN.md")
		}
		return complaints
	}
	if slices.ContainsFunc(r.never, func(n string) bool { return below(imp, n) }) {
		complain("this package does no I/O and reads no clock")
	}
	for mod, allowed := range confined {
		if below(imp, mod) && !slices.ContainsFunc(allowed, func(p string) bool { return matches(p, name) }) {
			complain("it is confined to " + strings.Join(append(slices.Clone(allowed), "tests"), ", "))
		}
	}
	return complaints
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.name())
		}
		for _, drawer := range []string{"util", "utils", "common", "types", "helpers", "models", "misc"} {
			if filepath.Base(p.ImportPath) == drawer {
				t.Errorf("%s is named after nothing: call it what it holds", p.name())
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if n := bytes.Count(src, []byte{'\n'}); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by subject", path, n, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

// matches reports whether a pattern stands for a package.
func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	folder, all := strings.CutSuffix(pattern, "/...")
	return name == folder || all && strings.HasPrefix(name, folder+"/")
}

// below reports whether an import path is a package or module, or one within it.
func below(path, of string) bool { return path == of || strings.HasPrefix(path, of+"/") }

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above this folder")
		}
		dir = up
	}
}

// packages asks the go command for all packages of the module.
func packages(t *testing.T) []*pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root(t)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, &complaint)
	}
	var list []*pkg
	for d := json.NewDecoder(&out); ; {
		p := new(pkg)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list knows only %d packages", len(list))
	}
	return list
}
