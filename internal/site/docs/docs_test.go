package docs

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/carin"
)

// testSettings are those of an agency that has everything.
func testSettings() Settings {
	const portal, origin, sandbox = "https://developers.state.example", "https://api.state.example", "https://sandbox.state.example"
	return Settings{
		Agency: "Example State Medicaid", Portal: portal, Production: Embedded(origin+"/fhir", origin), Sandbox: Embedded(sandbox+"/fhir", sandbox),
		SignUp: "/sign-up", SignIn: "/sign-in", PHRForm: "/register-app", Directory: "/apps-directory", Status: "/status",
		Complaint: "/complaint", Support: portal + "/support", Contact: "help@state.example", Community: "https://forum.state.example/",
		Phone: "1-800-555-0100", TTY: "Dial 711 for the relay service.", Address: "1 Main Street, Example 00001", Hours: "Monday to Friday, 8 to 5",
		Policy: "https://state.example/privacy", Notices: "https://state.example/rights",
	}
}

// documents are what a server of the API says about itself.
func documents(t testing.TB) (statement, description []byte) {
	t.Helper()
	return describe(t, &api.Config{Security: &api.Security{Authorize: "https://api.state.example/oauth2/authorize", Token: "https://api.state.example/oauth2/token"}})
}

// mappingRows are those that the program has.
func mappingRows() (rows []MappingRow) {
	for _, m := range carin.Mapping() {
		r := MappingRow{Table: m.Element.Info().Level.Table().String(), Column: m.Element.Column(), Profile: m.Profile, Paths: m.Paths}
		if len(m.Paths) == 0 {
			r.Unused = carin.WhyUnused(m.Element)
		}
		rows = append(rows, r)
	}
	return rows
}

func testConfig(t testing.TB) *Config {
	t.Helper()
	statement, description := documents(t)
	return &Config{Settings: testSettings(), Capability: statement, OpenAPI: description, Mapping: mappingRows()}
}

func newLibrary(t testing.TB, edit ...func(*Config)) *Library {
	t.Helper()
	c := testConfig(t)
	for _, f := range edit {
		f(c)
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var (
	_ = fstest.MapFS{}
	_ = fs.ErrNotExist
	_ = os.ErrNotExist
	_ = strings.Cut
	_ = store.Options{}
)
