package bulkimport

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/pipeline"
)

const (
	googleDataset = "projects/p1/locations/l1/datasets/d1"
	googleStore   = "/v1/" + googleDataset + "/fhirStores/s1"
)

// googleCloud behaves as cloud.google.com/healthcare-api/docs/reference/rest/v1 says of
// projects.locations.datasets.fhirStores.import and of operations.
func googleCloud(t *testing.T) *cloud {
	c := newCloud(t, googleStore+"/fhir")
	c.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		switch {
		case r.URL.Path == googleStore+":import" && r.Method == http.MethodPost:
			return reply(w, 200, `{"name":%q}`, c.googleImport(r, body))
		case r.URL.Path == "/v1/"+googleDataset+"/operations":
			var list []string
			for id, j := range c.jobs {
				list = append(list, fmt.Sprintf(`{"name":%q,"metadata":{"apiMethodName":"google.cloud.healthcare.v1.fhir.FhirStoreService.ImportResources","createTime":%q}}`,
					id, time.Unix(0, int64(j.polls)).Add(0).UTC().Format(time.RFC3339Nano)))
			}
			list = append(list, `{"name":"`+googleDataset+`/operations/old","metadata":{"apiMethodName":"google.cloud.healthcare.v1.fhir.FhirStoreService.ImportResources","createTime":"2020-01-01T00:00:00Z"}}`,
				`{"name":"`+googleDataset+`/operations/export","metadata":{"apiMethodName":"google.cloud.healthcare.v1.fhir.FhirStoreService.ExportResources","createTime":"2099-01-01T00:00:00Z"}}`)
			return reply(w, 200, `{"operations":[%s]}`, strings.Join(list, ","))
		case strings.HasPrefix(r.URL.Path, "/v1/"+googleDataset+"/operations/"):
			return c.googleOperation(w, c.jobs[strings.TrimPrefix(r.URL.Path, "/v1/")])
		}
		return false
	}
	return c
}

func (c *cloud) googleImport(r *http.Request, body []byte) string {
	c.wantHeader(r, "Content-Type", "application/json")
	c.wantJSON(body, `{"contentStructure":"RESOURCE","gcsSource":{"uri":"gs://bucket1/incoming/import-*"}}`)
	_, rest, _ := strings.Cut(string(body), "gs://bucket1/")
	folder, _, _ := strings.Cut(rest, `*"`)
	typ := strings.Split(folder, "/")[2]
	id := fmt.Sprintf("%s/operations/%d", googleDataset, len(c.jobs)+1)
	j := &cloudJob{id: id, polls: int(time.Now().UnixNano())}
	for _, key := range c.keys("gs", "bucket1", folder) {
		j.inputs = append(j.inputs, cloudInput{typ, "", "bucket1", key})
	}
	c.jobs[id] = j
	return id
}

func (c *cloud) googleOperation(w http.ResponseWriter, j *cloudJob) bool {
	if j == nil {
		return reply(w, 404, `{"error":{"code":404,"status":"NOT_FOUND"}}`)
	}
	if !j.ran {
		c.run(j, func(in cloudInput) []byte { return c.object("gs", in.bucket, in.key) })
		return reply(w, 200, `{"name":%q,"metadata":{"counter":{"pending":"5"}}}`, j.id)
	}
	fault := `,"response":{}`
	if len(j.failed) > 0 {
		fault = `,"error":{"code":2,"message":"some were not imported: Jane Doe","details":[]}`
	}
	return reply(w, 200, `{"name":%q,"done":true,"metadata":{"counter":{"success":"%d","failure":"%d"},"logsUrl":"https://console.cloud.google.com/logs"}%s}`,
		j.id, j.imported, len(j.failed), fault)
}

func TestGoogle(t *testing.T) { // V30, V31: done, with an error
	c := googleCloud(t)
	c.refuse = refuseSome
	b := c.bed("google", "gs://bucket1/incoming", nil)
	batches := extract(10, 20)
	// Errors are in Cloud Logging: REST finds out why, and here REST accepts what the import did not.
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	for _, e := range []string{"ended Patient-1 9 1", "ended Coverage-1 9 1", "ended ExplanationOfBenefit-1 20 0"} {
		if b.noted(e) != 1 {
			t.Errorf("no event %q in %q", e, b.events)
		}
	}
}

func TestGoogleLostStart(t *testing.T) { // V18: the operation is found among those of the dataset
	c := googleCloud(t)
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.HasSuffix(r.URL.Path, ":import") {
			return false
		}
		body := make([]byte, r.ContentLength)
		if n, _ := r.Body.Read(body); n != len(body) {
			t.Error("short body")
		}
		c.googleImport(r, body)
		return cut(w)
	}
	b := c.bed("google", "gs://bucket1/incoming", nil)
	batches := extract(4, 4)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if len(c.jobs) != 4 || c.asked("POST "+googleStore+":import") != 4 {
		t.Errorf("%d jobs of %d starts", len(c.jobs), c.asked("POST "+googleStore+":import"))
	}
}

func TestGoogleFault(t *testing.T) { // V31: done with nothing but an error
	c := googleCloud(t)
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		return strings.Contains(r.URL.Path, "/operations/") && reply(w, 200, `{"name":"x","done":true,"metadata":{"counter":{}},"error":{"code":7,"message":"no access for Jane Doe"}}`)
	}
	b := c.bed("google", "gs://bucket1/incoming", nil)
	i, index := b.must()
	defer shut(t, i, index)
	if _, err := run(t.Context(), i.Staging(index), extract(4, 4)); err != nil {
		t.Fatal(err)
	}
	err := i.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "status 7") || strings.Contains(err.Error(), "Jane") {
		t.Errorf("error %v", err)
	}
}

func TestGoogleURL(t *testing.T) {
	c := newCloud(t, "/fhir")
	c.serve = func(http.ResponseWriter, *http.Request, []byte) bool { return false }
	if _, _, err := c.bed("google", "gs://bucket1/incoming", nil).open(); err == nil || !strings.HasPrefix(err.Error(), "url") {
		t.Errorf("error %v", err)
	}
}
