package bulkimport

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// azureCloud behaves as learn.microsoft.com/azure/healthcare-apis/fhir/import-data says.
func azureCloud(t *testing.T) *cloud {
	c := newCloud(t, "/")
	c.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		switch {
		case r.URL.Path == "/$import":
			return c.azureImport(w, r, body)
		case strings.HasPrefix(r.URL.Path, "/_operations/import/"):
			return c.azureStatus(w, c.jobs[r.URL.Path])
		}
		return false
	}
	return c
}

func (c *cloud) azureImport(w http.ResponseWriter, r *http.Request, body []byte) bool {
	c.wantHeader(r, "Prefer", "respond-async", "Content-Type", "application/fhir+json")
	var in struct {
		Parameter []struct {
			Part []struct{ Name, ValueString, ValueURI string }
		}
	}
	if err := json.Unmarshal(body, &in); err != nil || len(in.Parameter) < 4 {
		c.t.Errorf("request %s", body)
		return failing(w, 400, "bad request")
	}
	input := `{"name":"input","part":[{"name":"type","valueString":"*"},{"name":"url","valueUri":"https://account1.blob.core.windows.net/stage/*"},{"name":"etag","valueUri":"*"}]}`
	c.wantJSON(body, `{"resourceType":"Parameters","parameter":[{"name":"inputFormat","valueString":"application/fhir+ndjson"},
		{"name":"mode","valueString":"IncrementalLoad"},{"name":"storageDetail","part":[{"name":"type","valueString":"azure-blob"}]}`+
		strings.Repeat(","+input, len(in.Parameter)-3)+`]}`)
	id := fmt.Sprintf("/_operations/import/%x", sha256.Sum256(body)) // the same registration is the same job
	j := &cloudJob{id: id}
	for _, p := range in.Parameter[3:] {
		at := p.Part[1].ValueURI
		for _, before := range j.inputs {
			if before.url == at {
				return failing(w, 400, "the same URL twice")
			}
		}
		if p.Part[2].ValueURI == "" {
			c.t.Error("no etag")
		}
		j.inputs = append(j.inputs, cloudInput{p.Part[0].ValueString, at, "stage", strings.TrimPrefix(at, "https://account1.blob.core.windows.net/stage/")})
	}
	if c.jobs[id] == nil {
		c.jobs[id] = j
	}
	w.Header().Set("Content-Location", c.http.URL+id)
	w.WriteHeader(http.StatusAccepted)
	return true
}

