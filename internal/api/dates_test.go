package api_test

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

// find returns what a search finds, by id, on one page. It must succeed.
func find(t testing.TB, search func(request) *answer, q request) (ids []string) {
	t.Helper()
	a := search(q)
	if a.status != 200 {
		t.Errorf("%s: %d %.300s", q.path, a.status, a.body)
		return nil
	}
	for _, r := range a.refs(t, "match") {
		_, id, _ := strings.Cut(r, "/")
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// add loads a resource.
func (w *world) add(t testing.TB, typ fhir.Type, id, rest string, keys ...fhir.Key) {
	t.Helper()
	var b fhir.Batch
	const at = "2025-01-02T03:04:05Z"
	text, err := json.Marshal(map[string]any{"lastUpdated": at})
	if err != nil {
		t.Fatal(err)
	}
	b.Add(&fhir.Resource{Type: typ, ID: id, LastUpdated: at, SourceVersion: "1", Keys: keys,
		JSON: []byte(`{"resourceType":"` + typ.String() + `","id":"` + id + `","meta":` + string(text) + `,` + rest + `}`)})
	if err := w.store.Apply(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
}

// claim loads a claim of a member.
func (w *world) claim(t testing.TB, id, member string, keys ...fhir.Key) {
	t.Helper()
	w.add(t, fhir.ExplanationOfBenefit, id, `"status":"active","patient":{"reference":"Patient/`+member+`"}`,
		append([]fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + member}}, keys...)...)
}

// TestDates holds searches by date to what FHIR says of each prefix, at the edges of periods, for periods
// without an end, for dates of lines, and for values of each precision.
func TestDates(t *testing.T) {
	w := newWorld(t, 1)
	const own = "dated"
	service := func(v string) fhir.Key { return fhir.Key{Param: fhir.ParamServiceDate, Value: v} }
	start := func(v string) fhir.Key { return fhir.Key{Param: fhir.ParamBillablePeriodStart, Value: v} }
	w.claim(t, "day", own, service("2024-03-10/2024-03-10"), start("2024-03-10"))
	w.claim(t, "next", own, service("2024-03-11/2024-03-11"), start("2024-03-11"))
	w.claim(t, "endless", own, service("2024-03-10/"), start("2024-03-10"))
	w.claim(t, "item", own, service("2024-03-05")) // lines have dates, and the claim has none
	w.claim(t, "items", own, service("2024-02-01"), service("2024-03-20/2024-03-22"))
	w.claim(t, "timed", own, service("2024-03-10T14:30:00Z/2024-03-10T15:00:00Z"), start("2024-03-10T14:30:00Z"))
	s := w.serve(t, nil)
	for _, x := range []struct{ query, want string }{
		{"service-date=2024-03-10", "day timed"}, // eq: within the day
		{"service-date=eq2024-03-10", "day timed"},
		{"service-date=ne2024-03-10", "endless item items next"},
		{"service-date=gt2024-03-10", "endless items next"},
		{"service-date=ge2024-03-10", "day endless items next timed"}, // the day itself counts
		{"service-date=lt2024-03-11", "day endless item items timed"}, // midnight is not before midnight
		{"service-date=lt2024-03-10", "item items"},
		{"service-date=le2024-03-10", "day item items timed"},
		{"service-date=sa2024-03-10", "items next"},
		{"service-date=eb2024-03-10", "item items"},
		{"service-date=eb2024-03-11", "day item items timed"},
		{"service-date=2024-03", "day item items next timed"},
		{"service-date=2024", "day item items next timed"},
		{"service-date=gt2024-03-04T00:00:00%2B00:00&service-date=lt2024-03-06T00:00:00%2B00:00", "item items"}, // of items, one date passes the one and another the other,
		{"service-date=gt2024-03-09T00:00:00%2B00:00", "day endless items next timed"},
		{"service-date=ge2030", "endless"}, // has not ended by then
		// Times, without seconds and with zones, raw plus signs repaired.
		{"billable-period-start=2024-03-10T14:30Z", "timed"},
		{"billable-period-start=2024-03-10T14:30", "timed"},
		{"billable-period-start=2024-03-10T14:30:00", "timed"},
		{"billable-period-start=2024-03-10T14:30:00.000Z", "timed"},
		{"billable-period-start=gt2024-03-10T14:30", "day endless next"},
		{"billable-period-start=2024-03-10T14:31Z", ""},
		{"billable-period-start=2024-03-10T20:00:00%2B05:30", "timed"},
		{"billable-period-start=2024-03-10T20:00:00+05:30", "timed"},
		{"billable-period-start=2024-03-10T20:00%2B05:30", "timed"},
		{"billable-period-start=2024-03-10T20:00+05:30", "timed"},
		{"billable-period-start=2024-03-10T07:30:00-07:00", "timed"},
		// Days have no zone: they begin and end in UTC.
		{"billable-period-start=ge2024-03-11T00:00:00Z", "next"},
		{"billable-period-start=lt2024-03-10T00:00:01Z", "day endless"},
		{"billable-period-start=lt2024-03-10T00:00:00Z", ""},
		{"billable-period-start=sa2024-03-10T23:59:59Z", "next"},
		// A parameter twice is both, commas are any.
		{"service-date=ge2024-03-05&service-date=le2024-03-06", "item items"},
		{"service-date=2024-03-05,2024-03-11", "item next"},
		{"service-date=ge2024-03-11&service-date=2024-03-11", "next"},
	} {
		want := strings.Fields(x.want)
		for _, q := range forms("ExplanationOfBenefit?patient="+own+"&"+x.query, own) {
			if got := find(t, func(q request) *answer { return do(t, s, q) }, q); !slices.Equal(got, want) {
				t.Errorf("%s %s %s: %q, want %q", q.method, x.query, q.body, got, want)
			}
		}
	}
	for _, junk := range []string{"junk", "2024-3-1", "24", "2024-02-30", "2024-03-10T25:00", "2024-03-10T14", "ge", "xx2024", "2024-03-10T20:00:00 0530", "2024-03-10,"} {
		for _, name := range []string{"service-date", "service-start-date", "billable-period-start", "_lastUpdated"} {
			if a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?patient=" + own + "&" + name + "=" + url.QueryEscape(junk)}); a.status != 400 {
				t.Errorf("%s=%s: %d", name, junk, a.status)
			}
		}
	}
}

