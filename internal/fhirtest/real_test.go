package fhirtest

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// realVariable has the URL of a HAPI FHIR server with referential integrity that refuses ids of digits only.
const realVariable = "FHIR_SERVER"

// sent is one request and what HAPI answers: the status, the statuses of the entries, and a part of the text. RUN
// stands for something that makes ids new.
type sent struct {
	method, path, body string
	header             []string
	status             int
	entries            string
	text               string
}

func observed() []sent {
	p := func(id string, more ...string) string { return patient("RUN-"+id, more...) }
	c := func(id, of string) string { return coverage("RUN-"+id, "RUN-"+of) }
	dir := "RUN-"
	named := `{"resourceType":"Patient","identifier":[{"system":"u","value":"RUN"}]`
	stale := put("Patient/"+dir+"a", p("a"), `,"ifMatch":"W/\"77\""`)
	return []sent{
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":true`), nil, 201, "", `"versionId":"1"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false`), nil, 200, "", `"versionId":"2"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false`), nil, 200, "", `"versionId":"2"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false,"meta":{"lastUpdated":"2001-01-01T00:00:00Z","versionId":"9","source":"x"}`), nil, 200, "", `"versionId":"2"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false,"meta":{"profile":["http://p"]}`), nil, 200, "", `"versionId":"3"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false,"meta":{"tag":[{"system":"s","code":"x"}]}`), nil, 200, "", `"versionId":"4"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false`), nil, 200, "", `"versionId":"4"`},
		{"PUT", "Patient/" + dir + "a", p("a", `,"active":false,"meta":{"tag":[{"system":"s","code":"y"}]}`), nil, 200, "", `"versionId":"5"`},
		{"PUT", "Patient/" + dir + "a", p("a"), []string{"If-Match", `W/"1"`}, 409, "", "HAPI-0989"},
		{"PUT", "Patient/" + dir + "m", p("m"), []string{"If-Match", `W/"1"`}, 201, "", ""},
		{"PUT", "Patient/" + dir + "m", p("m"), []string{"If-None-Match", `*`}, 200, "", ""},
		{"PUT", "Patient/" + dir + "x", p("y"), nil, 400, "", "HAPI-0420"},
		{"PUT", "Patient/" + dir + "x", `{"resourceType":"Patient"}`, nil, 400, "", "HAPI-0419"},
		{"PUT", "Patient/" + dir + "x", p("x", `,"birthDate":"1999-99-99"`), nil, 400, "", "HAPI-1821"},
		{"PUT", "Patient/" + dir + "x", p("x", `,"gender":"m"`), nil, 400, "", "HAPI-1821"},
		{"PUT", "Patient/" + dir + "x_y", p("x_y"), nil, 400, "", "HAPI-0521"},
		{"PUT", "Patient/123456", patient("123456"), nil, 400, "", "HAPI-0960"},
		{"PUT", "Nope/a", `{"resourceType":"Nope","id":"a"}`, nil, 404, "", "HAPI-0302"},
		{"PUT", "Patient/" + dir + "x", strings.Replace(p("x"), "Patient", "Organization", 1), nil, 400, "", "HAPI-1814"},
		{"PUT", "Patient/" + dir + "x", `{"resourceType":"Pat`, nil, 400, "", "HAPI-1861"},
		{"PUT", "Patient/" + dir + "x", p("x"), []string{"Content-Type", "application/octet-stream"}, 400, "", "HAPI-0449"},
		{"PUT", "Coverage/" + dir + "c", c("c", "none"), nil, 400, "", "HAPI-1094"},
		{"PUT", "Coverage/" + dir + "c", strings.Replace(c("c", "none"), "Patient/", "Organization/", 1), nil, 422, "", "HAPI-0931"},
		{"GET", "Patient/" + dir + "none", "", nil, 404, "", "HAPI-2001"},
		{"GET", "Patient/" + dir + "a/_history/1", "", nil, 200, "", `"active":true`},
		{"GET", "Patient/" + dir + "a/_history/77", "", nil, 404, "", "HAPI-0979"},
		{"GET", "Patient?bogus=1", "", nil, 400, "", "HAPI-0524"},
		{"GET", "Patient?_id=" + dir + "a," + dir + "m&_summary=count", "", nil, 200, "", `"total":2`},
		{"GET", "Patient?_id=" + dir + "a&_elements=id", "", nil, 200, "", "SUBSETTED"},
		{"POST", "", bundleOf("batch", stale, put("Patient/"+dir+"b", p("b")), put("Patient/"+dir+"x_y", p("x_y")), put("Coverage/"+dir+"c", c("c", "none")), put("Patient/"+dir+"b", p("b", `,"active":true`)),
			entryOf("GET", "Patient/"+dir+"b"), entryOf("GET", "Patient/"+dir+"none"), entryOf("DELETE", "Patient/"+dir+"none"), put("Patient/"+dir+"url", p("body"))), nil, 200, "409 201 400 400 200 200 404 204 201", "batch-response"},
		{"GET", "Patient/" + dir + "url", "", nil, 200, "", ""},
		{"POST", "", bundleOf("transaction", put("Patient/"+dir+"t", p("t")), stale), nil, 409, "", "HAPI-0989"},
		{"GET", "Patient/" + dir + "t", "", nil, 404, "", ""},
		{"POST", "", bundleOf("transaction", put("Coverage/"+dir+"c", c("c", "t")), put("Patient/"+dir+"t", p("t")), entryOf("GET", "Patient/"+dir+"none")), nil, 200, "201 201 404", "transaction-response"},
		{"GET", "Coverage?beneficiary=Patient/" + dir + "t&_summary=count", "", nil, 200, "", `"total":1`},
		{"DELETE", "Patient/" + dir + "t", "", nil, 409, "", ""},
		{"POST", "", bundleOf("transaction", put("Patient/"+dir+"t", p("t")), put("Patient/"+dir+"t", p("t"))), nil, 400, "", "HAPI-0535"},
		{"POST", "", bundleOf("transaction", entryOf("DELETE", "Patient/"+dir+"t"), entryOf("DELETE", "Coverage/"+dir+"c")), nil, 200, "204 204", "SUCCESSFUL_DELETE"},
		{"GET", "Patient/" + dir + "t", "", nil, 410, "", ""},
		{"PUT", "Patient/" + dir + "t", p("t"), []string{"If-Match", `W/"1"`}, 409, "", ""},
		{"DELETE", "Patient/" + dir + "t", "", nil, 200, "", "SUCCESSFUL_DELETE_ALREADY_DELETED"},
		{"DELETE", "Patient/" + dir + "none", "", nil, 200, "", "SUCCESSFUL_DELETE_NOT_FOUND"},
		{"POST", "", bundleOf("transaction", put("Patient/"+dir+"t", p("t")), put("Coverage/"+dir+"c", c("c", "t"))), nil, 200, "201 201", `"etag":"3"`},
		{"DELETE", "Coverage/" + dir + "c", "", []string{"If-Match", `W/"77"`}, 200, "", `"SUCCESSFUL_DELETE"`},
		{"POST", "", bundleOf("batch", put("Patient/"+dir+"w", p("w")), put("Patient/"+dir+"v", p("v", `,"birthDate":"x"`))), nil, 400, "", "HAPI-1821"},
		{"GET", "Patient/" + dir + "w", "", nil, 404, "", ""},
		{"POST", "", bundleOf("batch", put("Nope/a", `{"resourceType":"Nope","id":"a"}`)), nil, 400, "", "HAPI-"},
		{"POST", "", bundleOf("batch", `{"resource":{"resourceType":"Patient"},"request":{"url":"Patient/x"}}`), nil, 500, "", ""},
		{"POST", "", bundleOf("collection"), nil, 400, "", "HAPI-0527"},
		{"POST", "", patient("a"), nil, 400, "", "HAPI-1814"},
		{"POST", "", bundleOf("transaction"), nil, 200, "", "transaction-response"},
		{"PUT", "Patient?identifier=u%7CRUN", named + "}", nil, 201, "", ""},
		{"PUT", "Patient?identifier=u%7CRUN", named + `,"active":true}`, nil, 200, "", `"versionId":"2"`},
		{"PUT", "Patient?identifier=u%7Cother", named + "}", nil, 400, "", "HAPI-0929"},
		{"POST", "Patient", named + "}", nil, 201, "", ""},
		{"PUT", "Patient?identifier=u%7CRUN", named + "}", nil, 412, "", "HAPI-0988"},
		{"POST", "Patient/_search", "identifier=u%7CRUN", []string{"Content-Type", formType}, 200, "", `"total":2`},
		{"POST", "$import", `{"resourceType":"Parameters"}`, nil, 400, "", "HAPI-0513"},
		{"POST", "$import", `{"resourceType":"Parameters"}`, []string{"Prefer", "respond-async"}, 400, "", "HAPI-2048"},
		{"GET", "$import-poll-status?_jobId=none", "", nil, 404, "", "HAPI-2040"},
	}
}

