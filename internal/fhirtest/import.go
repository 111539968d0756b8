package fhirtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Import says how the server's bulk import behaves. It is HAPI's $import.
type Import struct {
	Off   bool
	Polls int           // at least so many are answered with 202 before the job ends
	Time  time.Duration // that a job takes
	Chunk int           // lines that are stored or not as one; 0 is 100
}

// job is one import.
type job struct {
	id      string
	created time.Time
	polls   int
	ended   bool
	failed  string // why the job as a whole has failed
	report  string
	faults  int // lines that were refused
}

type importFile struct{ typ, url string }

// startImport answers the kick-off.
func (x *exchange) startImport() *answer {
	s := x.s
	if s.o.Import.Off {
		return x.failure(fail(http.StatusBadRequest, "HAPI-0302: Unknown operation '$import'"))
	}
	if f := x.wrongFormat("EXTENDED_OPERATION_SERVER"); f != nil {
		return x.failure(f)
	}
	if !strings.Contains(x.r.Header.Get("Prefer"), "respond-async") {
		return x.failure(fail(http.StatusBadRequest, "HAPI-0513: Must request async processing for $import"))
	}
	body, f := parseResource(x.body, "Parameters")
	if f != nil {
		return x.failure(f)
	}
	files, f := importFiles(body)
	if f != nil {
		return x.failure(f)
	}
	j := &job{id: s.newID(), created: s.o.Now()}
	s.jobs[j.id] = j
	go s.run(j, files)
	text := []any{
		map[string]any{"severity": "information", "code": "informational", "diagnostics": "Bulk import job has been submitted with ID: " + j.id},
		map[string]any{"severity": "information", "code": "informational", "diagnostics": "Use the following URL to poll for job status: " + s.pollURL(j)},
	}
	a := x.resource(http.StatusAccepted, map[string]any{"resourceType": "OperationOutcome", "issue": text})
	a.header.Set("Content-Location", s.pollURL(j))
	a.told = []int{http.StatusAccepted}
	return a
}

func (s *Server) pollURL(j *job) string { return s.URL + "/$import-poll-status?_jobId=" + j.id }

// importFiles reads the parameters of a kick-off.
func importFiles(body map[string]any) (files []importFile, f *failure) {
	list, _ := body["parameter"].([]any)
	has := map[string]any{}
	for _, x := range list {
		p, _ := x.(map[string]any)
		name, _ := p["name"].(string)
		for k, v := range p {
			if strings.HasPrefix(k, "value") {
				has[name] = v
			}
		}
		if name != "input" && name != "storageDetail" {
			continue
		}
		parts := map[string]string{}
		of, _ := p["part"].([]any)
		for _, y := range of {
			q, _ := y.(map[string]any)
			key, _ := q["name"].(string)
			for k, v := range q {
				if text, ok := v.(string); ok && strings.HasPrefix(k, "value") {
					parts[key] = text
				}
			}
		}
		if name == "input" {
			files = append(files, importFile{parts["type"], parts["url"]})
		} else {
			has[name] = parts["type"]
		}
	}
	switch {
	case has["inputFormat"] != "application/fhir+ndjson":
		return nil, fail(http.StatusBadRequest, "HAPI-2048: Input format must be \"application/fhir+ndjson\"")
	case has["storageDetail"] != "https":
		return nil, fail(http.StatusBadRequest, "HAPI-2049: Storage type must be \"https\"")
	case len(files) == 0:
		return nil, fail(http.StatusBadRequest, "HAPI-2051: No input files were given")
	}
	return files, nil
}

// pollImport answers how far a job is.
func (x *exchange) pollImport() *answer {
	id := x.r.URL.Query().Get("_jobId")
	j := x.s.jobs[id]
	if j == nil {
		return x.failure(fail(http.StatusNotFound, "HAPI-2040: Unknown instance ID: %s. Please check if the input job ID is valid.", id))
	}
	issue := func(severity, text string) map[string]any {
		return map[string]any{"resourceType": "OperationOutcome", "issue": []any{map[string]any{"severity": severity, "diagnostics": text}}}
	}
	j.polls++
	if !j.ended || j.polls <= x.s.o.Import.Polls {
		text := "Job was created at " + instant(j.created) + " and is in QUEUED state."
		a := x.resource(http.StatusAccepted, issue("information", text))
		a.header.Set("X-Progress", text)
		a.header.Set("Retry-After", "120")
		a.told = []int{http.StatusAccepted}
		return a
	}
	report := string(encode(map[string]any{"reportMsg": j.report}))
	status, body := http.StatusOK, issue("information", report)
	switch {
	case j.failed != "":
		status, body = http.StatusInternalServerError, issue("error", "Job is in FAILED state with 1 error count. Last error: "+j.failed)
		body["issue"] = append(body["issue"].([]any), map[string]any{"severity": "error"})
	case j.faults > 0:
		status, body = http.StatusInternalServerError, issue("error", "Job is in FAILED state with 0 error count. Last error: HAPI-2673: Job completed with at least one failure")
		body["issue"] = append(body["issue"].([]any), map[string]any{"severity": "error", "diagnostics": report})
	}
	a := x.resource(status, body)
	a.told = []int{status}
	return a
}

