package fhirtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// reply is an answer as a client sees it.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// ask sends a request; header are pairs. It returns what went wrong on the way.
func ask(s *Server, method, path, body string, header ...string) (*reply, error) {
	r, err := http.NewRequest(method, s.URL+"/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/fhir+json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	out := &reply{status: resp.StatusCode, header: resp.Header, text: string(data)}
	_ = json.Unmarshal(data, &out.body)
	return out, nil
}

// must is ask, and the status that is wanted.
func must(t *testing.T, s *Server, status int, method, path, body string, header ...string) *reply {
	t.Helper()
	r, err := ask(s, method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.status != status {
		t.Fatalf("%s %s: %d, want %d\n%s", method, path, r.status, status, r.text)
	}
	return r
}

func wantText(t *testing.T, r *reply, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(r.text, p) {
			t.Errorf("the answer lacks %q:\n%s", p, r.text)
		}
	}
}

func patient(id string, more ...string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q%s}`, id, strings.Join(more, ""))
}

func coverage(id, patient string) string {
	return fmt.Sprintf(`{"resourceType":"Coverage","id":%q,"status":"active","beneficiary":{"reference":"Patient/%s"}}`, id, patient)
}

// put is an entry.
func put(url, resource string, more ...string) string {
	return fmt.Sprintf(`{"resource":%s,"request":{"method":"PUT","url":%q%s}}`, resource, url, strings.Join(more, ""))
}

func entryOf(method, url string) string {
	return fmt.Sprintf(`{"request":{"method":%q,"url":%q}}`, method, url)
}

func bundleOf(typ string, entries ...string) string {
	return fmt.Sprintf(`{"resourceType":"Bundle","type":%q,"entry":[%s]}`, typ, strings.Join(entries, ","))
}

// statuses are those of the entries of a response.
func statuses(r *reply) string {
	var out []string
	list, _ := r.body["entry"].([]any)
	for _, e := range list {
		response, _ := e.(map[string]any)["response"].(map[string]any)
		status, _ := response["status"].(string)
		out = append(out, status[:3])
	}
	return strings.Join(out, " ")
}

func wantStatuses(t *testing.T, r *reply, want string) {
	t.Helper()
	if got := statuses(r); got != want {
		t.Errorf("entries %q, want %q\n%s", got, want, r.text)
	}
}

func TestPut(t *testing.T) {
	s := Start(t, nil)
	tag := func(r *reply, want string) {
		t.Helper()
		if got := r.header.Get("ETag"); got != want {
			t.Errorf("ETag %s, want %s", got, want)
		}
	}
	tag(must(t, s, 201, "PUT", "Patient/a", patient("a", `,"active":true`)), `W/"1"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a", `,"active":false`)), `W/"2"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a", `,"active":false`)), `W/"2"`)
	tag(must(t, s, 200, "PUT", "Patient/a", `{"active":false,"meta":{"versionId":"9","lastUpdated":"2001-01-01T00:00:00Z","source":"x"},"id":"a","resourceType":"Patient"}`), `W/"2"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a", `,"active":false,"meta":{"profile":["p"]}`)), `W/"3"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a", `,"multipleBirthInteger":1`)), `W/"4"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a", `,"multipleBirthInteger":1.00`)), `W/"5"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a", `,"meta":{"tag":[{"code":"x"}]}`)), `W/"6"`)
	tag(must(t, s, 200, "PUT", "Patient/a", patient("a")), `W/"6"`)
	r := must(t, s, 200, "PUT", "Patient/a", patient("a", `,"meta":{"tag":[{"code":"y"}]}`))
	tag(r, `W/"7"`)
	wantText(t, r, `"code":"x"`, `"code":"y"`, `"versionId":"7"`)
	if r := must(t, s, 200, "PUT", "Patient/a", patient("a"), "Prefer", "return=minimal"); r.text != "" {
		t.Errorf("the minimal answer is %s", r.text)
	}
	if got := len(s.Versions("Patient/a")); got != 7 || len(s.Writes()) != 7 {
		t.Errorf("%d versions and %d writes, want 7", got, len(s.Writes()))
	}
	wantText(t, must(t, s, 200, "GET", "Patient/a/_history/1", ""), `"active":true`)
	wantText(t, must(t, s, 200, "GET", "Patient/a/_history", ""), `"total":7`)
	must(t, s, 404, "GET", "Patient/a/_history/8", "")
}

func TestEqualMakesVersion(t *testing.T) {
	s := Start(t, &Options{EqualMakesVersion: true})
	for i := range 3 {
		must(t, s, []int{201, 200, 200}[i], "PUT", "Patient/a", patient("a"))
	}
	if n := len(s.Versions("Patient/a")); n != 3 {
		t.Errorf("%d versions, want 3", n)
	}
}

func TestIfMatch(t *testing.T) {
	s := Start(t, nil)
	must(t, s, 201, "PUT", "Patient/a", patient("a"), "If-Match", `W/"7"`)
	must(t, s, 200, "PUT", "Patient/a", patient("a", `,"active":true`), "If-Match", `W/"1"`)
	wantText(t, must(t, s, 409, "PUT", "Patient/a", patient("a", `,"active":true`), "If-Match", `W/"1"`), "HAPI-0550", "HAPI-0989")
	must(t, s, 200, "PUT", "Patient/a", patient("a", `,"active":true`), "If-None-Match", `*`)
	stale := put("Patient/a", patient("a"), `,"ifMatch":"W/\"1\""`)
	wantText(t, must(t, s, 409, "POST", "", bundleOf("transaction", put("Patient/b", patient("b")), stale)), "HAPI-0989")
	must(t, s, 404, "GET", "Patient/b", "")
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/b", patient("b")), stale)), "201 409")
	must(t, s, 200, "DELETE", "Patient/b", "", "If-Match", `W/"9"`)        // HAPI does not look at it
	must(t, s, 409, "PUT", "Patient/b", patient("b"), "If-Match", `W/"1"`) // the deletion is a version
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/b", patient("b"), `,"ifMatch":"W/\"1\""`))), "409")
	must(t, s, 410, "GET", "Patient/b", "")
	must(t, s, 201, "PUT", "Patient/b", patient("b"))

	s.Set(func(o *Options) { o.Stale412, o.DeleteIfMatch = true, true })
	must(t, s, 412, "PUT", "Patient/a", patient("a"), "If-Match", `W/"1"`)
	must(t, s, 412, "DELETE", "Patient/a", "", "If-Match", `W/"1"`)
	s.Set(func(o *Options) { o.IgnoreIfMatch = true })
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("transaction", stale)), "200")
	must(t, s, 412, "PUT", "Patient/a", patient("a"), "If-Match", `W/"1"`)
}

func TestChecks(t *testing.T) {
	s := Start(t, nil)
	wantText(t, must(t, s, 400, "PUT", "Patient/a", patient("b")), "HAPI-0420")
	wantText(t, must(t, s, 400, "PUT", "Patient/a", `{"resourceType":"Patient"}`), "HAPI-0419")
	wantText(t, must(t, s, 400, "PUT", "Patient/a", patient("a", `,"birthDate":"1999-99-99"`)), "HAPI-0450", "HAPI-1821", "birthDate", "1999-99-99")
	wantText(t, must(t, s, 400, "PUT", "Patient/a", patient("a", `,"gender":"m"`)), "HAPI-1821")
	wantText(t, must(t, s, 400, "PUT", "Patient/a_b", patient("a_b")), "HAPI-0521")
	long := strings.Repeat("x", 65)
	wantText(t, must(t, s, 400, "PUT", "Patient/"+long, patient(long)), "HAPI-0521")
	wantText(t, must(t, s, 400, "PUT", "Patient/12", patient("12")), "HAPI-0960")
	wantText(t, must(t, s, 422, "PUT", "Coverage/c", `{"resourceType":"Coverage","id":"c","beneficiary":{"reference":"Organization/o"}}`), "HAPI-0931")
	wantText(t, must(t, s, 404, "PUT", "Nope/a", `{"resourceType":"Nope","id":"a"}`), "HAPI-0302")
	wantText(t, must(t, s, 400, "PUT", "Patient/a", `{"resourceType":"Organization","id":"a"}`), "HAPI-1814")
	wantText(t, must(t, s, 400, "PUT", "Patient/a", `{"resourceType":"Pat`), "HAPI-1861")
	wantText(t, must(t, s, 400, "PUT", "Patient/a", patient("a"), "Content-Type", "application/octet-stream"), "HAPI-0449")
	if n := len(s.Resources()); n != 0 {
		t.Errorf("%d resources are there after refusals", n)
	}
	s.Set(func(o *Options) { o.AnyID, o.MaxResource = true, 100 })
	must(t, s, 201, "PUT", "Patient/12", patient("12"))
	must(t, s, 413, "PUT", "Patient/b", patient("b", `,"language":"`, long+long, `"`))
	stop := s.Refuse(func(_, id string, _ map[string]any) bool { return id == "bad" })
	wantText(t, must(t, s, 422, "PUT", "Patient/bad", patient("bad", `,"language":"secret"`)), "OperationOutcome", "secret", "Patient.language", "business-rule")
	stop()
	must(t, s, 201, "PUT", "Patient/bad", patient("bad"))
}

