package bulkimport

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
)

const (
	importRole = "arn:aws:iam::123456789012:role/HealthLakeImport"
	importKey  = "arn:aws:kms:us-east-1:123456789012:key/1"
)

// healthLakeCloud behaves as docs.aws.amazon.com/healthlake/latest/APIReference says of StartFHIRImportJob
// and DescribeFHIRImportJob, and the developer guide of the results.
func healthLakeCloud(t *testing.T) *cloud {
	c := newCloud(t, "/datastore/ds1/r4")
	c.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if r.URL.Path != "/" {
			return false
		}
		c.wantHeader(r, "Content-Type", "application/x-amz-json-1.0")
		switch target := r.Header.Get("X-Amz-Target"); target {
		case "HealthLake.StartFHIRImportJob":
			return c.startJob(w, body)
		case "HealthLake.DescribeFHIRImportJob":
			return c.describeJob(w, body)
		default:
			t.Errorf("operation %q", target)
			return reply(w, 400, `{"__type":"UnknownOperationException"}`)
		}
	}
	return c
}

func (c *cloud) startJob(w http.ResponseWriter, body []byte) bool {
	var in struct {
		ClientToken, JobName string
		InputDataConfig      struct{ S3Uri string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		c.t.Error(err)
	}
	c.wantJSON(body, `{"JobName":"*","InputDataConfig":{"S3Uri":"s3://bucket1/incoming/import-*"},"JobOutputDataConfig":{"S3Configuration":{"S3Uri":"s3://results1/out","KmsKeyId":"`+importKey+`"}},
		"DatastoreId":"ds1","DataAccessRoleArn":"`+importRole+`","ClientToken":"*","ValidationLevel":"strict"}`)
	if n := len(in.ClientToken); n == 0 || n > 64 || strings.Trim(in.ClientToken, "abcdef0123456789-") != "" || !strings.HasSuffix(in.InputDataConfig.S3Uri, "/") {
		c.t.Errorf("token %q, input %q", in.ClientToken, in.InputDataConfig.S3Uri)
	}
	j := c.jobs[in.ClientToken]
	if j == nil {
		j = &cloudJob{id: fmt.Sprintf("job%d", len(c.jobs)+1)}
		folder := strings.TrimPrefix(in.InputDataConfig.S3Uri, "s3://bucket1/")
		for _, key := range c.keys("s3", "bucket1", folder) {
			j.inputs = append(j.inputs, cloudInput{strings.Split(folder, "/")[2], "", "bucket1", key})
		}
		c.jobs[in.ClientToken] = j
	}
	return reply(w, 200, `{"DatastoreId":"ds1","JobId":%q,"JobStatus":"SUBMITTED"}`, j.id)
}

func (c *cloud) describeJob(w http.ResponseWriter, body []byte) bool {
	c.wantJSON(body, `{"DatastoreId":"ds1","JobId":"*"}`)
	var in struct{ JobId string }
	if err := json.Unmarshal(body, &in); err != nil {
		c.t.Error(err)
	}
	var j *cloudJob
	for _, k := range c.jobs {
		if k.id == in.JobId {
			j = k
		}
	}
	if j == nil {
		return reply(w, 400, `{"__type":"com.amazonaws.healthlake#ResourceNotFoundException"}`)
	}
	status := "COMPLETED"
	switch j.polls++; j.polls {
	case 1:
		return reply(w, 400, `{"__type":"com.amazonaws.healthlake#ThrottlingException"}`)
	case 2:
		status = "SUBMITTED"
	case 3, 4, 5:
		status = "QUEUED"
	case 6:
		status = "IN_PROGRESS"
	default:
		c.run(j, func(in cloudInput) []byte { return c.object("s3", in.bucket, in.key) })
		folder := "out/123-FHIR_IMPORT-" + j.id
		if len(j.failed) > 0 {
			status = "COMPLETED_WITH_ERRORS"
			var list strings.Builder
			for _, f := range j.failed {
				list.WriteString(f.json + "\n")
			}
			c.write("s3", "results1", folder+"/FAILURE/part-1.ndjson", list.String())
		}
		c.write("s3", "results1", folder+"/manifest.json", fmt.Sprintf(`{"failureOutput":{"failureOutputS3Uri":"s3://results1/%s/FAILURE/"},"numberOfResourcesScanned":%d,
			"numberOfResourcesImportedSuccessfully":%d,"numberOfResourcesWithCustomerError":%d,"numberOfResourcesWithServerError":0}`, folder, j.imported+int64(len(j.failed)), j.imported, len(j.failed)))
	}
	return reply(w, 200, `{"ImportJobProperties":{"JobId":%q,"JobStatus":%q,"JobOutputDataConfig":{"S3Configuration":{"S3Uri":"s3://results1/out/123-FHIR_IMPORT-%s/","KmsKeyId":"x"}},
		"JobProgressReport":{"TotalNumberOfResourcesImported":%d},"Message":"Jane Doe"}}`, j.id, status, j.id, j.imported)
}

var healthLakeStart = map[string]string{"data_access_role": importRole, "kms_key": importKey, "output": "s3://results1/out", "validation_level": "strict"}

func TestHealthLake(t *testing.T) { // V32: QUEUED is not hung, COMPLETED_WITH_ERRORS
	c := healthLakeCloud(t)
	c.refuse = refuseSome
	b := c.bed("healthlake", "s3://bucket1/incoming", healthLakeStart)
	batches := extract(10, 20)
	wantOutcomes(t, b.whole(batches), pipeline.Created) // REST accepts what the import did not
	wantThere(t, b.fhir, batches)
	for _, e := range []string{"ended Patient-1 9 1", "ended Coverage-1 9 1", "ended ExplanationOfBenefit-1 20 0"} {
		if b.noted(e) != 1 {
			t.Errorf("no event %q in %q", e, b.events)
		}
	}
}

func TestHealthLakeLostStart(t *testing.T) { // V18: the token starts no second job
	c := healthLakeCloud(t)
	starts := 0
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Header.Get("X-Amz-Target") != "HealthLake.StartFHIRImportJob" {
			return false
		}
		if starts++; starts%2 == 0 {
			return false
		}
		body := make([]byte, r.ContentLength)
		if n, _ := r.Body.Read(body); n != len(body) {
			t.Error("short body")
		}
		c.startJob(discard{http.Header{}}, body)
		return cut(w)
	}
	b := c.bed("healthlake", "s3://bucket1/incoming", healthLakeStart)
	batches := extract(4, 4)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if len(c.jobs) != 4 || starts != 8 {
		t.Errorf("%d jobs of %d starts", len(c.jobs), starts)
	}
}