func (c *cloud) azureStatus(w http.ResponseWriter, j *cloudJob) bool {
	if j == nil {
		return failing(w, 404, "unknown")
	}
	if j.polls++; j.polls < 3 {
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	c.run(j, func(in cloudInput) []byte { return c.object("azblob", in.bucket, in.key) })
	var faults []string
	for n, in := range j.inputs {
		var log strings.Builder
		count := 0
		for _, f := range j.failed {
			if f.input == in {
				count++
				fmt.Fprintf(&log, `{"resourceType":"OperationOutcome","issue":[{"severity":"warning","details":{"text":"odd"}},{"severity":"error","details":{"text":%q},"diagnostics":"Failed to process resource at line: %d with stream start offset: 0"}]}`+"\n", f.why, f.line)
			}
		}
		fmt.Fprintf(&log, `{"resourceType":"OperationOutcome","issue":[{"severity":"warning","details":{"text":"odd"},"diagnostics":"Failed to process resource at line: 0 with stream start offset: 0"}]}`+"\n")
		if count > 0 {
			key := fmt.Sprintf("log%d-%s.ndjson", n, in.typ)
			c.write("azblob", "fhirlogs", key, log.String())
			faults = append(faults, fmt.Sprintf(`{"type":"OperationOutcome","count":%d,"inputUrl":%q,"url":"https://account1.blob.core.windows.net/fhirlogs/%s"}`, count, in.url, key))
		}
	}
	return reply(w, 200, `{"transactionTime":"2024-01-01T00:00:00Z","request":"x","output":[{"type":"T","count":%d,"inputUrl":"x"}],"error":[%s]}`, j.imported, strings.Join(faults, ","))
}

const azureStage = "azblob://stage/incoming?storage_account=account1"

// wantNamed checks a load in which a server has refused what refuseSome refuses, and named it.
func wantNamed(t *testing.T, b *bed, batches [][]*fhir.Resource, code string) {
	t.Helper()
	all := b.whole(batches)
	r := all[0]
	at := 4 // Patient/p00002, behind two organizations
	why := r.refusals[at]
	if r.outcomes[at] != pipeline.Refused || why == nil || !strings.Contains(why.Text, "Jane Doe") || why.Status != 0 || why.Rule != pipeline.RuleServerRefused {
		t.Errorf("outcome %d: %+v", r.outcomes[at], why)
	}
	if code != "" && (why == nil || len(why.Codes) != 1 || why.Codes[0] != code) {
		t.Errorf("%+v", why)
	}
	wantThere(t, b.fhir, batches, "Patient/p00002") // what passes was sent again
}

func TestAzure(t *testing.T) { // V27, V29, V35
	c := azureCloud(t)
	c.refuse = refuseSome
	b := c.bed("azure", azureStage, nil)
	b.o.RollBytes = 1500 // several files of a type
	batches := extract(10, 20)
	wantNamed(t, b, batches, "")
	if n := c.asked("POST /$import"); n != 4 {
		t.Errorf("%d jobs", n)
	}
	for _, e := range []string{"ended Patient-1 9 1", "ended Coverage-1 9 1", "ended ExplanationOfBenefit-1 20 0"} {
		if b.noted(e) != 1 {
			t.Errorf("no event %q in %q", e, b.events)
		}
	}
	// Everything staged can be removed.
	i, index := b.must()
	if err := i.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := index.Close(); err != nil {
		t.Fatal(err)
	}
	if left := c.keys("azblob", "stage", ""); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
}

func TestAzureLostStart(t *testing.T) { // V18: the same registration is the same job
	c := azureCloud(t)
	kicks := 0
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != "/$import" {
			return false
		}
		if kicks++; kicks%2 == 0 {
			return false
		}
		body := make([]byte, r.ContentLength)
		if _, err := r.Body.Read(body); err != nil && err.Error() != "EOF" {
			t.Error(err)
		}
		lost := discard{http.Header{}}
		c.azureImport(lost, r, body)
		return cut(w)
	}
	b := c.bed("azure", azureStage, nil)
	batches := extract(4, 4)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	if len(c.jobs) != 4 {
		t.Errorf("%d jobs", len(c.jobs))
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestAzureStatus(t *testing.T) { // V35, V36
	for name, wrong := range map[string]func(w http.ResponseWriter, n int) bool{
		"once 500":    func(w http.ResponseWriter, n int) bool { return n%3 == 1 && failing(w, 500, "for a moment") },
		"retry after": func(w http.ResponseWriter, n int) bool { w.Header().Set("Retry-After", "1"); return false },
		"no JSON":     func(w http.ResponseWriter, n int) bool { return n%2 == 1 && reply(w, 200, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := azureCloud(t)
			polls := 0
			c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if !strings.HasPrefix(r.URL.Path, "/_operations") {
					return false
				}
				polls++
				return wrong(w, polls)
			}
			b := c.bed("azure", azureStage, nil)
			batches := extract(4, 4)
			wantOutcomes(t, b.whole(batches), pipeline.Created)
			wantThere(t, b.fhir, batches)
			if n := c.asked("POST /$import"); n != 4 {
				t.Errorf("%d jobs", n)
			}
		})
	}
}

func TestAzureStorageFault(t *testing.T) { // V35: storage faults come as 403 from the status
	c := azureCloud(t)
	forbidden := true
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		return forbidden && strings.HasPrefix(r.URL.Path, "/_operations") && failing(w, 403, "import operation failed for reason: Server failed to authenticate the request: secret")
	}
	b := c.bed("azure", azureStage, nil)
	batches := extract(4, 4)
	i, index := b.must()
	if _, err := run(t.Context(), i.Staging(index), batches); err != nil {
		t.Fatal(err)
	}
	err := i.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "processing") || strings.Contains(err.Error(), "secret") {
		t.Fatalf("error %v", err)
	}
	shut(t, i, index)
	forbidden = false
	wantOutcomes(t, b.whole(batches), pipeline.Created) // once the role is given
	wantThere(t, b.fhir, batches)
}

func TestAzureSettings(t *testing.T) {
	c := azureCloud(t)
	for want, b := range map[string]*bed{
		"storage_account": c.bed("azure", "azblob://stage/incoming", nil),
		"stage":           c.bed("azure", "s3://bucket/path", nil),
		"mode":            c.bed("azure", azureStage, map[string]string{"mode": "x"}),
		"kmskey":          c.bed("azure", azureStage, map[string]string{"kmskey": "x"}),
	} {
		_, _, err := b.open()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

func TestSpread(t *testing.T) { // V28: below 10,000 resources of one moment
	moments := map[string]int{}
	for n := range 25_000 {
		r := claim(n, n)
		line := spread(r.JSON, r.LastUpdated, r.ID)
		var in struct {
			Meta struct{ LastUpdated time.Time }
		}
		if err := json.Unmarshal(line, &in); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(in.Meta.LastUpdated.Format(time.RFC3339Nano), "2024-05-06T07:08:09") {
			t.Fatalf("%s", line)
		}
		moments[in.Meta.LastUpdated.String()]++
	}
	for at, n := range moments {
		if n > 1000 {
			t.Errorf("%d at %s", n, at)
		}
	}
	for in, want := range map[string]string{
		`{"lastUpdated":"2024-05-06T07:08:09.1234+02:00"}`: `{"lastUpdated":"2024-05-06T07:08:09.`,
		`{"lastUpdated":"2024-05-06"}`:                     `{"lastUpdated":"2024-05-06"}`,
	} {
		at, _ := strings.CutPrefix(in, `{"lastUpdated":"`)
		at = strings.TrimSuffix(at, `"}`)
		if got := string(spread([]byte(in), at, "x")); !strings.HasPrefix(got, want) || strings.HasSuffix(in, `+02:00"}`) && !strings.HasSuffix(got, `+02:00"}`) {
			t.Errorf("%s becomes %s", in, got)
		}
	}
}