// TestAnswersOfHAPI sends what a loader meets, and wants HAPI's answers: from the server for tests always, from a
// real one if there is one.
func TestAnswersOfHAPI(t *testing.T) {
	own := Start(t, &Options{Integrity: true})
	servers := map[string]*Server{"for tests": own}
	if u := os.Getenv(realVariable); u != "" {
		servers["real"] = &Server{URL: strings.TrimSuffix(u, "/"), http: own.http}
	}
	for name, s := range servers {
		run := fmt.Sprintf("f%d", time.Now().UnixNano())
		t.Run(name, func(t *testing.T) {
			for _, x := range observed() {
				fill := func(text string) string { return strings.ReplaceAll(text, "RUN", run) }
				path := fill(x.path)
				r, err := ask(s, x.method, path, fill(x.body), x.header...)
				if err != nil {
					t.Fatal(err)
				}
				entries := ""
				if x.method == http.MethodPost && x.path == "" && r.status == 200 {
					entries = statuses(r)
				}
				if r.status != x.status || entries != x.entries || !strings.Contains(r.text, x.text) {
					t.Errorf("%s %s %s\nanswers %d %s %.600s\nwant %d %s %s", x.method, path, fill(x.body), r.status, entries, r.text, x.status, x.entries, x.text)
				}
			}
		})
	}
}
