package sandbox

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestExtractStays demands that a folder keeps its month: a start in a later month finds the same bytes.
func TestExtractStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "extract")
	first := extract(t, dir, time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC))
	if again := extract(t, dir, time.Date(2027, 6, 30, 23, 0, 0, 0, time.UTC)); again["claims.csv"] != first["claims.csv"] || len(again) != len(first) {
		t.Error("the second extract differs from the first")
	}
	// The month is that of UTC, whatever zone the clock is in.
	west := time.FixedZone("west", -8*3600)
	if other := extract(t, filepath.Join(t.TempDir(), "extract"), time.Date(2025, 12, 31, 20, 0, 0, 0, west)); other["claims.csv"] != first["claims.csv"] {
		t.Error("the same instant in another zone makes another extract")
	}
	for _, path := range []string{filepath.Join(dir, "claims.csv"), dir + monthSuffix} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", path, info.Mode(), err)
		}
	}
	if err := os.WriteFile(dir+monthSuffix, []byte("soon"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Extract(dir, time.Now()); err == nil || !strings.Contains(err.Error(), "does not hold a month") {
		t.Errorf("a damaged month file: %v", err)
	}
}

func extract(t *testing.T, dir string, now time.Time) map[string]string {
	t.Helper()
	if err := Extract(dir, now); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err, len(paths))
	}
	files := map[string]string{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(p)] = string(b)
	}
	return files
}

type reference struct{ Reference string }

type concept struct {
	Coding []struct{ System, Code string }
	Text   string
}

// resource has what the tests look at, of resources of any type.
type resource struct {
	ResourceType, ID, Status, Outcome string
	Meta                              struct{ LastUpdated time.Time }
	Identifier                        []struct{ System, Value string }
	Name                              json.RawMessage
	Type                              json.RawMessage
	SubType                           concept
	Patient, Insurer, Provider        reference
	Beneficiary, Subscriber           reference
	Payor                             []reference
	Payee                             struct{ Party reference }
	CareTeam                          []struct{ Provider reference }
	BillablePeriod                    struct{ Start string }
	Insurance                         []struct{ Coverage reference }
	Related                           []struct{ Relationship concept }
	Payment                           struct{ Type concept }
	Item                              []struct{ ProductOrService concept }
}

// kind is the kind of claim of an ExplanationOfBenefit.
func (r *resource) kind(t *testing.T) string {
	t.Helper()
	var c concept
	if err := json.Unmarshal(r.Type, &c); err != nil {
		t.Fatal(err)
	}
	if code := c.Coding[0].Code; code != "institutional" {
		return code
	}
	return r.SubType.Coding[0].Code
}

// seed is what an extract becomes.
type seed struct {
	all     map[string]*resource
	claims  map[string][]*resource // by member_id
	members map[string]*resource
	text    map[string]string
}

// run runs a program whose configuration is in a folder.
func run(t *testing.T, config, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+config)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// load loads an extract in strict mode with the program itself, and reads what it wrote.
func load(t *testing.T, program string, now time.Time) *seed {
	t.Helper()
	dir := t.TempDir()
	in, out, manifest := filepath.Join(dir, "extract"), filepath.Join(dir, "out"), filepath.Join(dir, "manifest.json")
	extract(t, in, now)
	run(t, dir, program, "load", "--quiet", "--mode", "strict", "--manifest", manifest, "--to", "ndjson:"+out, in)
	var account struct {
		Balanced bool
		Claims   struct{ Seen, Loaded, Rejected int }
	}
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &account); err != nil {
		t.Fatal(err)
	}
	if !account.Balanced || account.Claims.Rejected > 0 || account.Claims.Loaded != account.Claims.Seen || account.Claims.Seen < 100 {
		t.Fatalf("the account of the load: %+v", account)
	}
	return read(t, out)
}

