package bulkimport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// hapi is HAPI's $import. Its report counts outcomes by file, and names no line. It knows no jobs but by
// the URL that it has answered with.
type hapi struct{ i *Import }

func (h *hapi) traits() *traits { return &traits{name: "hapi", pulls: true, pace: quick} }

func (h *hapi) use(i *Import) { h.i = i }

func (h *hapi) kickOff(ctx context.Context, j *job, files []*file) (string, error) {
	p := newParameters(
		parameter{Name: "inputFormat", ValueCode: ndjsonType},
		parameter{Name: "inputSource", ValueURI: "urn:uuid:" + j.Token},
		parameter{Name: "storageDetail", Part: []parameter{{Name: "type", ValueCode: "https"}}},
	)
	for _, f := range files {
		at, err := h.i.stage.url(ctx, j, f.Name)
		if err != nil {
			return "", err
		}
		p.Parameter = append(p.Parameter, parameter{Name: "input", Part: []parameter{{Name: "type", ValueCode: f.Type}, {Name: "url", ValueURI: at}}})
	}
	return h.i.kickOffAsync(ctx, j, "$import", p)
}

func (h *hapi) find(context.Context, *job) (string, bool, error) { return "", false, nil }

func (h *hapi) poll(ctx context.Context, j *job) (*progress, error) {
	a, err := h.i.ask(ctx, http.MethodGet, j.Handle, fhirRequest(), nil)
	if err != nil {
		return nil, err
	}
	switch a.status {
	case http.StatusAccepted:
		return &progress{what: "running", after: a.after()}, nil
	case http.StatusNotFound, http.StatusGone:
		return &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}, nil
	}
	p := &progress{done: true, report: report{imported: -1, failed: -1}}
	text, reported := hapiReport(a.body)
	if reported {
		p.report.imported, p.report.failed = hapiCounts(text)
	}
	switch {
	case a.status/100 == 2:
	case len(issuesOf(a.body)) == 0 || a.status == http.StatusTooManyRequests:
		return nil, fmt.Errorf("the server answers %d", a.status)
	case !reported:
		// The job as a whole has failed, or only the question has.
		p.doubt = true
		if fetched, known := h.i.stage.fetched(j); known && !fetched {
			p.report.barred = &JobError{Job: j.name(), What: "the server has fetched none of the staged files: it cannot reach them", Status: a.status, Codes: codesOf(a.body)}
		}
	}
	return p, nil
}

// hapiReport finds the report in an OperationOutcome: JSON within its diagnostics.
func hapiReport(body []byte) (string, bool) {
	for _, issue := range issuesOf(body) {
		var in struct {
			Report string `json:"reportMsg"`
		}
		if json.Unmarshal([]byte(issue.Diagnostics), &in) == nil && in.Report != "" {
			return in.Report, true
		}
	}
	return "", false
}

var hapiCount = regexp.MustCompile(`(?m)^\s*\*\s*([A-Z_]+):\s*(\d+)\s*$`)

// hapiCounts adds up the outcomes of all files: SUCCESSFUL_… and others.
func hapiCounts(text string) (imported, failed int64) {
	for _, m := range hapiCount.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseInt(m[2], 10, 64)
		switch {
		case err != nil:
		case strings.HasPrefix(m[1], "SUCCESSFUL"):
			imported += n
		default:
			failed += n
		}
	}
	return imported, failed
}

// kickOffAsync starts an operation of FHIR's asynchronous pattern.
func (i *Import) kickOffAsync(ctx context.Context, j *job, operation string, p *parameters) (string, error) {
	a, err := i.ask(ctx, http.MethodPost, operation, fhirRequest(), p)
	if err != nil {
		return "", err
	}
	switch {
	case a.status == http.StatusAccepted || a.status == http.StatusOK || a.status == http.StatusCreated:
		return a.location(i.server.URL())
	case a.status == http.StatusTooManyRequests:
		return "", &laterError{a.after()}
	case a.status >= 500:
		return "", fmt.Errorf("the server answers %d", a.status)
	}
	return "", a.refused(j)
}
