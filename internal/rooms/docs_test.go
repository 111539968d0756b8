package rooms_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/rejects.md that are made from the program")

// TestRejectsPage compares the tables of docs/rejects.md with the program.
func TestRejectsPage(t *testing.T) {
	path := filepath.Join(root(t), "docs", "rejects.md")
	have := read(t, path)
	want := have
	for name, table := range map[string]string{"rules": ruleTable(), "repairs": repairTable(t)} {
		want = fillIn(t, want, name, table)
	}
	if want == have {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, now := strings.Split(have, "\n"), strings.Split(want, "\n")
	for _, line := range now {
		if !slices.Contains(old, line) {
			t.Errorf("docs/rejects.md lacks %q", line)
		}
	}
	for _, line := range old {
		if !slices.Contains(now, line) {
			t.Errorf("docs/rejects.md has %q, which is no longer so", line)
		}
	}
	t.Error("docs/rejects.md differs from the program: run make docs")
}

// TestMappingPage compares docs/mapping.md with the program.
func TestMappingPage(t *testing.T) {
	path := filepath.Join(root(t), "docs", "mapping.md")
	have := read(t, path)
	want := fillIn(t, have, "mapping", mappingTable())
	if want == have {
		return
	}
	if !*update {
		t.Fatal("docs/mapping.md differs from the program: run make docs")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mappingTable has a row for every column and every set of paths that it becomes;
// profiles of claims are letters.
func mappingTable() string {
	var b strings.Builder
	table := cpcds.NumTables
	type line struct{ profiles, paths string }
	var lines []line
	var element cpcds.Element
	flush := func() {
		for _, l := range lines {
			info := element.Info()
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", strings.ReplaceAll(info.MapIDs, ";", " "), info.Column, l.profiles, l.paths)
		}
		lines = nil
	}
	for _, m := range carin.Mapping() {
		if m.Element != element {
			flush()
			element = m.Element
		}
		if t := m.Element.Info().Level.Table(); t != table {
			table = t
			fmt.Fprintf(&b, "\n### %s\n\n| MapID | column | in | becomes |\n|---|---|---|---|\n", t)
		}
		profiles := ""
		for p := range carin.NumProfiles {
			if p.String() == m.Profile {
				profiles = profileLetters[p]
			}
		}
		var paths []string
		for _, p := range m.Paths {
			text := "`" + strings.TrimPrefix(p, "ExplanationOfBenefit.") + "`"
			if s := m.System(p); s != "" {
				text += " (" + s + ")"
			}
			paths = append(paths, text)
		}
		text := strings.Join(paths, ", ")
		if text == "" {
			text = carin.WhyUnused(m.Element)
		}
		if i := slices.IndexFunc(lines, func(l line) bool { return l.paths == text }); i >= 0 {
			lines[i].profiles += profiles
		} else {
			lines = append(lines, line{profiles, text})
		}
	}
	flush()
	b.WriteString("\n### Elements of the dictionary that no column becomes\n\n| MapID | in | why |\n|---|---|---|\n")
	for _, u := range carin.Unmappeds() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(u.MapIDs, " "), strings.Join(u.Profiles, ", "), u.Reason)
	}
	return b.String()
}

// TestManifestPage demands that docs/manifest.md speaks of every field.
func TestManifestPage(t *testing.T) {
	page := read(t, filepath.Join(root(t), "docs", "manifest.md"))
	for _, name := range fieldNames(reflect.TypeFor[manifest.Manifest]()) {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/manifest.md does not say what %s means", name)
		}
	}
}

// fieldNames lists the JSON names of a struct and of all structs within it.
func fieldNames(typ reflect.Type) (names []string) {
	switch typ.Kind() {
	case reflect.Map, reflect.Slice:
		return fieldNames(typ.Elem())
	case reflect.Struct:
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			names = append(append(names, name), fieldNames(typ.Field(i).Type)...)
		}
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fillIn puts a table between the marks of its name.
func fillIn(t *testing.T, page, name, table string) string {
	t.Helper()
	before, rest, ok := strings.Cut(page, "<!-- "+name+" -->\n")
	_, after, closed := strings.Cut(rest, "<!-- /"+name+" -->")
	if !ok || !closed {
		t.Fatalf("the page has no marks for %s", name)
	}
	return before + "<!-- " + name + " -->\n" + table + "<!-- /" + name + " -->" + after
}

// profileLetters are how the page abbreviates profiles.
var profileLetters = map[carin.Profile]string{carin.Inpatient: "I", carin.Outpatient: "O", carin.Professional: "P", carin.Pharmacy: "R", carin.Oral: "D"}

func ruleTable() string {
	var b strings.Builder
	b.WriteString("| rule | severity | of | what must be so | in lenient mode |\n|---|---|---|---|---|\n")
	row := func(id, severity, of, text, lenient string) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", id, severity, of, strings.ReplaceAll(text, "|", `\|`), lenient)
	}
	for _, id := range layouts.ValueRules() {
		lenient := "the value is left out if the record is valid without it, but never an identifier of a claim, a diagnosis or a drug"
		if id == layouts.RuleMoney || id == layouts.RuleQuantity {
			lenient = "rejected: an amount or quantity is never left out"
		}
		row(id, "error", "any column", layouts.ValueRuleText(id), lenient)
	}
	for _, id := range slices.Sorted(maps.Keys(pipeline.EngineRules)) {
		lenient := "rejected: leaving values out cannot fix it"
		switch id {
		case "duplicate-line":
			lenient = "an exact copy is left out (`duplicate-line-dropped`), otherwise rejected: it is unclear which line is right"
		case "poa-conflict":
			lenient = "the answers are left out"
		}
		row(id, "error", "claims and coverages", pipeline.EngineRules[id], lenient)
	}
	for _, id := range slices.Sorted(maps.Keys(pipeline.EngineWarnings)) {
		row(id, "warning", "claims", pipeline.EngineWarnings[id], "")
	}
	row("unused-COLUMN", "warning", "claims", "a column that is filled although the profile has no place for it; it is left out. There is one such rule for every column that some profile lacks: see mapping.md", "")
	checker := carin.NewChecker(carin.V220)
	for _, r := range checker.Rules() {
		if strings.HasPrefix(r.ID, "unused-") {
			continue
		}
		of := r.Table.String()
		if len(r.Profiles) > 0 {
			of = ""
			for _, p := range r.Profiles {
				of += profileLetters[p]
			}
		}
		row(r.ID, r.Severity.String(), of, r.Text, lenientText(checker, &r))
	}
	return b.String()
}