// run imports the files of a job.
func (s *Server) run(j *job, files []importFile) {
	s.mu.Lock()
	chunk, d := s.o.Import.Chunk, s.o.Import.Time
	s.mu.Unlock()
	if chunk == 0 {
		chunk = 100
	}
	s.pause(d)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	var report strings.Builder
	const rule = "------------------------------------------\n"
	faults, stored, failed := 0, 0, ""
	for _, f := range files {
		lines, err := fetch(ctx, f.url)
		if err != nil {
			failed = err.Error()
			break
		}
		outcomes := map[string]int{}
		var texts []string
		for part := range slices.Chunk(lines, chunk) {
			if err := s.importChunk(part, outcomes, &texts); err != nil {
				failed = err.Error()
				break
			}
		}
		fmt.Fprintf(&report, "Source: %s\n  Outcomes:\n", f.url)
		for _, code := range slices.Backward(sortedKeys(outcomes)) { // FAILURE is the last
			fmt.Fprintf(&report, "    * %s: %d\n", code, outcomes[code])
		}
		if len(texts) > 0 {
			fmt.Fprintf(&report, "  Errors:\n    * %s\n", strings.Join(texts, "\n    * "))
		}
		faults += outcomes["FAILURE"]
		stored += len(lines)
	}
	head := fmt.Sprintf("Bulk Import Report\n"+rule+"Start Time      : %s\nDuration        : %dms\nStorage Actions : %d (0/sec)\n"+rule,
		j.created.UTC().Format("2006-01-02 15:04:05.000"), d.Milliseconds(), stored)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.ended, j.failed, j.faults, j.report = true, failed, faults, head+report.String()
}

// importChunk stores some lines: none, if one of them cannot be read.
func (s *Server) importChunk(lines [][]byte, outcomes map[string]int, texts *[]string) error {
	var ops []*operation
	for _, line := range lines {
		body, f := parseResource(line, "")
		if f == nil {
			f = parses("", body)
		}
		if f != nil {
			return errors.New("ca.uhn.fhir.batch2.api.JobExecutionFailedException: HAPI-2674: Failed to parse resource: " + f.diagnostics)
		}
		typ, _ := body["resourceType"].(string)
		id, _ := body["id"].(string)
		ops = append(ops, &operation{method: http.MethodPut, typ: typ, id: id, body: body, inBundle: true})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		r := s.alone(0, op, "import")
		if r.fail != nil {
			outcomes["FAILURE"]++
			*texts = append(*texts, r.fail.diagnostics)
			continue
		}
		outcomes[r.code]++
	}
	return nil
}

// fetch reads a file, twice, as HAPI does.
func fetch(ctx context.Context, from string) (lines [][]byte, err error) {
	for range 2 {
		if lines, err = fetchOnce(ctx, from); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func fetchOnce(ctx context.Context, from string) (lines [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, errors.New("HAPI-2054: the URL cannot be read")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("Too many errors: 4. Last err msg HAPI-2054: Connect failed: %w", err) //nolint:staticcheck // HAPI's words
	}
	defer func() { _ = resp.Body.Close() }()
	format, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ca.uhn.fhir.batch2.api.JobExecutionFailedException: HAPI-2056: Received HTTP %d from URL: %s", resp.StatusCode, from)
	}
	if !slices.Contains([]string{"application/ndjson", "application/fhir+ndjson", "application/json", "application/fhir+json", "application/json+fhir", "text/plain"}, format) {
		return nil, fmt.Errorf("HAPI-2053: Received content type %q from URL", format)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, errors.New("HAPI-2054: the file ends early")
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
