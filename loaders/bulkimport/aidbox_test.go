package bulkimport

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
)

// aidboxCloud behaves as docs.aidbox.app says of /v2/fhir/$import.
func aidboxCloud(t *testing.T) *cloud {
	c := newCloud(t, "/fhir")
	c.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		switch {
		case r.URL.Path == "/v2/fhir/$import" && r.Method == http.MethodPost:
			return c.aidboxImport(w, r, body)
		case strings.HasPrefix(r.URL.Path, "/v2/$import/"):
			return c.aidboxStatus(w, c.jobs[strings.TrimPrefix(r.URL.Path, "/v2/$import/")])
		}
		return false
	}
	return c
}

func (c *cloud) aidboxImport(w http.ResponseWriter, r *http.Request, body []byte) bool {
	c.wantHeader(r, "Content-Type", "application/json")
	var in struct {
		ID     string
		Inputs []struct{ ResourceType, URL string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		c.t.Error(err)
	}
	input := `{"resourceType":"*","url":"http://127.0.0.1:*"}`
	c.wantJSON(body, `{"id":"*","contentEncoding":"plain","inputs":[`+strings.TrimSuffix(strings.Repeat(input+",", len(in.Inputs)), ",")+`]}`)
	if c.jobs[in.ID] != nil {
		return failing(w, 409, "the id is taken")
	}
	j := &cloudJob{id: in.ID}
	for _, i := range in.Inputs {
		j.inputs = append(j.inputs, cloudInput{typ: i.ResourceType, url: i.URL})
	}
	c.jobs[in.ID] = j
	w.Header().Set("Content-Location", "/v2/$import/"+in.ID)
	w.WriteHeader(http.StatusOK)
	return true
}

func (c *cloud) aidboxStatus(w http.ResponseWriter, j *cloudJob) bool {
	if j == nil {
		return failing(w, 404, "unknown")
	}
	if j.polls++; j.polls < 3 {
		return reply(w, 200, `{"status":"in-progress","inputs":[{"url":"x","status":"waiting"}]}`)
	}
	var inputs []string
	outcome := "succeeded"
	for _, in := range j.inputs {
		if c.refuse != nil && c.refuse(in.url) != "" { // the file cannot be had
			outcome = "failed"
			inputs = append(inputs, fmt.Sprintf(`{"url":%q,"resourceType":%q,"status":"done","outcome":"failed","error":{"message":"403: Forbidden"}}`, in.url, in.typ))
			continue
		}
		one := &cloudJob{inputs: []cloudInput{in}}
		c.run(one, c.fetch)
		inputs = append(inputs, fmt.Sprintf(`{"url":%q,"resourceType":%q,"status":"done","outcome":"succeeded","result":{"imported-resources":%d}}`, in.url, in.typ, one.imported))
	}
	return reply(w, 200, `{"status":"done","outcome":%q,"inputs":[%s]}`, outcome, strings.Join(inputs, ","))
}

// fetch gets a file by its URL.
func (c *cloud) fetch(in cloudInput) []byte {
	text, err := get(c.t.Context(), in.url)
	if err != nil {
		c.t.Errorf("fetch a %s: %v", in.typ, err)
	}
	return text
}

func TestAidbox(t *testing.T) {
	c := aidboxCloud(t)
	b := c.bed("aidbox", "file://"+t.TempDir(), nil)
	batches := extract(10, 20)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if b.noted("ended ExplanationOfBenefit-1 20 0") != 1 {
		t.Errorf("events: %q", b.events)
	}
}

func TestAidboxOneForbidden(t *testing.T) { // V33: done, while one input failed
	c := aidboxCloud(t)
	c.refuse = func(at string) string {
		if strings.HasSuffix(at, "/ExplanationOfBenefit/part-0-00002.ndjson") {
			return "403"
		}
		return ""
	}
	b := c.bed("aidbox", "file://"+t.TempDir(), nil)
	b.o.RollBytes = 4000
	batches := extract(4, 30)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if n := b.noted("ended ExplanationOfBenefit-1 30 0"); n != 0 || b.noted("ended ExplanationOfBenefit-1 ") != 1 {
		t.Errorf("events: %q", b.events)
	}
}

func TestAidboxAllForbidden(t *testing.T) {
	c := aidboxCloud(t)
	c.refuse = func(string) string { return "403" }
	b := c.bed("aidbox", "file://"+t.TempDir(), nil)
	i, index := b.must()
	defer shut(t, i, index)
	if _, err := run(t.Context(), i.Staging(index), extract(4, 4)); err != nil {
		t.Fatal(err)
	}
	if err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "http") {
		t.Errorf("error %v", err)
	}
}

func TestAidboxLostStart(t *testing.T) { // V18, V33: the id is ours
	c := aidboxCloud(t)
	kicks := 0
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != "/v2/fhir/$import" {
			return false
		}
		if kicks++; kicks%2 == 1 { // lost before, then after it was done
			return cut(w)
		}
		body := make([]byte, r.ContentLength)
		if n, _ := r.Body.Read(body); n != len(body) {
			t.Error("short body")
		}
		c.aidboxImport(discard{http.Header{}}, r, body)
		return cut(w)
	}
	b := c.bed("aidbox", "file://"+t.TempDir(), nil)
	batches := extract(4, 4)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if len(c.jobs) != 4 || kicks != 8 {
		t.Errorf("%d jobs of %d starts", len(c.jobs), kicks)
	}
}

func TestAidboxFromStore(t *testing.T) { // files of an object store are fetched by signed URLs
	c := aidboxCloud(t)
	serve := c.serve
	c.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		bucket, ok := strings.CutPrefix(r.URL.Path, "/signed/")
		if !ok {
			return serve(w, r, body)
		}
		_, _ = w.Write(c.object("s3", bucket, r.URL.Query().Get("obj")))
		return true
	}
	// The fetches come while a request is answered.
	c.unlocked = true
	b := c.bed("aidbox", "s3://bucket1/incoming", nil)
	batches := extract(4, 4)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
}