func read(t *testing.T, out string) *seed {
	t.Helper()
	s := &seed{map[string]*resource{}, map[string][]*resource{}, map[string]*resource{}, map[string]string{}}
	files, err := filepath.Glob(filepath.Join(out, "*", "*.ndjson"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			r := new(resource)
			if err := json.Unmarshal(lines.Bytes(), r); err != nil {
				t.Fatal(err)
			}
			s.all[r.ResourceType+"/"+r.ID] = r
			s.text[r.ResourceType+"/"+r.ID] = lines.Text()
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	keys := map[string]string{}
	for path, r := range s.all {
		if r.ResourceType == "Patient" {
			i := slices.IndexFunc(r.Identifier, func(i struct{ System, Value string }) bool { return strings.HasPrefix(i.Value, "SB") })
			keys[path] = r.Identifier[i].Value
			s.members[keys[path]] = r
		}
	}
	for _, r := range s.all {
		if r.ResourceType == "ExplanationOfBenefit" {
			key := keys[r.Patient.Reference]
			s.claims[key] = append(s.claims[key], r)
		}
	}
	return s
}

// TestSeed loads extracts of months that are long, short and at the turn of a year, and holds the resources against
// what the documentation promises and what public test kits expect.
func TestSeed(t *testing.T) {
	program := filepath.Join(t.TempDir(), "cpcds2fhir")
	run(t, t.TempDir(), "go", "build", "-buildvcs=false", "-o", program, "cpcds2fhir/cmd/cpcds2fhir")
	for _, now := range []time.Time{
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC),
		time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
	} {
		t.Run(now.Format(time.DateOnly), func(t *testing.T) {
			s := load(t, program, now)
			month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
			for path, r := range s.all {
				if r.Meta.LastUpdated.After(month) {
					t.Errorf("%s is from the future: %s", path, r.Meta.LastUpdated)
				}
				if len(r.Name) == 0 && !slices.Contains([]string{"ExplanationOfBenefit", "Coverage"}, r.ResourceType) {
					t.Errorf("%s has no name", path)
				}
			}
			for _, list := range s.claims {
				for _, r := range list {
					s.checkClaim(t, r)
				}
			}
			s.checkReferences(t)
			s.checkMembers(t, month)
		})
	}
}

// checkClaim demands what test kits expect of the first claim of a member. As the order of claims is that of their
// ids, which depend on the key, it is demanded of all.
func (s *seed) checkClaim(t *testing.T, r *resource) {
	t.Helper()
	at := r.Identifier[len(r.Identifier)-1].Value
	if r.Insurer.Reference == "" || r.Provider.Reference == "" || len(r.Insurance) == 0 {
		t.Errorf("%s lacks insurer, provider or coverage", at)
		return
	}
	if r.Payee.Party.Reference != r.Provider.Reference {
		t.Errorf("%s: the payee is %q, and the provider %q", at, r.Payee.Party.Reference, r.Provider.Reference)
	}
	if len(r.CareTeam) == 0 || slices.ContainsFunc(r.CareTeam, func(c struct{ Provider reference }) bool { return c.Provider.Reference == "" }) {
		t.Errorf("%s has no care team", at)
	}
	if c := s.all[r.Insurance[0].Coverage.Reference]; c == nil || len(c.Payor) == 0 || c.Payor[0] != r.Insurer {
		t.Errorf("%s: the insurer is not the payor of its coverage", at)
	}
	if r.Outcome != "complete" {
		t.Errorf("%s: the outcome is %q", at, r.Outcome)
	}
	for i, item := range r.Item {
		if item.ProductOrService.Text == "" {
			t.Errorf("%s: item %d has no text", at, i+1)
		}
	}
}

func (s *seed) checkReferences(t *testing.T) {
	t.Helper()
	n := 0
	for path, text := range s.text {
		for rest := text; ; n++ {
			_, after, ok := strings.Cut(rest, `"reference":"`)
			if !ok {
				break
			}
			to, end, _ := strings.Cut(after, `"`)
			if s.all[to] == nil {
				t.Errorf("%s refers to %s, which is missing", path, to)
			}
			rest = end
		}
	}
	if n < 500 {
		t.Errorf("there are only %d references", n)
	}
}

func (s *seed) checkMembers(t *testing.T, month time.Time) {
	t.Helper()
	only := map[string]string{samuel: "inpatient", priya: "outpatient", tomas: "professional", ruth: "pharmacy", jun: "oral", hana: "vision"}
	for key, kind := range only {
		for _, r := range s.claims[key] {
			if got := r.kind(t); got != kind {
				t.Errorf("%s has %s claims only, and has one of kind %s", key, kind, got)
			}
		}
		if len(s.claims[key]) < 3 {
			t.Errorf("%s has %d claims", key, len(s.claims[key]))
		}
	}
	const page = 50 // the API's default
	counts, payers, outcomes, related, first, last := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, "9", ""
	for _, r := range s.claims[elena] {
		counts[r.kind(t)]++
		payers[r.Insurer.Reference]++
		outcomes[r.Status]++
		if c := r.Payment.Type.Coding; len(c) > 0 {
			outcomes[c[0].Code]++
		}
		for _, x := range r.Related {
			related[x.Relationship.Coding[0].Code]++
		}
		first, last = min(first, r.BillablePeriod.Start), max(last, r.BillablePeriod.Start)
	}
	if len(counts) != len(only) || len(payers) != 2 || len(s.claims[elena]) > page {
		t.Errorf("the member with everything has %d claims of the kinds %v of %d payers", len(s.claims[elena]), counts, len(payers))
	}
	for _, want := range []string{"active", "cancelled", "paid", "denied", "partiallypaid"} {
		if outcomes[want] == 0 {
			t.Errorf("no claim of the member with everything is %s: %v", want, outcomes)
		}
	}
	if related["prior"] != 1 || related["replacedby"] != 1 {
		t.Errorf("related claims: %v", related)
	}
	if last != date(month) || first > date(month.AddDate(0, -34, 0)) {
		t.Errorf("the history goes from %s to %s", first, last)
	}
	if len(s.claims[omar]) != 0 || s.members[omar] == nil {
		t.Error("the new member is missing, or has claims")
	}
	for _, l := range Logins() {
		if s.members[l.Member] == nil {
			t.Errorf("the login %s is of no member", l.Login)
		}
		for _, child := range l.Represents {
			if m := s.members[child]; m == nil || len(s.claims[child]) == 0 {
				t.Errorf("%s represents %s, who is missing or has no claims", l.Login, child)
			}
			for _, c := range s.all {
				if c.ResourceType == "Coverage" && c.Beneficiary.Reference == "Patient/"+s.members[child].ID && c.Subscriber.Reference != "Patient/"+s.members[l.Member].ID {
					t.Errorf("the subscriber of the coverage of %s is %s", child, c.Subscriber.Reference)
				}
			}
		}
	}
}