// TestOwnDates finds each resource by the dates that it shows itself, as they are written there.
func TestOwnDates(t *testing.T) {
	w := newWorld(t, 3)
	for _, sourceDates := range []bool{false, true} {
		s := w.serve(t, func(c *api.Config) { c.SourceDates = sourceDates })
		own := member(1)
		for _, typ := range []string{"ExplanationOfBenefit", "Coverage", "Patient", "RelatedPerson", "Organization?_id=o0", "Practitioner?_id=r1"} {
			for _, e := range do(t, s, request{path: "/fhir/" + typ, member: own}).doc.Entry {
				var r struct {
					ID             string
					Meta           struct{ LastUpdated string }
					BillablePeriod struct{ Start string }
				}
				if err := json.Unmarshal(e.Resource, &r); err != nil {
					t.Fatal(err)
				}
				path := "/fhir/" + typ + map[bool]string{true: "&", false: "?"}[strings.Contains(typ, "?")]
				queries := []string{"_lastUpdated=" + r.Meta.LastUpdated, "_lastUpdated=ge" + r.Meta.LastUpdated + "&_lastUpdated=le" + r.Meta.LastUpdated}
				if day := r.BillablePeriod.Start; day != "" {
					queries = append(queries, "service-date="+day, "service-start-date="+day, "billable-period-start="+day)
				}
				for _, q := range queries {
					if got := find(t, func(q request) *answer { return do(t, s, q) }, request{path: path + q, member: own}); !slices.Contains(got, r.ID) {
						t.Errorf("%s%s: %s is not found by its own date", path, q, r.ID)
					}
				}
			}
		}
	}
}

// TestZoneOfTheServer repeats the tests of dates and pages on a machine whose zone is not UTC.
func TestZoneOfTheServer(t *testing.T) {
	const named = "API_TEST_ZONE"
	if os.Getenv(named) != "" {
		if _, offset := time.Now().Zone(); offset == 0 {
			t.Error("the zone is not in force")
		}
		return
	}
	if testing.Short() {
		t.Skip("runs the tests again")
	}
	for _, zone := range []string{"America/Denver", "Pacific/Kiritimati"} {
		if _, err := time.LoadLocation(zone); err != nil {
			t.Skip(err)
		}
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^(TestZoneOfTheServer|TestDates|TestOwnDates|TestLastUpdated|TestHistory|TestPages|TestConditional)$")
		c.Env = append(os.Environ(), "TZ="+zone, named+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", zone, err, out)
		}
	}
}
