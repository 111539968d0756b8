package bulkimport

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/fhirclient"
)

// kind is the import of one sort of server. A job is of one type of resource.
type kind interface {
	traits() *traits

	// use gives the kind the import that it works for.
	use(i *Import)

	// kickOff asks the server to start a job, and returns what the server calls it.
	kickOff(ctx context.Context, j *job, files []*file) (handle string, err error)

	// find looks for a job whose start was not answered. ok is false if the server does not know it, or
	// cannot say.
	find(ctx context.Context, j *job) (handle string, ok bool, err error)

	// poll asks how a job is.
	poll(ctx context.Context, j *job) (*progress, error)
}

// traits are what kinds differ in.
type traits struct {
	name  string
	pulls bool   // the server fetches files by http or https
	store string // the scheme of the only object store that it reads; "" is any

	// again says that a kick-off that is repeated with the same token starts no second job.
	again bool

	knows  bool // find is certain: a job that it does not find was not started
	spread bool // the moments of resources must differ
	files  int  // most files of a job; 0 is any number
	pace   pace
}

// pace is how often a server is asked.
type pace struct {
	first, most time.Duration // between two questions
	heed        time.Duration // the longest Retry-After that is believed
	settle      time.Duration // how long a job whose start was not answered is looked for
	patience    time.Duration // how long a server may give no answer; 0 follows the settings
}

var (
	// quick is for servers that move often, or that say 120 seconds whatever they do.
	quick = pace{first: 250 * time.Millisecond, most: 5 * time.Second, heed: 5 * time.Second, settle: 2 * time.Minute}
	// calm is for clouds, whose jobs take minutes.
	calm = pace{first: 2 * time.Second, most: time.Minute, heed: 15 * time.Minute, settle: 5 * time.Minute}
)

// progress is the state of a job.
type progress struct {
	done   bool
	what   string        // of one that is not done: our own words and numbers
	after  time.Duration // when the server wants to be asked again; 0 if it does not say
	report report        // of one that is done

	// doubt says that the answer may be one of something in between, or of a server in trouble: it
	// counts once it has come several times.
	doubt bool
}

// report is what a job has come to.
type report struct {
	imported, failed int64 // -1 if the server does not say

	// barred says that the server could not read the files, and has imported nothing.
	barred *JobError

	results []string // URLs of files with OperationOutcomes
	named   []failure
}

// failure is a resource that a job has refused.
type failure struct {
	file string // name of the staged file
	line int64  // from 0
	ref  string // Type/id; "" if the line names the resource
	why  refusal
}

// JobError is a job that did not do what it should, for a reason that a user must look into.
type JobError struct {
	Job    string
	What   string
	Status int      // of HTTP, 0 if there is none
	Codes  []string // as the server calls the reason
}

func (e *JobError) Error() string {
	text := fmt.Sprintf("import job %s: %s", e.Job, e.What)
	if e.Status != 0 {
		text += fmt.Sprintf(" (%d)", e.Status)
	}
	if len(e.Codes) > 0 {
		text += " [" + strings.Join(e.Codes, ", ") + "]"
	}
	return text
}

// newKind makes the kind that the settings of a server, or the options, name.
func newKind(o *Options) (kind, error) {
	name := o.Start["kind"]
	if name == "" {
		name = o.Server.Settings().Import
	}
	for known := range o.Start {
		if _, ok := StartSettings[known]; !ok {
			return nil, &SettingError{known, "is no setting of an import"}
		}
	}
	switch name {
	case "hapi":
		return &hapi{}, nil
	case "azure":
		return newAzure(o)
	case "google":
		return newGoogle(o)
	case "healthlake":
		return newHealthLake(o)
	case "aidbox":
		return newAidbox(o)
	case "bulk-submit":
		return newSubmit(o)
	case "":
		return nil, &SettingError{"import", "is nothing that this server can do; load into fhir: instead"}
	}
	return nil, &SettingError{"kind", "must be hapi, azure, google, healthlake, aidbox or bulk-submit"}
}

