package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

// TestAuditSeesWhatIsShown compares what the audit is told with what each answer has, for members and for
// operators: every resource, and whose it is.
func TestAuditSeesWhatIsShown(t *testing.T) {
	w := newWorld(t, 4)
	var b fhir.Batch
	b.Delete(fhir.ExplanationOfBenefit, "ep0001-4", "2025-02-02T00:00:00Z", "1")
	if err := w.store.Apply(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	var told *api.Answer
	var shown []string
	s := w.serve(t, func(c *api.Config) {
		c.Events.Audit = func(a *api.Answer) error {
			x := *a
			told, shown = &x, nil
			for _, r := range a.Shown {
				shown = append(shown, fmt.Sprintf("%s/%s of %s", r.Type, r.ID, r.Patient))
			}
			return nil
		}
	})
	for _, path := range []string{
		"Patient/p0001", "Coverage/cp0001", "Organization/o1", "ExplanationOfBenefit/ep0001-1", "ExplanationOfBenefit/ep0001-1/_history/1",
		"ExplanationOfBenefit/ep0001-1/_history", "ExplanationOfBenefit/ep0001-4/_history", "Organization/o1/_history", "RelatedPerson/xp0001/_history",
		"ExplanationOfBenefit?patient=p0001&_include=*", "ExplanationOfBenefit?patient=p0001&_count=2&_sort=service-date",
		"Patient?_id=p0001,p0002&_revinclude=ExplanationOfBenefit:patient", "Coverage?beneficiary=p0001&_include=Coverage:payor&_elements=status",
		"Patient/p0001/$everything?_count=9", "ExplanationOfBenefit?patient=p0001&_summary=count", "Patient?_id=nobody",
		"Patient/nobody", "Patient/p0003", "ExplanationOfBenefit/ep0001-4",
	} {
		for _, member := range []string{"", "p0001"} {
			told = nil
			r := do(t, s, request{path: "/fhir/" + path, member: member})
			if told == nil || told.Access == nil || told.Access.Patient != member || told.Status != r.status {
				t.Fatalf("%s, member %q: status %d, the audit was told %+v", path, member, r.status, told)
			}
			want := shownBy(t, r.body)
			slices.Sort(want)
			slices.Sort(shown)
			if diff := cmp.Diff(want, shown); diff != "" {
				t.Errorf("%s, member %q (-answer +audit):\n%s", path, member, diff)
			}
		}
	}
	for _, x := range []struct {
		request
		known string
	}{
		{request{path: "/fhir/Patient?identifier=urn:members|p0001&_count=1"}, "[identifier _count]"},
		{request{path: "/fhir/Patient?S3CR3T=1&_id=p0001", header: map[string]string{"Prefer": "handling=lenient"}}, "[_id]"},
	} {
		do(t, s, x.request)
		if got := fmt.Sprint(told.Params); got != x.known {
			t.Errorf("%s: parameters %s", x.path, got)
		}
	}
	told = nil
	for _, path := range []string{"metadata", "openapi.json", "nothing"} {
		do(t, s, request{path: "/fhir/" + path})
	}
	if told != nil {
		t.Errorf("the audit was told of what is nobody's: %+v", told)
	}
}

// shownBy lists the resources of an answer with whose they are, as they say themselves.
func shownBy(t *testing.T, body []byte) (list []string) {
	t.Helper()
	type reference struct{ Reference string }
	var r struct {
		ResourceType, ID     string
		Patient, Beneficiary reference
		Entry                []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	switch r.ResourceType {
	case "OperationOutcome":
	case "Bundle":
		for _, e := range r.Entry {
			if len(e.Resource) > 0 {
				list = append(list, shownBy(t, e.Resource)...)
			}
		}
	default:
		of := strings.TrimPrefix(r.Patient.Reference+r.Beneficiary.Reference, "Patient/")
		switch {
		case r.ResourceType == "Patient":
			of = r.ID
		case of == "" && strings.HasPrefix(r.ID, "cp"): // _elements has left it out
			of = r.ID[1:]
		}
		list = append(list, fmt.Sprintf("%s/%s of %s", r.ResourceType, r.ID, of))
	}
	return list
}

// TestNoAuditNoAnswer proves that nothing of a member is sent if the audit cannot be written.
func TestNoAuditNoAnswer(t *testing.T) {
	w := newWorld(t, 2)
	failed := 0
	s := w.serve(t, func(c *api.Config) {
		c.Events.Audit = func(*api.Answer) error { return errors.New("the disk is full") }
		c.Events.Failed = func(string, error) { failed++ }
	})
	for i, x := range []request{
		{path: "/fhir/Patient/p0001"}, {path: "/fhir/Patient/p0001", header: map[string]string{"If-None-Match": "*"}}, {path: "/fhir/Patient?_id=p0001"},
		{path: "/fhir/Patient/p0001/$everything"}, {path: "/fhir/Patient/p0001/_history"}, {path: "/fhir/Patient/none"},
	} {
		r := do(t, s, x)
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.header.Get("ETag") != "" || !strings.Contains(string(r.body), "OperationOutcome") || strings.Contains(string(r.body), "p0001") {
			t.Errorf("%s: %d %v %s", x.path, r.status, r.header, r.body)
		}
		if failed != i+1 {
			t.Errorf("%s: %d failures were reported", x.path, failed)
		}
	}
	if r := do(t, s, request{path: "/fhir/metadata"}); r.status != 200 {
		t.Errorf("metadata: %d", r.status)
	}
}

// TestRates proves that an app, and an app for a member, is told to wait when it sends too many requests, and
// that others are not.
func TestRates(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, func(c *api.Config) { c.Limits.Client, c.Limits.Member = 6, 4 })
	from := func(client, member string) (status int, retry string) {
		r := do(t, s, request{path: "/fhir/Patient?_id=p0001", member: member, header: map[string]string{"Client": client}})
		if r.status == http.StatusTooManyRequests && !strings.Contains(string(r.body), "throttled") {
			t.Errorf("%s", r.body)
		}
		return r.status, r.header.Get("Retry-After")
	}
	for i, x := range []struct {
		client, member string
		status         int
		retry          string
	}{
		{"a", "p0001", 200, ""}, {"a", "p0001", 200, ""}, {"a", "p0001", 200, ""}, {"a", "p0001", 200, ""},
		{"a", "p0001", 429, "15"}, // of the member
		{"b", "p0001", 200, ""},   // another app
		{"a", "p0002", 200, ""},   // another member, the last request of the app
		{"a", "p0002", 429, "10"}, {"a", "", 429, "10"},
		{"b", "", 200, ""}, {"", "p0001", 200, ""}, {"", "p0001", 200, ""}, {"", "p0001", 200, ""}, {"", "p0001", 200, ""},
		{"", "p0001", 429, "15"}, {"", "", 200, ""},
	} {
		if status, retry := from(x.client, x.member); status != x.status || retry != x.retry {
			t.Errorf("%d: %d, Retry-After %q, want %d %q", i, status, retry, x.status, x.retry)
		}
	}
	unlimited := w.serve(t, func(c *api.Config) { c.Limits.Client, c.Limits.Member = -1, -1 })
	for range 50 {
		if r := do(t, unlimited, request{path: "/fhir/Patient?_id=p0001", header: map[string]string{"Client": "a"}}); r.status != 200 {
			t.Fatal(r.status)
		}
	}
}
