package fhirclient

import (
	"net/url"
	"slices"
	"testing"
	"testing/fstest"
)

func TestProfiles(t *testing.T) {
	all, err := readProfiles(serverFiles)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"generic", "hapi", "azure", "google", "healthlake", "aidbox", "medplum", "blaze", "linuxforhealth", "cpcds2fhir"} {
		p := all[name]
		if p == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if p.Refused != "" {
			continue
		}
		if err := (&Config{Profile: name}).Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s := p.settings(&Config{})
		if !slices.Contains([]string{"client", "conditional"}, s.IDs) || !slices.Contains([]string{"transaction", "batch"}, s.Bundle) ||
			s.Entries < 1 || s.Bytes < 500_000 || p.Concurrency.Start < 1 || s.Concurrency < p.Concurrency.Start || s.Timeout == 0 || s.Patience == 0 || p.Page < 1 {
			t.Errorf("%s: %+v", name, s)
		}
		if got := p.rule(429, nil); Meaning(got.Means) != Later || !got.Slower {
			t.Errorf("%s: 429 means %+v", name, got)
		}
	}
	// V23: no bundle is larger than its server takes.
	for name, most := range map[string]struct{ entries, bytes, resource int }{
		"azure": {500, 0, 0}, "google": {0, 50_000_000, 10_000_000}, "healthlake": {160, 0, 0}, "medplum": {0, 8_000_000, 0}, "blaze": {0, 1_000_000, 0},
	} {
		s := all[name].settings(&Config{})
		if most.entries > 0 && s.Entries > most.entries || most.bytes > 0 && s.Bytes > most.bytes || s.ResourceMax != most.resource {
			t.Errorf("%s: %+v, at most %+v", name, s, most)
		}
	}
}

func TestProfilesAreStrict(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown key":     "entrys: 3\n",
		"an unknown meaning": "answers:\n  - {status: 400, means: perhaps}\n",
		"an unknown unit":    "bytes: 3 pounds\n",
		"a wrong pattern":    "code_pattern: '['\n",
	} {
		if _, err := readProfiles(fstest.MapFS{"servers/generic.yaml": {Data: []byte(text)}}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestRecognise(t *testing.T) {
	for _, c := range []struct{ software, implementation, host, want string }{
		{"HAPI FHIR Server", "", "example.org", "hapi"},
		{"Smile CDR", "", "example.org", "hapi"},
		{"azure healthcare apis", "", "example.org", "azure"},
		{"", "", "x-fhir.fhir.azurehealthcareapis.com", "azure"},
		{"", "", "healthcare.googleapis.com", "google"},
		{"", "", "healthlake.us-east-1.amazonaws.com", "healthlake"},
		{"aidbox", "", "example.org", "aidbox"},
		{"medplum", "", "example.org", "medplum"},
		{"Blaze", "", "example.org", "blaze"},
		{"IBM FHIR Server", "", "example.org", "linuxforhealth"},
		{"cpcds2fhir", "", "example.org", "cpcds2fhir"},
		{"", "", "example.org", ""},
		{"", "", "ec2-1.us-east-1.amazonaws.com", ""},
		{"Something else", "a server", "notazurehealthcareapis.com", ""},
	} {
		s := &statement{}
		s.Software.Name, s.Implementation.Description = c.software, c.implementation
		p, recognised := recognise(&url.URL{Scheme: "https", Host: c.host}, s)
		if c.want == "" && (recognised || p.key != "generic") || c.want != "" && (!recognised || p.key != c.want) {
			t.Errorf("%+v: %s, %v", c, p.key, recognised)
		}
	}
}

func TestMeanings(t *testing.T) {
	for _, c := range []struct {
		profile string
		status  int
		code    string
		want    Meaning
	}{
		{"generic", 200, "", Done}, {"generic", 201, "", Done}, {"generic", 304, "", Done}, {"generic", 400, "", Refused}, {"generic", 422, "", Refused},
		{"generic", 404, "", Absent}, {"generic", 410, "", Absent}, {"generic", 409, "", Conflict}, {"generic", 412, "", Conflict}, {"generic", 413, "", Split},
		{"generic", 424, "", Later}, {"generic", 503, "", Later}, {"generic", 599, "", Later}, {"generic", 0, "", Unclear},
		{"hapi", 409, "HAPI-0989", Conflict}, {"hapi", 409, "HAPI-0823", Later}, {"hapi", 400, "HAPI-1094", Dangling}, {"hapi", 400, "HAPI-1821", Refused},
		{"blaze", 409, "conflict", Dangling}, {"blaze", 412, "", Conflict}, {"blaze", 400, "", Split},
	} {
		var o *Outcome
		if c.code != "" {
			o = &Outcome{Codes: []string{c.code}}
		}
		if got := Meaning(profiles()[c.profile].rule(c.status, o).Means); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
