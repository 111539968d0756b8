package bulkimport

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// aidbox is Aidbox's /v2/fhir/$import. The id of a job is ours. It validates nothing, and a job that is
// done may have inputs that failed.
type aidbox struct {
	i      *Import
	root   string // URL of the server without /fhir
	update bool
}

func newAidbox(o *Options) (*aidbox, error) {
	u, err := url.Parse(o.Server.URL())
	if err != nil {
		return nil, &SettingError{"url", "is no URL"}
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/fhir")
	k := &aidbox{root: u.String()}
	switch o.Start["update"] {
	case "", "false":
	case "true":
		k.update = true
	default:
		return nil, &SettingError{"update", "must be true or false"}
	}
	return k, nil
}

func (k *aidbox) traits() *traits {
	return &traits{name: "aidbox", pulls: true, knows: true, pace: quick}
}

func (k *aidbox) use(i *Import) { k.i = i }

type aidboxImport struct {
	ID              string        `json:"id"`
	ContentEncoding string        `json:"contentEncoding"`
	Update          bool          `json:"update,omitempty"`
	Inputs          []aidboxInput `json:"inputs"`
}

type aidboxInput struct {
	ResourceType string `json:"resourceType"`
	URL          string `json:"url"`

	// Of an answer:
	Status  string `json:"status,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Result  *struct {
		Imported int64 `json:"imported-resources"`
	} `json:"result,omitempty"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

func (k *aidbox) kickOff(ctx context.Context, j *job, files []*file) (string, error) {
	request := aidboxImport{ID: j.Token, ContentEncoding: "plain", Update: k.update}
	for _, f := range files {
		at, err := k.i.stage.url(ctx, j, f.Name)
		if err != nil {
			return "", err
		}
		request.Inputs = append(request.Inputs, aidboxInput{ResourceType: f.Type, URL: at})
	}
	a, err := k.i.ask(ctx, http.MethodPost, k.root+"/v2/fhir/$import", jsonRequest(), request)
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
	return j.Token, nil
}

func (k *aidbox) find(ctx context.Context, j *job) (string, bool, error) {
	a, err := k.status(ctx, j.Token)
	if err != nil {
		return "", false, err
	}
	switch {
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return "", false, nil
	case a.status/100 != 2:
		return "", false, fmt.Errorf("the server answers %d", a.status)
	}
	return j.Token, true, nil
}

func (k *aidbox) status(ctx context.Context, id string) (*answer, error) {
	return k.i.ask(ctx, http.MethodGet, k.root+"/v2/$import/"+id, jsonRequest(), nil)
}

var httpStatus = regexp.MustCompile(`^[45]\d\d\b`)

func (k *aidbox) poll(ctx context.Context, j *job) (*progress, error) {
	a, err := k.status(ctx, j.Handle)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return &progress{done: true, doubt: true, report: report{imported: -1, failed: -1}}, nil
	case a.status/100 != 2:
		return nil, fmt.Errorf("the server answers %d", a.status)
	}
	var in struct {
		Status  string        `json:"status"`
		Outcome string        `json:"outcome"`
		Inputs  []aidboxInput `json:"inputs"`
	}
	if err := a.decode(&in); err != nil {
		return nil, err
	}
	if in.Status != "done" {
		done := 0
		for _, input := range in.Inputs {
			if input.Status == "done" {
				done++
			}
		}
		return &progress{what: fmt.Sprintf("%d of %d files", done, len(in.Inputs)), after: a.after()}, nil
	}
	p := &progress{done: true}
	barred := 0
	for _, input := range in.Inputs {
		if input.Outcome == "succeeded" && input.Result != nil {
			p.report.imported += input.Result.Imported
			continue
		}
		if input.Error != nil && httpStatus.MatchString(input.Error.Message) {
			barred++
		}
	}
	p.report.failed = j.Lines - p.report.imported
	if barred > 0 && barred == len(in.Inputs) {
		p.report.barred = &JobError{Job: j.name(), What: "the server cannot fetch the staged files", Codes: []string{httpStatus.FindString(in.Inputs[0].Error.Message)}}
	}
	return p, nil
}
