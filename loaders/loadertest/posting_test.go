package loadertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// posting is the smallest loader of a server that passes the suite: it sends each resource by itself, with one
// fault of choice. Its index and its checkpoints are in memory that outlives the loader.
type posting struct {
	m       *memory // lanes; held is the index
	server  *fhirtest.Server
	client  *http.Client
	sent    map[string]string // what may be on the server already: content by reference, "" is a deletion
	version map[string]string // of what the index knows
	replace bool
	fault   string
}

func newPosting(t *testing.T, fault string, o *fhirtest.Options) *posting {
	p := &posting{m: newMemory(""), fault: fault, server: fhirtest.Start(t, o), sent: map[string]string{}, version: map[string]string{}}
	p.client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

func (p *posting) Fhirtest() *fhirtest.Server                            { return p.server }
func (p *posting) Try(context.Context) (pipeline.Loader, error)          { return p, nil }
func (p *posting) Open(*testing.T) pipeline.Loader                       { return p }
func (p *posting) Refuses() bool                                         { return true }
func (p *posting) Overwrite()                                            { p.replace = true }
func (p *posting) Resources(t *testing.T) map[string]string              { return OnServer(t, p.server, "") }
func (p *posting) CanUpdate() bool                                       { return true }
func (p *posting) Close() error                                          { return nil }
func (p *posting) Finish(ctx context.Context, _ *pipeline.Account) error { return ctx.Err() }

func (p *posting) LoseIndex(*testing.T) {
	p.m.held, p.m.lanes = map[string]held{}, map[string]pipeline.Checkpoint{}
	p.sent, p.version = map[string]string{}, map[string]string{}
}

// content is what counts of a resource when it is compared.
func content(text string) string {
	var m map[string]any
	if text == "" || json.Unmarshal([]byte(text), &m) != nil {
		return ""
	}
	withoutUpdate(m)
	if meta, ok := m["meta"].(map[string]any); ok {
		delete(meta, "versionId")
		delete(meta, "source")
	}
	out, _ := json.Marshal(m)
	return string(out)
}

// at is a resource on the server.
type at struct {
	content, version string // "" is not there
}

var errServer = errors.New("the server does not do it")

// ask sends a request until it is answered; lost says that an answer was lost on the way.
func (p *posting) ask(ctx context.Context, method, path, body, match string) (status int, text []byte, lost bool, err error) {
	for n := 0; n < 8; n++ {
		r, err := http.NewRequestWithContext(ctx, method, p.server.URL+"/"+path, strings.NewReader(body))
		if err != nil {
			return 0, nil, false, err
		}
		r.Header.Set("Content-Type", "application/fhir+json")
		if match != "" && p.fault != "sends no If-Match" {
			r.Header.Set("If-Match", `W/"`+match+`"`)
		}
		resp, err := p.client.Do(r)
		if err == nil {
			text, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		switch {
		case ctx.Err() != nil:
			return 0, nil, lost, ctx.Err()
		case err == nil && resp.StatusCode == http.StatusServiceUnavailable && p.fault == "takes 503 for a refusal":
			return 422, text, lost, nil
		case err == nil && p.fault == "believes every 200" && resp.StatusCode == http.StatusOK:
			return resp.StatusCode, text, lost, nil
		case err != nil, resp.StatusCode >= 500, resp.StatusCode < 300 && !json.Valid(text):
			if method != http.MethodGet && p.fault != "sends again without a look" {
				return 0, nil, true, nil
			}
		case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusUnauthorized:
		default:
			return resp.StatusCode, text, lost, nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, nil, lost, errServer
}

// read says what the server has.
func (p *posting) read(ctx context.Context, ref string) (at, error) {
	status, text, _, err := p.ask(ctx, http.MethodGet, ref, "", "")
	switch {
	case err != nil:
		return at{}, err
	case status == 404 || status == 410:
		return at{}, nil
	case status != 200:
		return at{}, errServer
	}
	var r struct{ Meta struct{ VersionID string } }
	if err := json.Unmarshal(text, &r); err != nil {
		return at{}, err
	}
	return at{content(string(text)), r.Meta.VersionID}, nil
}

// Load sends what the index does not have.
func (p *posting) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	next, refusals := map[string]held{}, pipeline.Refusals{}
	outcomes := make([]pipeline.Outcome, b.Len())
	last := map[string]int{}
	var list []*fhir.Resource
	for i, r := range b.All() {
		ref := fhir.Reference(r.Type, r.ID)
		if err := p.learn(ctx, ref); err != nil {
			return err
		}
		if _, known := next[ref]; !known {
			next[ref] = p.m.held[ref]
			if _, has := p.m.held[ref]; !has {
				delete(next, ref)
			}
		}
		keep := *r
		keep.JSON = []byte(content(string(r.JSON)))
		list = append(list, &keep)
		outcomes[i] = p.m.outcome(next, ref, &keep)
		switch outcomes[i] {
		case pipeline.Created, pipeline.Updated, pipeline.Deleted:
			next[ref], last[ref] = held{string(keep.JSON), r.SourceVersion}, i
		}
	}
	versions := map[string]string{}
	for _, i := range sendOrder(list, slices.Collect(maps.Values(last)), p.fault) {
		r := list[i]
		ref := fhir.Reference(r.Type, r.ID)
		v, refusal, err := p.send(ctx, ref, r)
		if err != nil {
			return err
		}
		if refusal != nil {
			p.refuse(list, outcomes, refusals, ref, refusal)
			delete(next, ref)
			continue
		}
		versions[ref] = v
	}
	if p.fault == "gives no reasons" {
		refusals = nil
	}
	cp, err := seal(outcomes, refusals)
	if err != nil {
		return err
	}
	for ref, h := range next {
		p.m.held[ref] = h
		delete(p.sent, ref)
	}
	maps.Copy(p.version, versions)
	p.m.lanes[lane] = cp
	if p.fault == "forgets what it has sent" {
		p.m.held = map[string]held{}
	}
	return nil
}

// learn asks the server about a resource that the index does not know.
func (p *posting) learn(ctx context.Context, ref string) error {
	if _, known := p.m.held[ref]; known || p.fault == "forgets what it has sent" || p.fault == "asks nothing about what is there" {
		return nil
	}
	if _, sent := p.sent[ref]; sent {
		return nil
	}
	is, err := p.read(ctx, ref)
	if err == nil && is.content != "" {
		p.m.held[ref], p.version[ref] = held{json: is.content}, is.version
	}
	return err
}

// refuse makes the outcomes of a refused resource.
func (p *posting) refuse(list []*fhir.Resource, outcomes []pipeline.Outcome, refusals pipeline.Refusals, ref string, why *pipeline.Refusal) {
	for i, r := range list {
		o := outcomes[i]
		if fhir.Reference(r.Type, r.ID) == ref && (o == pipeline.Created || o == pipeline.Updated || o == pipeline.Deleted) {
			if p.fault != "hides a refusal" {
				outcomes[i] = pipeline.Refused
				refusals[i] = why
			}
		}
	}
}

// sendOrder: what others refer to first; deletions last, the other way round.
func sendOrder(list []*fhir.Resource, which []int, fault string) []int {
	slices.SortFunc(which, func(a, b int) int {
		x, y := list[a], list[b]
		switch {
		case fault == "sends in the order of the batch":
		case x.Deleted != y.Deleted && y.Deleted:
			return -1
		case x.Deleted != y.Deleted:
			return 1
		case x.Type != y.Type && x.Deleted:
			return int(y.Type) - int(x.Type)
		case x.Type != y.Type:
			return int(x.Type) - int(y.Type)
		}
		return a - b
	})
	return which
}

// send brings one resource to the server, and finds out what became of it.
func (p *posting) send(ctx context.Context, ref string, r *fhir.Resource) (version string, refusal *pipeline.Refusal, err error) {
	want := ""
	if !r.Deleted {
		want = string(r.JSON)
	}
	_, unsure := p.sent[ref]
	for range 6 {
		var is at
		if unsure || r.Deleted || p.replace {
			if is, err = p.read(ctx, ref); err != nil {
				return "", nil, err
			}
			if unsure && is.content == want && p.fault != "sends again without a look" {
				return is.version, nil, nil
			}
		}
		if known := p.version[ref]; r.Deleted && !p.replace && known != "" && is.version != known && p.fault != "sends no If-Match" {
			return "", &pipeline.Refusal{Rule: pipeline.RuleServerChanged}, nil
		}
		match := p.version[ref]
		if p.replace {
			match = is.version
		}
		p.sent[ref] = want
		method, body := http.MethodPut, string(r.JSON)
		if r.Deleted {
			method, body = http.MethodDelete, ""
		}
		status, text, lost, err := p.ask(ctx, method, ref, body, match)
		switch {
		case err != nil:
			return "", nil, err
		case lost:
			unsure = true
			continue
		case status == 409 || status == 412:
			return "", &pipeline.Refusal{Rule: pipeline.RuleServerChanged, Status: status}, nil
		case status/100 == 4:
			delete(p.sent, ref)
			return "", p.refusalOf(status, text), nil
		}
		var stored struct{ Meta struct{ VersionID string } }
		_ = json.Unmarshal(text, &stored)
		return stored.Meta.VersionID, nil, nil
	}
	return "", nil, errServer
}

func (p *posting) refusalOf(status int, text []byte) *pipeline.Refusal {
	var o struct {
		Issue []struct{ Code, Diagnostics string }
	}
	_ = json.Unmarshal(text, &o)
	r := &pipeline.Refusal{Rule: pipeline.RuleServerRefused, Status: status}
	for _, i := range o.Issue {
		r.Codes, r.Text = append(r.Codes, i.Code), i.Diagnostics
	}
	if p.fault == "shows values" {
		r.Codes = append(r.Codes, r.Text)
	}
	return r
}

func (p *posting) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	return p.m.Resume(ctx, lane)
}

func (p *posting) Void(ctx context.Context, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (bool, error) {
	is, err := p.read(ctx, resource)
	if err != nil || is.content == "" {
		return false, err
	}
	if patient != "" && !strings.Contains(is.content, fmt.Sprintf(`"patient":{"reference":%q}`, patient)) {
		return false, pipeline.ErrOtherPatient
	}
	t, id, err := fhir.SplitReference(resource)
	if err != nil {
		return false, err
	}
	text := strings.Replace(is.content, `"status":"active"`, `"status":"cancelled"`, 1)
	out.Add(&fhir.Resource{Type: t, ID: id, LastUpdated: lastUpdated, SourceVersion: sourceVersion, JSON: []byte(text)})
	return true, nil
}

func newServerOf(kind string) *fhirtest.Options {
	if kind == "hapi" {
		return nil
	}
	return &fhirtest.Options{Software: "Other", EqualMakesVersion: true, Stale412: true}
}

func TestPosting(t *testing.T) {
	kinds := []string{"other", "hapi"}
	if testing.Short() {
		kinds = kinds[:1] // on the first one more can go wrong
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			Run(t, func(t *testing.T) Target { return newPosting(t, "", newServerOf(kind)) })
		})
	}
}

// serverFaultVariable names the fault that TestFaultyServer is to have.
const serverFaultVariable = "LOADERTEST_SERVER_FAULT"

// TestFaultyServer runs the suite on a loader that is wrong, for TestFindsServerFaults.
func TestFaultyServer(t *testing.T) {
	fault := os.Getenv(serverFaultVariable)
	if fault == "" {
		t.Skip("runs only inside TestFindsServerFaults")
	}
	Run(t, func(t *testing.T) Target { return newPosting(t, fault, newServerOf("other")) })
}

// TestFindsServerFaults proves that each of these faults is found, by the case that is there for it.
func TestFindsServerFaults(t *testing.T) {
	tests := map[string]func(*testing.T){}
	for fault, by := range map[string]string{
		"hides a refusal":                  "RefusesEach",
		"gives no reasons":                 "RefusesEach",
		"shows values":                     "RefusesEach",
		"sends in the order of the batch":  "OrderOfReferences",
		"sends again without a look":       "LostAnswer",
		"forgets what it has sent":         "RerunWritesNothing",
		"asks nothing about what is there": "IndexLost",
		"sends no If-Match":                "EditReported",
		"takes 503 for a refusal":          "Faults",
		"believes every 200":               "Faults",
	} {
		tests[fault] = func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaultyServer$/^"+by+"$", "-test.short")
			cmd.Env = append(os.Environ(), serverFaultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestFaultyServer/"+by) {
				t.Errorf("%s passes a loader that %s (%v)\n%s", by, fault, err, out)
			}
		}
	}
	inParallel(t, tests)
}