// lenientText says what lenient mode does about a rule, and why.
func lenientText(k *carin.Checker, r *carin.Rule) string {
	if r.Severity != carin.Error {
		return ""
	}
	profiles := r.Profiles
	if len(profiles) == 0 {
		profiles = []carin.Profile{0} // of a small table
	}
	demanded := false
	for _, p := range profiles {
		if k.Demands(r.Table, p, r.Element) {
			demanded = true
		}
	}
	switch {
	case carin.LeavesOut(r.ID, r.Table, r.Element) && demanded:
		return "the value is left out if the record is valid without it"
	case carin.LeavesOut(r.ID, r.Table, r.Element):
		return "the value is left out"
	case strings.Contains(r.ID, "required"):
		return "rejected: the resource is not valid without it"
	case strings.Contains(r.ID, "unknown-"):
		return "rejected: the reference is required, and parties are not made up"
	}
	if why := carin.Essential(r.Element); why != "" {
		return "rejected: " + why
	}
	return "rejected: it is unclear which value is wrong"
}

// repairTexts say what the repairs of the engine and of the built-in layouts do.
var repairTexts = map[string]string{
	"benefit-from-network":       "the benefit payment status is taken from the billing provider's network if the source has its own codes",
	"codes-mapped":               "codes of the source become those of the value set by the layout's tables: SNOMED diagnoses to ICD-10-CM, devices to HCPCS, words to NUBC codes",
	"coverages-collapsed":        "equal rows of coverages become one Coverage; claims refer to that one",
	"diagnosis-unmapped-dropped": "a diagnosis whose code has no ICD form is left out; a claim that needs one and has no other is rejected",
	"duplicate-line-dropped":     "a line that is an exact copy of another, including its number, is left out",
	"facility-bills":             "the service facility replaces a billing provider that cannot be referred to",
	"fills-split":                "each fill among the lines of a claim becomes a separate pharmacy claim",
	"first-diagnosis-principal":  "of several principal diagnoses the first stays one, the others become other or secondary",
	"icd-point-inserted":         "a missing decimal point is inserted if the diagnosis code is valid with it: S060X1A becomes S06.0X1A",
	"leading-zero-restored":      "a revenue code, type of bill, place of service, discharge status, DRG, oral cavity area, CPT code of anesthesia, ICD-10-PCS or ICD-9 code or ZIP code that is too short gets its lost leading zeros back",
	"optional-value-dropped":     "a value that breaks a rule is left out if the profile does not require it and the claim means the same without it; for a procedure or a care team member, the whole entry is left out",
	"npi-malformed-dropped":      "an NPI without ten digits or with a wrong check digit is left out",
	"origin-dropped":             "a point of origin that is not an NUBC code is left out",
	"payment-status-from-amount": "a payment status of complete becomes paid if an amount was paid, otherwise it is left out",
	"poa-conflict-dropped":       "present on admission is left out of a diagnosis that has two answers",
	"reclassified-by-bill-type":  "an inpatient claim with the bill type of an outpatient visit (0852) becomes outpatient",
	"rxnorm-as-text":             "an RxNorm concept where an NDC belongs becomes the text of the drug",
	"service-code-as-text":       "a service code of an institutional claim that no value set has becomes the text of the service",
}

func repairTable(t *testing.T) string {
	of := map[string][]string{}
	for _, l := range layouts.Builtins() {
		for _, name := range pipeline.KnownRepairs(l) {
			of[name] = append(of[name], l.Name)
		}
	}
	var b strings.Builder
	b.WriteString("| repair | layouts | what it does |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if repairTexts[name] == "" {
			t.Errorf("say in docs_test.go what the repair %s does", name)
		}
		layoutsOf := strings.Join(of[name], ", ")
		if len(of[name]) == len(layouts.Builtins()) {
			layoutsOf = "all"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, layoutsOf, repairTexts[name])
	}
	return b.String()
}
