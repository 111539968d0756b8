package bulkimport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

// refusal is why a server has not imported a resource. Text may hold values: it is kept in a file of the
// owner's alone.
type refusal struct {
	Codes     []string `json:"codes,omitempty"`
	Locations []string `json:"locations,omitempty"`
	Text      string   `json:"text,omitempty"`
}

// issue is one of an OperationOutcome.
type issue struct {
	Severity    string   `json:"severity"`
	Code        string   `json:"code"`
	Diagnostics string   `json:"diagnostics"`
	Expression  []string `json:"expression"`
	Location    []string `json:"location"`
	Details     struct {
		Text   string `json:"text"`
		Coding []struct {
			Code string `json:"code"`
		} `json:"coding"`
	} `json:"details"`
}

// outcomeLine is a line of a file of errors: an OperationOutcome, or a resource.
type outcomeLine struct {
	ResourceType string  `json:"resourceType"`
	ID           string  `json:"id"`
	Issue        []issue `json:"issue"`
	Extension    []struct {
		URL     string `json:"url"`
		Related struct {
			Resource  string `json:"resource"`
			URL       string `json:"url"`
			Reference struct {
				Reference string `json:"reference"`
			} `json:"resourceReference"`
		} `json:"valueRelatedArtifact"`
	} `json:"extension"`
}

const relatedArtifact = "http://hl7.org/fhir/StructureDefinition/artifact-relatedArtifact"

// issuesOf are the issues of an OperationOutcome; none if the text is something else.
func issuesOf(body []byte) []issue {
	var in outcomeLine
	if json.Unmarshal(body, &in) != nil || in.ResourceType != "OperationOutcome" {
		return nil
	}
	return in.Issue
}

// codesOf are the codes of an OperationOutcome, without those of mere warnings.
func codesOf(body []byte) []string { return refusalOf(issuesOf(body)).Codes }

var (
	codeForm  = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*$`)
	hapiCode  = regexp.MustCompile(`\bHAPI-\d{4}\b`)
	lineForm  = regexp.MustCompile(`\bat line: (\d+)(?: with stream start offset: (\d+))?`)
	inBracket = regexp.MustCompile(`\[[^\]]*\]|\([^)]*\)|'[^']*'|"[^"]*"`)
)

// refusalOf sums up the issues that are faults.
func refusalOf(issues []issue) (r refusal) {
	var said []string
	for _, is := range issues {
		if is.Severity != "error" && is.Severity != "fatal" {
			continue
		}
		codes := append([]string{is.Code}, hapiCode.FindAllString(is.Diagnostics, 8)...)
		for _, c := range is.Details.Coding {
			codes = append(codes, c.Code)
		}
		for _, c := range codes {
			if len(c) <= 64 && codeForm.MatchString(c) && !slices.Contains(r.Codes, c) {
				r.Codes = append(r.Codes, c)
			}
		}
		for _, at := range append(is.Expression, is.Location...) {
			if at = inBracket.ReplaceAllString(at, ""); at != "" && !slices.Contains(r.Locations, at) {
				r.Locations = append(r.Locations, at)
			}
		}
		for _, text := range []string{is.Details.Text, is.Diagnostics} {
			if text != "" {
				said = append(said, text)
			}
		}
	}
	r.Text = strings.Join(said, "\n")
	return r
}

// passing are codes of faults that another attempt may not meet.
var passing = []string{"transient", "lock-error", "timeout", "throttled", "incomplete", "exception", "conflict", "duplicate", "no-store", "too-costly"}

var passingText = regexp.MustCompile(`(?i)time-?out|timed out|throttl|conflict|duplicate|deadlock|retr(y|ies)|unavailable`)

// passes reports whether a refusal says nothing of the resource itself: then it is sent again, by REST.
func (r *refusal) passes() bool {
	if len(r.Codes) == 0 && (r.Text == "" || passingText.MatchString(r.Text)) {
		return true
	}
	return slices.ContainsFunc(r.Codes, func(c string) bool { return slices.Contains(passing, c) })
}

// collect reads a file of OperationOutcomes that a job has left, and adds to a report which resources were
// refused. file is the name of the staged file that it is about, "" if the outcomes say so. A file that is
// not there any longer, or out of reach, adds nothing: what was imported is verified anyway.
func (i *Import) collect(ctx context.Context, r *report, at, file string) error {
	in, err := i.openResult(ctx, at)
	if in == nil || err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewScanner(io.LimitReader(in, errorsKept))
	lines.Buffer(make([]byte, 0, 64<<10), 8<<20)
	for lines.Scan() {
		r.named = append(r.named, i.failuresOf(lines.Bytes(), file)...)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the errors of a job: %w", plain(err))
	}
	return nil
}

// openResult opens a file that a server has written: in the object store, or at the server itself. It is
// nil if it is nowhere to be had.
func (i *Import) openResult(ctx context.Context, at string) (io.ReadCloser, error) {
	in, ok, err := i.stage.read(ctx, at)
	if ok {
		if err != nil {
			return nil, nil //nolint:nilerr // the results may have expired, or be kept from us
		}
		return in, nil
	}
	at, err = resolve(i.server.URL(), at)
	if err != nil {
		return nil, err
	}
	res, err := i.server.Do(ctx, http.MethodGet, at, http.Header{"Accept": {ndjsonType}}, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, res.Body.Close()
	}
	return res.Body, nil
}

// failuresOf are the resources that a line of a file of errors names.
func (i *Import) failuresOf(line []byte, file string) (list []failure) {
	var in outcomeLine
	if len(bytes.TrimSpace(line)) == 0 || json.Unmarshal(line, &in) != nil {
		return nil
	}
	if in.ResourceType != "OperationOutcome" {
		// A resource that was not imported, without a reason.
		if _, ok := fhir.ParseType(in.ResourceType); ok && in.ID != "" {
			list = append(list, failure{ref: in.ResourceType + "/" + in.ID})
		}
		return list
	}
	why := refusalOf(in.Issue)
	if len(why.Codes) == 0 && why.Text == "" { // warnings only
		return nil
	}
	for _, x := range in.Extension {
		if x.URL != relatedArtifact {
			continue
		}
		for _, at := range []string{x.Related.Reference.Reference, x.Related.Resource, x.Related.URL} {
			if ref, ok := ownReference(at); ok {
				list = append(list, failure{ref: ref, why: why})
				break
			}
		}
	}
	for _, is := range in.Issue {
		m := lineForm.FindStringSubmatch(is.Diagnostics)
		if m == nil || file == "" || m[2] != "" && m[2] != "0" { // lines are counted from an offset that is within a line
			continue
		}
		if n, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			list = append(list, failure{file: file, line: n, why: why})
			break
		}
	}
	return list
}

// ownReference is Type/id at the end of a reference or URL.
func ownReference(at string) (string, bool) {
	parts := strings.Split(strings.TrimSuffix(at, "/"), "/")
	if len(parts) < 2 {
		return "", false
	}
	ref := strings.Join(parts[len(parts)-2:], "/")
	_, _, err := fhir.SplitReference(ref)
	return ref, err == nil
}

// nameOf is the name of the staged file that a server calls by its URL.
func (j *journal) nameOf(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return ""
	}
	for _, f := range j.Files {
		if strings.HasSuffix(u.Path, "/"+f.Name) {
			return f.Name
		}
	}
	return ""
}
