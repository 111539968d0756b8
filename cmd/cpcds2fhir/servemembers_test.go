package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// TestStoreMembers finds members in a store, also those that come, change and go after the first search.
func TestStoreMembers(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	version := 0
	put := func(id, number, birth string, more string) {
		t.Helper()
		var b fhir.Batch
		version++
		if birth != "" {
			more += fmt.Sprintf(`,"birthDate":%q`, birth)
		}
		text := fmt.Sprintf(`{"resourceType":"Patient","id":%q,"identifier":[{"system":"urn:m","value":%q}],"name":[{"family":"F","given":["G","H"]}]%s}`, id, number, more)
		b.Add(&fhir.Resource{Type: fhir.Patient, ID: id, LastUpdated: "2025-01-02T03:04:05Z", SourceVersion: fmt.Sprintf("%04d", version), JSON: []byte(text),
			Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: "urn:m|" + number}}})
		if err := s.Apply(t.Context(), &b, nil); err != nil {
			t.Fatal(err)
		}
	}
	m := &storeMembers{store: s}
	find := func(name, value string) string {
		t.Helper()
		list, err := m.Find(t.Context(), url.Values{name: {value}})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, x := range list {
			texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s %s %s", x.Patient, x.Birth, map[bool]string{true: "dead"}[x.Deceased])))
		}
		slices.Sort(texts)
		return strings.Join(texts, ", ")
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, not %q", what, got, want)
		}
	}
	put("a", "1", "1980-02-03", "")
	put("b", "2,3", "1980-02-03", `,"deceasedBoolean":true`)
	put("c", "4|5", "1899-12-31", `,"deceasedDateTime":"1990"`)
	put("d", "6", "1980", "")
	put("e", "7", "", "")
	expect("number", find("identifier", "urn:m|1"), "a 1980-02-03")
	expect("comma", find("identifier", `urn:m|2\,3`), "b 1980-02-03 dead")
	expect("bar", find("identifier", `urn:m|4\|5`), "c 1899-12-31 dead")
	expect("two numbers", find("identifier", "urn:m|1,urn:m|6"), "a 1980-02-03, d 1980")
	expect("another system", find("identifier", "urn:n|1"), "")
	expect("birth date", find("birthdate", "1980-02-03"), "a 1980-02-03, b 1980-02-03 dead")
	expect("before 1970", find("birthdate", "1899-12-31"), "c 1899-12-31 dead")
	expect("nobody's", find("birthdate", "1980-01-01"), "")

	put("f", "8", "1980-02-03", "")
	put("a", "1", "1990-09-09", "") // corrected: the old date still names it, and the caller compares
	expect("a new member", find("birthdate", "1980-02-03"), "a 1990-09-09, b 1980-02-03 dead, f 1980-02-03")
	expect("a corrected one", find("birthdate", "1990-09-09"), "a 1990-09-09")
	expect("again", find("birthdate", "1990-09-09"), "a 1990-09-09")
	var b fhir.Batch
	b.Delete(fhir.Patient, "f", "2026-01-01T00:00:00Z", "9999")
	if err := s.Apply(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	expect("one who has gone", find("birthdate", "1980-02-03"), "a 1990-09-09, b 1980-02-03 dead")
	if n := len(m.births.list); n != 3 {
		t.Errorf("%d birth dates", n)
	}
	for _, q := range []url.Values{{}, {"family": {"F"}}, {"birthdate": {"1980"}}, {"birthdate": {"1980-02-03"}, "identifier": {"urn:m|1"}}} {
		if _, err := m.Find(t.Context(), q); err == nil {
			t.Errorf("%v is no search", q)
		}
	}
	list, err := m.Find(t.Context(), url.Values{"identifier": {"urn:m|1"}})
	if err != nil || len(list) != 1 || list[0].Names[0].Family != "F" || !slices.Equal(list[0].Names[0].Given, []string{"G", "H"}) || list[0].Identifiers[0].System != "urn:m" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestReadRules(t *testing.T) {
	read := func(text string) (int, string) {
		path := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := readRules(path)
		if err != nil {
			return 0, err.Error()
		}
		return len(list), ""
	}
	page, err := os.ReadFile("../../docs/login.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\nrules:\n")
	example, _, ok := strings.Cut(example, "```")
	if n, text := read("rules:\n" + example); !ok || n != 3 || text != "" {
		t.Errorf("the rules of docs/login.md: %d, %s", n, text)
	}
	for text, want := range map[string]string{
		"rules: []": "it has no rules",
		"rules: [{name: a, find: {identifiers: x}}]":                         `unknown field "identifiers"`,
		"rules: [{name: a, find: {identifier: '{member_id}'}}]":              `rule "a": find.identifier`,
		"rules: [{name: a, require: {x: [1]}, find: {identifier: 's|{m}'}}]": `rule "a": require`,
	} {
		if _, got := read(text); !strings.Contains(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
	if _, err := readRules(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is missing")
	}
}
