package bulkimport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// google is projects.locations.datasets.fhirStores.import of the Cloud Healthcare API. It gives a
// long-running operation of the dataset; errors of resources are in Cloud Logging, out of reach here.
type google struct {
	i     *Import
	store string // URL of the FHIR store
	root  string // URL of the API, with its version
	name  string // of the dataset: projects/…/datasets/…
}

func newGoogle(o *Options) (*google, error) {
	k := &google{store: strings.TrimSuffix(strings.TrimSuffix(o.Server.URL(), "/"), "/fhir")}
	at := strings.Index(k.store, "/projects/")
	end := strings.Index(k.store, "/fhirStores/")
	if at < 0 || end < at {
		return nil, &SettingError{"url", "must be that of a FHIR store: https://healthcare.googleapis.com/v1/projects/…/locations/…/datasets/…/fhirStores/…/fhir"}
	}
	k.root, k.name = k.store[:at], k.store[at+1:end]
	return k, nil
}

func (k *google) traits() *traits { return &traits{name: "google", store: "gs", pace: calm} }

func (k *google) use(i *Import) { k.i = i }

// googleImport is the request of fhirStores.import.
type googleImport struct {
	ContentStructure string       `json:"contentStructure"`
	GcsSource        googleSource `json:"gcsSource"`
}

type googleSource struct {
	URI string `json:"uri"`
}

// operation is a long-running operation.
type operation struct {
	Name     string `json:"name"`
	Done     bool   `json:"done"`
	Metadata struct {
		Method  string        `json:"apiMethodName"`
		Created time.Time     `json:"createTime"`
		Counter googleCounter `json:"counter"`
	} `json:"metadata"`
	Error *struct {
		Code int `json:"code"`
	} `json:"error"`
}

// googleCounter has int64 as JSON of Google has them: as strings.
type googleCounter struct {
	Success int64String `json:"success"`
	Failure int64String `json:"failure"`
	Pending int64String `json:"pending"`
}

type int64String int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *int64String) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	*n = int64String(v)
	return err
}

func (k *google) kickOff(ctx context.Context, j *job, _ []*file) (string, error) {
	request := googleImport{"RESOURCE", googleSource{k.i.stage.place(j.Type) + "*"}}
	a, err := k.i.ask(ctx, http.MethodPost, k.store+":import", jsonRequest(), request)
	if err != nil {
		return "", err
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		return "", &laterError{a.after()}
	case a.status >= 500:
		return "", fmt.Errorf("the server answers %d", a.status)
	case a.status/100 != 2:
		return "", &JobError{Job: j.name(), What: "the server does not start it", Status: a.status, Codes: googleStatus(a.body)}
	}
	var op operation
	if err := a.decode(&op); err != nil {
		return "", err
	}
	if op.Name == "" {
		return "", fmt.Errorf("the server names no operation")
	}
	return op.Name, nil
}

func jsonRequest() http.Header {
	return http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
}

// googleStatus is the code of an error of Google's.
func googleStatus(body []byte) []string {
	var in struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &in) != nil || in.Error.Status == "" || strings.Trim(in.Error.Status, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return nil
	}
	return []string{in.Error.Status}
}

// find looks for the operation among those of the dataset: an import that was started since, and that is
// no other job's. If there are several, it is unknown which it is.
func (k *google) find(ctx context.Context, j *job) (string, bool, error) {
	var found []string
	for page := ""; ; {
		at := k.root + "/" + k.name + "/operations"
		if page != "" {
			at += "?pageToken=" + page
		}
		a, err := k.i.ask(ctx, http.MethodGet, at, jsonRequest(), nil)
		if err != nil {
			return "", false, err
		}
		if a.status/100 != 2 {
			return "", false, fmt.Errorf("the server answers %d", a.status)
		}
		var list struct {
			Operations []operation `json:"operations"`
			Next       string      `json:"nextPageToken"`
		}
		if err := a.decode(&list); err != nil {
			return "", false, err
		}
		for _, op := range list.Operations {
			ours := slices.ContainsFunc(k.i.journal.Jobs, func(o *job) bool { return o.Handle == op.Name })
			// The clocks may differ by some seconds.
			if !ours && strings.HasSuffix(op.Metadata.Method, ".ImportResources") && op.Metadata.Created.After(j.Begun.Add(-10*time.Second)) {
				found = append(found, op.Name)
			}
		}
		if page = list.Next; page == "" {
			break
		}
	}
	if len(found) != 1 {
		return "", false, nil
	}
	return found[0], true, nil
}

func (k *google) poll(ctx context.Context, j *job) (*progress, error) {
	a, err := k.i.ask(ctx, http.MethodGet, k.root+"/"+j.Handle, jsonRequest(), nil)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusNotFound: // operations are kept for a month
		return &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}, nil
	case a.status/100 != 2:
		return nil, fmt.Errorf("the server answers %d", a.status)
	}
	var op operation
	if err := a.decode(&op); err != nil {
		return nil, err
	}
	c := op.Metadata.Counter
	if !op.Done {
		return &progress{what: fmt.Sprintf("%d imported, %d waiting", c.Success, c.Pending), after: a.after()}, nil
	}
	p := &progress{done: true, report: report{imported: int64(c.Success), failed: int64(c.Failure)}}
	if op.Error != nil && c.Success == 0 && c.Failure == 0 {
		p.report.imported, p.report.failed = -1, -1
		// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION: the files, not what is in them.
		if slices.Contains([]int{3, 5, 7, 9}, op.Error.Code) {
			p.report.barred = &JobError{Job: j.name(), What: fmt.Sprintf("the server cannot read the staged files (status %d of google.rpc.Code)", op.Error.Code)}
		}
	}
	return p, nil
}