func TestGoneAndDeleted(t *testing.T) {
	s := Start(t, nil)
	must(t, s, 404, "GET", "Patient/a", "")
	wantText(t, must(t, s, 200, "DELETE", "Patient/a", ""), "SUCCESSFUL_DELETE_NOT_FOUND")
	must(t, s, 201, "PUT", "Patient/a", patient("a"))
	wantText(t, must(t, s, 200, "DELETE", "Patient/a", ""), `"SUCCESSFUL_DELETE"`)
	wantText(t, must(t, s, 200, "DELETE", "Patient/a", ""), "SUCCESSFUL_DELETE_ALREADY_DELETED")
	must(t, s, 410, "GET", "Patient/a", "")
	if r := must(t, s, 201, "PUT", "Patient/a", patient("a")); r.header.Get("ETag") != `W/"3"` {
		t.Errorf("ETag %s", r.header.Get("ETag"))
	}
	s.Set(func(o *Options) { o.DeleteAgain = 404 })
	must(t, s, 200, "DELETE", "Patient/a", "")
	must(t, s, 404, "DELETE", "Patient/a", "")
}

func TestIntegrity(t *testing.T) {
	s := Start(t, &Options{Integrity: true})
	wantText(t, must(t, s, 400, "PUT", "Coverage/c", coverage("c", "a")), "HAPI-1094", "Coverage.beneficiary")
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch", put("Coverage/c", coverage("c", "a")), put("Patient/a", patient("a")))), "400 201")
	// Any order works in a transaction.
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("transaction", put("Coverage/d", coverage("d", "b")), put("Patient/b", patient("b")))), "201 201")
	wantText(t, must(t, s, 409, "DELETE", "Patient/b", ""), "HAPI-0515")
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("transaction", entryOf("DELETE", "Patient/b"), entryOf("DELETE", "Coverage/d"))), "204 204")
	wantText(t, must(t, s, 400, "POST", "", bundleOf("transaction", put("Patient/n", patient("n")), put("Coverage/n", coverage("n", "none")))), "HAPI-1094")
	must(t, s, 404, "GET", "Patient/n", "")
}

func TestUnresolvedReferencesAreNotIndexed(t *testing.T) {
	s := Start(t, nil)
	must(t, s, 201, "PUT", "Coverage/c", coverage("c", "a"))
	must(t, s, 201, "PUT", "Patient/a", patient("a"))
	wantText(t, must(t, s, 200, "GET", "Coverage?beneficiary=Patient/a&_summary=count", ""), `"total":0`)
	must(t, s, 200, "PUT", "Coverage/c", coverage("c", "a"))
	wantText(t, must(t, s, 200, "GET", "Coverage?beneficiary=Patient/a&_summary=count", ""), `"total":0`)
	must(t, s, 200, "PUT", "Coverage/c", strings.Replace(coverage("c", "a"), "active", "cancelled", 1))
	wantText(t, must(t, s, 200, "GET", "Coverage?beneficiary=Patient/a&_summary=count", ""), `"total":1`)
	must(t, s, 200, "POST", "", bundleOf("transaction", put("Coverage/d", coverage("d", "b")), put("Patient/b", patient("b"))))
	wantText(t, must(t, s, 200, "GET", "Coverage?patient=b&_summary=count", ""), `"total":1`)
}
