package bulkimport

import (
	"context"
	"fmt"
	"net/http"
)

// azure is the $import of Azure Health Data Services. The same registration twice is one job. The blobs
// of a job are read by the service itself.
type azure struct {
	i    *Import
	mode string
}

func newAzure(o *Options) (*azure, error) {
	k := &azure{mode: o.Start["mode"]}
	switch k.mode {
	case "":
		k.mode = "IncrementalLoad"
	case "IncrementalLoad", "InitialLoad":
	default:
		return nil, &SettingError{"mode", "must be IncrementalLoad or InitialLoad"}
	}
	return k, nil
}

func (k *azure) traits() *traits {
	return &traits{name: "azure", store: "azblob", again: true, spread: true, files: 10_000, pace: calm}
}

func (k *azure) use(i *Import) { k.i = i }

func (k *azure) kickOff(ctx context.Context, j *job, files []*file) (string, error) {
	p := newParameters(
		parameter{Name: "inputFormat", ValueString: ndjsonType},
		parameter{Name: "mode", ValueString: k.mode},
		parameter{Name: "storageDetail", Part: []parameter{{Name: "type", ValueString: "azure-blob"}}},
	)
	for _, f := range files {
		at, err := k.i.stage.url(ctx, j, f.Name)
		if err != nil {
			return "", err
		}
		etag, err := k.i.stage.version(ctx, f.Name)
		if err != nil {
			return "", &stageError{err}
		}
		input := parameter{Name: "input", Part: []parameter{{Name: "type", ValueString: f.Type}, {Name: "url", ValueURI: at}}}
		if etag != "" {
			input.Part = append(input.Part, parameter{Name: "etag", ValueURI: etag})
		}
		p.Parameter = append(p.Parameter, input)
	}
	return k.i.kickOffAsync(ctx, j, "$import", p)
}

func (k *azure) find(context.Context, *job) (string, bool, error) { return "", false, nil }

// azureStatus is the body of a job that is done.
type azureStatus struct {
	Output []azureFile `json:"output"`
	Error  []azureFile `json:"error"`
}

type azureFile struct {
	Type     string `json:"type"`
	Count    int64  `json:"count"`
	InputURL string `json:"inputUrl"`
	URL      string `json:"url"`
}

func (k *azure) poll(ctx context.Context, j *job) (*progress, error) {
	a, err := k.i.ask(ctx, http.MethodGet, j.Handle, fhirRequest(), nil)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusAccepted:
		return &progress{what: "running", after: a.after()}, nil
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}, nil
	case a.status/100 != 2:
		codes := codesOf(a.body)
		if len(issuesOf(a.body)) == 0 || a.status == http.StatusTooManyRequests {
			return nil, fmt.Errorf("the server answers %d", a.status)
		}
		p := &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}
		if a.status == http.StatusBadRequest || a.status == http.StatusForbidden {
			// What was imported before stays; a job that could not begin has imported nothing.
			p.report.barred = &JobError{Job: j.name(), What: "the server cannot read the staged files", Status: a.status, Codes: codes}
		}
		return p, nil
	}
	var s azureStatus
	if err := a.decode(&s); err != nil {
		return nil, err
	}
	p := &progress{done: true}
	for _, f := range s.Output {
		p.report.imported += f.Count
		if f.URL != "" { // as older releases named the errors
			p.report.results = append(p.report.results, f.URL)
		}
	}
	for _, f := range s.Error {
		p.report.failed += f.Count
		if err := k.i.collect(ctx, &p.report, f.URL, k.i.journal.nameOf(f.InputURL)); err != nil {
			return nil, err
		}
	}
	for _, at := range p.report.results {
		if err := k.i.collect(ctx, &p.report, at, ""); err != nil {
			return nil, err
		}
	}
	return p, nil
}
