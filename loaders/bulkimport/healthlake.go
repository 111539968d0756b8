package bulkimport

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// healthLake is StartFHIRImportJob of AWS HealthLake, which is idempotent by a token of ours. Its results
// are in S3: a manifest, and folders of what was imported and what was not.
type healthLake struct {
	i         *Import
	datastore string
	endpoint  string // URL of the service
	role, key string
	output    string
	level     string
}

func newHealthLake(o *Options) (*healthLake, error) {
	u, err := url.Parse(o.Server.URL())
	if err != nil {
		return nil, &SettingError{"url", "is no URL"}
	}
	k := &healthLake{endpoint: u.Scheme + "://" + u.Host + "/", role: o.Start["data_access_role"], key: o.Start["kms_key"],
		output: o.Start["output"], level: o.Start["validation_level"]}
	_, rest, ok := strings.Cut(u.Path, "/datastore/")
	k.datastore, _, _ = strings.Cut(rest, "/")
	switch {
	case !ok || k.datastore == "":
		return nil, &SettingError{"url", "must be that of a data store: https://healthlake.REGION.amazonaws.com/datastore/…/r4"}
	case k.role == "":
		return nil, &SettingError{"data_access_role", "must be the ARN of the role that reads the stage and writes the results"}
	case k.key == "":
		return nil, &SettingError{"kms_key", "must be the ARN of the key that encrypts the results"}
	case k.output != "" && !strings.HasPrefix(k.output, "s3://"):
		return nil, &SettingError{"output", "must be an s3:// URL"}
	}
	return k, nil
}

func (k *healthLake) traits() *traits {
	return &traits{name: "healthlake", store: "s3", again: true, pace: calm}
}

func (k *healthLake) use(i *Import) {
	k.i = i
	if k.output == "" {
		k.output = strings.TrimSuffix(i.stage.place("results"), "/")
	}
}

type s3Input struct {
	S3URI string `json:"S3Uri"`
}

type s3Output struct {
	S3Configuration s3Configuration `json:"S3Configuration"`
}

type s3Configuration struct {
	S3URI    string `json:"S3Uri"`
	KmsKeyID string `json:"KmsKeyId"`
}

type startImportJob struct {
	JobName             string   `json:"JobName"`
	InputDataConfig     s3Input  `json:"InputDataConfig"`
	JobOutputDataConfig s3Output `json:"JobOutputDataConfig"`
	DatastoreID         string   `json:"DatastoreId"`
	DataAccessRoleArn   string   `json:"DataAccessRoleArn"`
	ClientToken         string   `json:"ClientToken"`
	ValidationLevel     string   `json:"ValidationLevel,omitempty"`
}

// act sends a request of the API: JSON 1.0 with the operation in a header.
func (k *healthLake) act(ctx context.Context, operation string, body any) (*answer, error) {
	return k.i.ask(ctx, http.MethodPost, k.endpoint, http.Header{
		"Content-Type": {"application/x-amz-json-1.0"}, "Accept": {"application/json"}, "X-Amz-Target": {"HealthLake." + operation},
	}, body)
}

func (k *healthLake) kickOff(ctx context.Context, j *job, _ []*file) (string, error) {
	a, err := k.act(ctx, "StartFHIRImportJob", startImportJob{
		JobName: j.name(), InputDataConfig: s3Input{k.i.stage.place(j.Type)}, JobOutputDataConfig: s3Output{s3Configuration{k.output, k.key}},
		DatastoreID: k.datastore, DataAccessRoleArn: k.role, ClientToken: j.Token, ValidationLevel: k.level,
	})
	if err != nil {
		return "", err
	}
	if err := k.fault(a, j); err != nil {
		return "", err
	}
	var started struct {
		JobID string `json:"JobId"`
	}
	if err := a.decode(&started); err != nil {
		return "", err
	}
	if started.JobID == "" {
		return "", fmt.Errorf("the server names no job")
	}
	return started.JobID, nil
}

var awsName = regexp.MustCompile(`[A-Za-z]+(Exception|Error)$`)

