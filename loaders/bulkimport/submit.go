package bulkimport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// submit is the Bulk Submit operation of the Bulk Data guide, version 4, which is a draft. Each job is a
// submission of one manifest.
type submit struct {
	i         *Import
	submitter identifier
}

func newSubmit(o *Options) (*submit, error) {
	k := &submit{submitter: identifier{o.Start["submitter_system"], o.Start["submitter_value"]}}
	if k.submitter.System == "" || k.submitter.Value == "" {
		return nil, &SettingError{"submitter_system", "and submitter_value must be the identifier that the server knows the submitter by"}
	}
	return k, nil
}

func (k *submit) traits() *traits {
	return &traits{name: "bulk-submit", pulls: true, knows: true, pace: calm}
}

func (k *submit) use(i *Import) { k.i = i }

// submitManifest is the manifest of a submission.
type submitManifest struct {
	TransactionTime     string         `json:"transactionTime"`
	RequiresAccessToken bool           `json:"requiresAccessToken"`
	Output              []submitOutput `json:"output"`
	Error               []struct{}     `json:"error"`
}

type submitOutput struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count int64  `json:"count"`
}

func (k *submit) kickOff(ctx context.Context, j *job, files []*file) (string, error) {
	at, err := k.putManifest(ctx, j, files)
	if err != nil {
		return "", &stageError{err}
	}
	a, err := k.i.ask(ctx, http.MethodPost, "$bulk-submit", k.headers(), newParameters(
		parameter{Name: "submitter", ValueIdentifier: &k.submitter},
		parameter{Name: "submissionId", ValueString: j.Token},
		parameter{Name: "submissionStatus", ValueCoding: &coding{"http://hl7.org/fhir/event-status", "completed"}},
		parameter{Name: "manifestUrl", ValueURL: at},
		parameter{Name: "outputFormat", ValueString: ndjsonType},
		parameter{Name: "fhirBaseUrl", ValueURL: k.i.server.URL()},
	))
	if err != nil {
		return "", err
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		return "", &laterError{a.after()}
	case a.status >= 500:
		return "", fmt.Errorf("the server answers %d", a.status)
	case a.status/100 != 2:
		return "", a.refused(j)
	}
	handle, ok, err := k.find(ctx, j)
	if err == nil && !ok {
		err = fmt.Errorf("the server does not know the submission that it has accepted")
	}
	return handle, err
}

func (k *submit) headers() http.Header {
	h := fhirRequest()
	h.Del("Prefer")
	return h
}

// putManifest stages the manifest of a job.
func (k *submit) putManifest(ctx context.Context, j *job, files []*file) (at string, err error) {
	m := submitManifest{TransactionTime: k.i.journal.Time, Output: []submitOutput{}, Error: []struct{}{}}
	for _, f := range files {
		at, err := k.i.stage.url(ctx, j, f.Name)
		if err != nil {
			return "", err
		}
		m.Output = append(m.Output, submitOutput{f.Type, at, f.Lines})
	}
	text, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	name := "manifest-" + j.name() + ".json"
	if err := k.i.journal.extra(name); err != nil {
		return "", err
	}
	if err := k.i.stage.putText(ctx, name, text); err != nil {
		return "", err
	}
	return k.i.stage.url(ctx, j, name)
}

// find asks for the status of the submission: the server answers with the URL to poll.
func (k *submit) find(ctx context.Context, j *job) (string, bool, error) {
	a, err := k.i.ask(ctx, http.MethodPost, "$bulk-submit-status", fhirRequest(), newParameters(
		parameter{Name: "submitter", ValueIdentifier: &k.submitter},
		parameter{Name: "submissionId", ValueString: j.Token},
		parameter{Name: "_outputFormat", ValueString: ndjsonType},
	))
	if err != nil {
		return "", false, err
	}
	switch {
	case a.status == http.StatusNotFound || a.status == http.StatusBadRequest || a.status == http.StatusUnprocessableEntity:
		return "", false, nil
	case a.status == http.StatusTooManyRequests:
		return "", false, &laterError{a.after()}
	case a.status/100 != 2:
		return "", false, fmt.Errorf("the server answers %d", a.status)
	}
	at, err := a.location(k.i.server.URL())
	return at, err == nil, err
}

// submitStatus is the manifest of a submission's status. Releases of the draft call the files of
// OperationOutcomes error or outcome.
type submitStatus struct {
	Outcome []submitOutcomes `json:"outcome"`
	Error   []submitOutcomes `json:"error"`
}

type submitOutcomes struct {
	URL      string `json:"url"`
	Severity []struct {
		Code  string `json:"code"`
		Count int64  `json:"count"`
	} `json:"countSeverity"`
}

func (k *submit) poll(ctx context.Context, j *job) (*progress, error) {
	a, err := k.i.ask(ctx, http.MethodGet, j.Handle, http.Header{"Accept": {"application/json"}}, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusAccepted:
		return &progress{what: "running", after: a.after()}, nil
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}, nil
	case a.status/100 != 2:
		if len(issuesOf(a.body)) == 0 || a.status == http.StatusTooManyRequests {
			return nil, fmt.Errorf("the server answers %d", a.status)
		}
		return &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}, nil
	}
	var in submitStatus
	if err := a.decode(&in); err != nil {
		return nil, err
	}
	p := &progress{done: true, report: report{imported: -1, failed: 0}}
	for _, o := range append(in.Outcome, in.Error...) {
		for _, s := range o.Severity {
			if s.Code == "error" || s.Code == "fatal" {
				p.report.failed += s.Count
			}
		}
		if len(o.Severity) == 0 {
			p.report.failed = -1
		}
		if o.URL != "" {
			if err := k.i.collect(ctx, &p.report, o.URL, ""); err != nil {
				return nil, err
			}
		}
	}
	if p.report.failed < 0 {
		p.report.failed = int64(len(p.report.named))
	}
	return p, nil
}