func TestHealthLakeFailed(t *testing.T) { // V32: each status
	for status, want := range map[string]string{"FAILED": "has ended as FAILED", "CANCEL_COMPLETED": "has ended as CANCEL_COMPLETED"} {
		c := healthLakeCloud(t)
		c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			return r.Header.Get("X-Amz-Target") == "HealthLake.DescribeFHIRImportJob" && reply(w, 200, `{"ImportJobProperties":{"JobStatus":%q,"Message":"Jane Doe"}}`, status)
		}
		b := c.bed("healthlake", "s3://bucket1/incoming", healthLakeStart)
		i, index := b.must()
		if _, err := run(t.Context(), i.Staging(index), extract(4, 4)); err != nil {
			t.Fatal(err)
		}
		err := i.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Jane") {
			t.Errorf("%s: error %v", status, err)
		}
		shut(t, i, index)
	}
}

func TestHealthLakeResultsGone(t *testing.T) { // V36: results expire
	c := healthLakeCloud(t)
	c.refuse = refuseSome
	b := c.bed("healthlake", "s3://bucket1/incoming", healthLakeStart)
	b.o.Start["output"] = "s3://results1/out"
	c.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Header.Get("X-Amz-Target") != "HealthLake.DescribeFHIRImportJob" {
			return false
		}
		for _, j := range c.jobs {
			c.run(j, func(in cloudInput) []byte { return c.object("s3", in.bucket, in.key) })
		}
		return reply(w, 200, `{"ImportJobProperties":{"JobStatus":"COMPLETED_WITH_ERRORS","JobOutputDataConfig":{"S3Configuration":{"S3Uri":"s3://gone/x/"}}}}`)
	}
	batches := extract(10, 10)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
}

func TestHealthLakeSettings(t *testing.T) {
	c := healthLakeCloud(t)
	for want, start := range map[string]map[string]string{"data_access_role": {"kms_key": importKey}, "kms_key": {"data_access_role": importRole}} {
		if _, _, err := c.bed("healthlake", "s3://bucket1/incoming", start).open(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}