// fault is the error of an answer, nil if it is none. Throttling is status 400 here.
func (k *healthLake) fault(a *answer, j *job) error {
	if a.status/100 == 2 {
		return nil
	}
	var in struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(a.body, &in) // another body has no name
	name := awsName.FindString(in.Type)
	switch {
	case name == "ThrottlingException" || a.status == http.StatusTooManyRequests:
		return &laterError{a.after()}
	case a.status >= 500:
		return fmt.Errorf("the server answers %d", a.status)
	}
	e := &JobError{Job: j.name(), What: "the server does not accept the request", Status: a.status}
	if name != "" {
		e.Codes = []string{name}
	}
	return e
}

func (k *healthLake) find(context.Context, *job) (string, bool, error) { return "", false, nil }

type importJobProperties struct {
	JobStatus           string   `json:"JobStatus"`
	JobOutputDataConfig s3Output `json:"JobOutputDataConfig"`
	JobProgressReport   *struct {
		Scanned  int64 `json:"TotalNumberOfResourcesScanned"`
		Imported int64 `json:"TotalNumberOfResourcesImported"`
		Failed   int64 `json:"TotalNumberOfResourcesWithCustomerError"`
	} `json:"JobProgressReport"`
}

// healthLakeManifest is the manifest.json of a job.
type healthLakeManifest struct {
	Failure struct {
		URI string `json:"failureOutputS3Uri"`
	} `json:"failureOutput"`
	Imported     int64 `json:"numberOfResourcesImportedSuccessfully"`
	CustomerErrs int64 `json:"numberOfResourcesWithCustomerError"`
	ServerErrs   int64 `json:"numberOfResourcesWithServerError"`
}

func (k *healthLake) poll(ctx context.Context, j *job) (*progress, error) {
	a, err := k.act(ctx, "DescribeFHIRImportJob", map[string]string{"DatastoreId": k.datastore, "JobId": j.Handle})
	if err != nil {
		return nil, err
	}
	if err := k.fault(a, j); err != nil {
		return nil, err
	}
	var in struct {
		Job importJobProperties `json:"ImportJobProperties"`
	}
	if err := a.decode(&in); err != nil {
		return nil, err
	}
	p := &progress{report: report{imported: -1, failed: -1}}
	if n := in.Job.JobProgressReport; n != nil {
		p.report.imported, p.report.failed = n.Imported, n.Failed
	}
	switch in.Job.JobStatus {
	case "COMPLETED", "COMPLETED_WITH_ERRORS":
		p.done = true
		return p, k.readManifest(ctx, in.Job.JobOutputDataConfig.S3Configuration.S3URI, &p.report)
	case "FAILED", "CANCEL_COMPLETED":
		p.done = true
		if n := in.Job.JobProgressReport; n == nil || n.Scanned == 0 {
			p.report.barred = &JobError{Job: j.name(), What: "it has ended as " + in.Job.JobStatus + " before it has read anything: look at the role, the key and the stage"}
		}
		return p, nil
	case "SUBMITTED", "QUEUED":
		p.what = "waiting" // jobs of a data store go one after the other
	default:
		p.what = "running"
		if p.report.imported >= 0 {
			p.what = fmt.Sprintf("%d imported", p.report.imported)
		}
	}
	return p, nil
}

// readManifest reads the counts of a job and what it has not imported. A manifest that is out of reach is
// no fault: what is there is verified anyway.
func (k *healthLake) readManifest(ctx context.Context, folder string, r *report) error {
	at := strings.TrimSuffix(folder, "/") + "/manifest.json"
	in, ok, err := k.i.stage.read(ctx, at)
	if err != nil || !ok {
		return nil //nolint:nilerr // the results may be in another account, or be gone
	}
	text, err := io.ReadAll(io.LimitReader(in, errorsKept))
	in.Close()
	var m healthLakeManifest
	if err != nil || json.Unmarshal(text, &m) != nil {
		return fmt.Errorf("read the manifest of the job: it is incomplete")
	}
	r.imported, r.failed = m.Imported, m.CustomerErrs+m.ServerErrs
	if m.Failure.URI == "" {
		return nil
	}
	list, err := k.i.stage.list(ctx, m.Failure.URI)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	for _, at := range list {
		if path.Ext(at) == ".ndjson" {
			if err := k.i.collect(ctx, r, at, ""); err != nil {
				return err
			}
		}
	}
	return nil
}