// StartSettings are the names in Options.Start, and what they are.
var StartSettings = map[string]string{
	"kind":             "of import: hapi, azure, google, healthlake, aidbox, bulk-submit; by default that of the server",
	"files_url":        "https URL at which the server finds the files of a file: stage, if it is not the address that listens",
	"files_cert":       "file of the certificate of the local server of a file: stage, in PEM",
	"files_key":        "file of its key",
	"storage_account":  "azure: account of the container",
	"mode":             "azure: IncrementalLoad (the default) or InitialLoad",
	"data_access_role": "healthlake: ARN of the role that reads the stage and writes the results",
	"kms_key":          "healthlake: ARN of the key that encrypts the results",
	"output":           "healthlake: s3:// URL of the results; by default below the stage",
	"validation_level": "healthlake: strict, structure-only or minimal",
	"update":           "aidbox: true keeps the history of what is overwritten",
	"submitter_system": "bulk-submit: system of the submitter's identifier",
	"submitter_value":  "bulk-submit: value of the submitter's identifier",
}

// answer is what a server has said to a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// answersMost is how large an answer about a job may be, in bytes.
const answersMost = 64 << 20

// ask sends a request once. An error means that it is unknown what the server has done.
func (i *Import) ask(ctx context.Context, method, at string, header http.Header, body any) (*answer, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode a request: %w", err)
		}
	}
	res, err := i.server.Do(fhirclient.Once(ctx), method, at, header, text)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(io.LimitReader(res.Body, answersMost)); err != nil {
		return nil, fmt.Errorf("read an answer: %w", plain(err))
	}
	return a, nil
}

// fhirRequest are the headers of a request of FHIR's asynchronous pattern.
func fhirRequest() http.Header {
	return http.Header{
		"Content-Type": {"application/fhir+json"}, "Accept": {"application/fhir+json"}, "Prefer": {"respond-async"},
	}
}

// decode reads the JSON of an answer into v.
func (a *answer) decode(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("the server answers %d with something that is not the JSON it should be", a.status)
	}
	return nil
}

// after is what Retry-After says: seconds, or a date by the clock of the server.
func (a *answer) after() time.Duration {
	v := strings.TrimSpace(a.header.Get("Retry-After"))
	if n, err := strconv.ParseFloat(v, 64); err == nil && n > 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second))
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now := time.Now()
	if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		now = date
	}
	return max(0, at.Sub(now))
}

// location is where the server says that a job is, as a URL.
func (a *answer) location(base string) (string, error) {
	at := a.header.Get("Content-Location")
	if at == "" {
		at = a.header.Get("Location")
	}
	if at == "" {
		return "", fmt.Errorf("the server answers %d without saying where the job is", a.status)
	}
	return resolve(base, at)
}

// resolve makes a URL of one that may be relative to the base of a server.
func resolve(base, at string) (string, error) {
	b, err := url.Parse(base + "/")
	if err != nil {
		return "", &SettingError{"url", "is no URL"}
	}
	u, err := b.Parse(at)
	if err != nil {
		return "", fmt.Errorf("the server names a place that is no URL")
	}
	return u.String(), nil
}

// refused is the error of a kick-off that the server does not accept.
func (a *answer) refused(j *job) *JobError {
	return &JobError{Job: j.name(), What: "the server does not start it", Status: a.status, Codes: codesOf(a.body)}
}

// parameters is a FHIR Parameters resource.
type parameters struct {
	ResourceType string      `json:"resourceType"`
	Parameter    []parameter `json:"parameter"`
}

type parameter struct {
	Name            string      `json:"name"`
	ValueCode       string      `json:"valueCode,omitempty"`
	ValueString     string      `json:"valueString,omitempty"`
	ValueURI        string      `json:"valueUri,omitempty"`
	ValueURL        string      `json:"valueUrl,omitempty"`
	ValueCoding     *coding     `json:"valueCoding,omitempty"`
	ValueIdentifier *identifier `json:"valueIdentifier,omitempty"`
	Part            []parameter `json:"part,omitempty"`
}

type coding struct {
	System string `json:"system"`
	Code   string `json:"code"`
}

type identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

func newParameters(list ...parameter) *parameters { return &parameters{"Parameters", list} }

const ndjsonType = "application/fhir+ndjson"
