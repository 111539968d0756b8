package remote

import (
	"encoding/json"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

func TestWithReferences(t *testing.T) {
	to := func(r string) string {
		if r == "Patient/a" {
			return "Patient/17"
		}
		return ""
	}
	f := func(in, want string) {
		t.Helper()
		got, err := withReferences([]byte(in), to)
		if err != nil || string(got) != want {
			t.Errorf("%s\ngives %s (%v)\nwant  %s", in, got, err, want)
		}
	}
	f(`{"a":{"reference":"Patient/a"},"b":[{"reference" : "Patient/a"},{"reference":"Patient/b"}]}`,
		`{"a":{"reference":"Patient/17"},"b":[{"reference" : "Patient/17"},{"reference":"Patient/b"}]}`)
	f(`{"a":{"reference":{"identifier":{"value":"Patient/a"}}},"value":"Patient/a"}`, `{"a":{"reference":{"identifier":{"value":"Patient/a"}}},"value":"Patient/a"}`)
	f(`{"text":"\"reference\":\"Patient/a\"","x":["reference","Patient/a"]}`, `{"text":"\"reference\":\"Patient/a\"","x":["reference","Patient/a"]}`)
	f(`{"reference":"Patient\/a"}`, `{"reference":"Patient/17"}`)
	if _, err := withReferences([]byte(`{"a":"`), to); err == nil {
		t.Error("half a text is rewritten")
	}
}

func TestIdentified(t *testing.T) {
	ours := `{"system":"` + IdentifierSystem + `","value":"pa"}`
	f := func(in, there, want string) {
		t.Helper()
		got, err := identified([]byte(in), "pa", there)
		if err != nil || string(got) != want {
			t.Errorf("%s\ngives %s (%v)\nwant  %s", in, got, err, want)
		}
		if id := idOf(got); id != "pa" {
			t.Errorf("the id of %s is %q", got, id)
		}
		a, _ := DigestOf([]byte(in), nil, nil)
		if b, _ := DigestOf(got, nil, nil); a != b {
			t.Errorf("%s and %s have different digests", in, got)
		}
	}
	f(`{"resourceType":"Patient","id":"pa"}`, "", `{"resourceType":"Patient","identifier":[`+ours+`]}`)
	f(`{"resourceType":"Patient","id":"pa","identifier":[{"value":"1"}],"active":true}`, "17", `{"resourceType":"Patient","id":"17","identifier":[`+ours+`,{"value":"1"}],"active":true}`)
	f(`{"id":"pa","identifier":[ {"value":"1"} ]}`, "17", `{"id":"17","identifier":[`+ours+`,{"value":"1"} ]}`)
	if _, err := identified([]byte(`{"identifier":1}`), "pa", ""); err == nil {
		t.Error("an identifier that is no list is extended")
	}
}

func TestAsOurs(t *testing.T) {
	f := func(in, updated, want string) {
		t.Helper()
		got, err := asOurs([]byte(in), "pa", updated)
		if err != nil || string(got) != want {
			t.Errorf("%s\ngives %s (%v)\nwant  %s", in, got, err, want)
		}
	}
	f("{\n \"id\" : \"17\",\n \"meta\" : {\"versionId\":\"2\",\"source\":\"#1\",\"profile\":[\"p\"]},\n \"a\" : 1.50 }", "2024-01-01", `{"id":"pa","meta":{"lastUpdated":"2024-01-01","profile":["p"]},"a":1.50}`)
	f(`{"id":"17","meta":{"versionId":"2"}}`, "", `{"id":"pa"}`)
	f(`{"id":"17"}`, "2024-01-01", `{"id":"pa","meta":{"lastUpdated":"2024-01-01"}}`)
	f(`{"identifier":[{"system":"`+IdentifierSystem+`","value":"pa"}],"x":"<&>"}`, "", `{"x":"<&>"}`)
	for _, text := range []string{"", "[]", `{"meta":1}`, `{"identifier":{}}`, `{"a":1}}`} {
		if _, err := asOurs([]byte(text), "pa", ""); err == nil {
			t.Errorf("%s is taken for a resource", text)
		}
	}
}

func TestMarked(t *testing.T) {
	f := func(typ fhir.Type, in, want string, already bool) {
		t.Helper()
		got, was, err := marked(typ, []byte(in))
		if err != nil || string(got) != want || was != already {
			t.Errorf("%s: %s gives %s, %v (%v)", typ, in, got, was, err)
		}
	}
	f(fhir.Patient, `{"active":true,"a":1}`, `{"active":false,"a":1}`, false)
	f(fhir.Patient, `{"active":false}`, `{"active":false}`, true)
	f(fhir.Practitioner, `{}`, `{"active":false}`, false)
	f(fhir.RelatedPerson, `{"a":1}`, `{"a":1,"active":false}`, false)
	f(fhir.Organization, `{"active":true}`, `{"active":false}`, false)
	f(fhir.Coverage, `{"status":"active"}`, `{"status":"entered-in-error"}`, false)
	f(fhir.ExplanationOfBenefit, `{"status":"entered-in-error"}`, `{"status":"entered-in-error"}`, true)
}

func TestRelative(t *testing.T) {
	for in, want := range map[string]string{
		"Patient/1": "Patient/1", "http://s/fhir/Patient/1": "Patient/1", "http://s/fhir/Patient/1/_history/2": "Patient/1",
		"Patient/1/_history/2": "Patient/1", "http://other/fhir/Patient/1": "http://other/fhir/Patient/1",
	} {
		if got := relative("http://s/fhir", in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestEntriesAreKept(t *testing.T) {
	landed := updated
	for _, e := range []entry{{}, {Present: true, There: There{Digest: Digest{1}, Version: "7", ID: "s1"}}, {Present: true, Marked: true, Landed: &landed}, {Landed: &landed}} {
		got, err := decodeEntry(e.encode())
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(e)
		if b, _ := json.Marshal(got); string(a) != string(b) {
			t.Errorf("%s is kept as %s", a, b)
		}
	}
	if _, err := decodeEntry([]byte("short")); err == nil {
		t.Error("a damaged entry is read")
	}
	if _, err := decodeIntent([]byte("short")); err == nil {
		t.Error("a damaged intent is read")
	}
}
