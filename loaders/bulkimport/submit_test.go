package bulkimport

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/pipeline"
)

// submitCloud behaves as the draft of the Bulk Data guide says of $bulk-submit and $bulk-submit-status.
func submitCloud(t *testing.T) *cloud {
	c := newCloud(t, "/fhir")
	c.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		at, ok := strings.CutPrefix(r.URL.Path, "/fhir/")
		switch {
		case !ok:
			return false
		case at == "$bulk-submit":
			return c.submitted(w, r, body)
		case at == "$bulk-submit-status":
			return c.submitStatus(w, r, body)
		case strings.HasPrefix(at, "submissions/"):
			return c.submission(w, c.jobs[strings.TrimPrefix(at, "submissions/")])
		case strings.HasPrefix(at, "outcomes/"):
			return c.outcomes(w, c.jobs[strings.TrimPrefix(at, "outcomes/")])
		}
		return false
	}
	return c
}

const submitterParameter = `{"name":"submitter","valueIdentifier":{"system":"urn:payers","value":"payer-1"}}`

type submitted struct {
	Parameter []struct {
		Name, ValueString, ValueURL string
	}
}

func (s *submitted) get(name string) string {
	for _, p := range s.Parameter {
		if p.Name == name {
			return p.ValueString + p.ValueURL
		}
	}
	return ""
}

func (c *cloud) submitted(w http.ResponseWriter, r *http.Request, body []byte) bool {
	c.wantHeader(r, "Content-Type", "application/fhir+json", "Accept", "application/fhir+json", "Prefer", "")
	c.wantJSON(body, `{"resourceType":"Parameters","parameter":[`+submitterParameter+`,{"name":"submissionId","valueString":"*"},
		{"name":"submissionStatus","valueCoding":{"system":"http://hl7.org/fhir/event-status","code":"completed"}},{"name":"manifestUrl","valueUrl":"http://127.0.0.1:*"},
		{"name":"outputFormat","valueString":"application/fhir+ndjson"},{"name":"fhirBaseUrl","valueUrl":"`+c.http.URL+`/fhir"}]}`)
	var in submitted
	if err := json.Unmarshal(body, &in); err != nil {
		c.t.Error(err)
	}
	id := in.get("submissionId")
	if c.jobs[id] != nil {
		return failing(w, 400, "the submission is complete")
	}
	text := c.fetch(cloudInput{typ: "manifest", url: in.get("manifestUrl")})
	var m struct {
		TransactionTime     time.Time
		RequiresAccessToken *bool
		Output              []struct {
			Type, URL string
			Count     int64
		}
		Error []any
	}
	if err := json.Unmarshal(text, &m); err != nil || m.TransactionTime.IsZero() || m.RequiresAccessToken == nil || *m.RequiresAccessToken || m.Error == nil {
		c.t.Errorf("manifest %s: %v", text, err)
	}
	j := &cloudJob{id: id}
	for _, o := range m.Output {
		j.inputs = append(j.inputs, cloudInput{typ: o.Type, url: o.URL})
	}
	c.jobs[id] = j
	return reply(w, 200, `{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational"}]}`)
}

func (c *cloud) submitStatus(w http.ResponseWriter, r *http.Request, body []byte) bool {
	c.wantHeader(r, "Content-Type", "application/fhir+json", "Prefer", "respond-async")
	c.wantJSON(body, `{"resourceType":"Parameters","parameter":[`+submitterParameter+`,{"name":"submissionId","valueString":"*"},{"name":"_outputFormat","valueString":"application/fhir+ndjson"}]}`)
	var in submitted
	if err := json.Unmarshal(body, &in); err != nil {
		c.t.Error(err)
	}
	if c.jobs[in.get("submissionId")] == nil {
		return failing(w, 404, "unknown submission")
	}
	w.Header().Set("Content-Location", c.http.URL+"/fhir/submissions/"+in.get("submissionId"))
	w.WriteHeader(http.StatusAccepted)
	return true
}

func (c *cloud) submission(w http.ResponseWriter, j *cloudJob) bool {
	if j == nil {
		return failing(w, 404, "unknown")
	}
	if j.polls++; j.polls < 3 {
		w.Header().Set("Retry-After", "0")
		return reply(w, http.StatusAccepted, `{"submissionId":%q}`, j.id) // a partial manifest
	}
	c.run(j, c.fetch)
	if len(j.failed) == 0 {
		return reply(w, 200, `{"submissionId":%q,"transactionTime":"2024-01-01T00:00:00Z","requiresAccessToken":false}`, j.id)
	}
	return reply(w, 200, `{"submissionId":%q,"outcome":[{"url":"outcomes/%s","manifestUrl":"x","countSeverity":[{"code":"information","count":1},{"code":"error","count":%d}]}]}`, j.id, j.id, len(j.failed))
}

func (c *cloud) outcomes(w http.ResponseWriter, j *cloudJob) bool {
	var text strings.Builder
	text.WriteString(`{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational"}]}` + "\n")
	for _, f := range j.failed {
		code := "value"
		if strings.Contains(f.why, "Timeout") {
			code = "timeout"
		}
		fmt.Fprintf(&text, `{"resourceType":"OperationOutcome","extension":[{"url":%q,"valueRelatedArtifact":{"type":"documentation","resourceReference":{"reference":%q}}}],"issue":[{"severity":"error","code":%q,"diagnostics":%q,"expression":["Patient.name.where(family='Doe').given"]}]}`+"\n",
			relatedArtifact, f.line2ref(), code, f.why)
	}
	w.Header().Set("Content-Type", ndjsonType)
	_, _ = w.Write([]byte(text.String()))
	return true
}

// line2ref is the resource that a failure is about.
func (f *cloudFailure) line2ref() string {
	var r struct{ ResourceType, ID string }
	_ = json.Unmarshal([]byte(f.json), &r)
	return r.ResourceType + "/" + r.ID
}

var submitStart = map[string]string{"submitter_system": "urn:payers", "submitter_value": "payer-1"}

func TestSubmit(t *testing.T) { // V35
	c := submitCloud(t)
	c.refuse = refuseSome
	c.unlocked = true
	b := c.bed("bulk-submit", "file://"+t.TempDir(), submitStart)
	batches := extract(10, 20)
	wantNamed(t, b, batches, "value")
}

func TestSubmitLostStart(t *testing.T) { // V18: the submission is ours
	c := submitCloud(t)
	kicks := 0
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != "/fhir/$bulk-submit" {
			return false
		}
		if kicks++; kicks%2 == 1 {
			return cut(w)
		}
		body := make([]byte, r.ContentLength)
		if n, _ := r.Body.Read(body); n != len(body) {
			t.Error("short body")
		}
		c.submitted(discard{http.Header{}}, r, body)
		return cut(w)
	}
	b := c.bed("bulk-submit", "file://"+t.TempDir(), submitStart)
	batches := extract(4, 4)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if len(c.jobs) != 4 || kicks != 8 {
		t.Errorf("%d jobs of %d starts", len(c.jobs), kicks)
	}
}

func TestSubmitSettings(t *testing.T) {
	c := submitCloud(t)
	if _, _, err := c.bed("bulk-submit", "file://"+t.TempDir(), nil).open(); err == nil || !strings.HasPrefix(err.Error(), "submitter_system") {
		t.Errorf("error %v", err)
	}
}
