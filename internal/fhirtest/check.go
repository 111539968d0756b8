package fhirtest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failure is why something was not done.
type failure struct {
	status      int
	code        string // of the issue; "" is processing
	detail      string // a code of its details
	diagnostics string
	expression  []string
	whole       bool // a bundle with it fails whole, a batch too
	retryAfter  string
}

func fail(status int, format string, args ...any) *failure {
	return &failure{status: status, diagnostics: fmt.Sprintf(format, args...)}
}

func (f *failure) outcome(code string) map[string]any {
	if f.code != "" {
		code = f.code
	}
	issue := map[string]any{"severity": "error", "code": code, "diagnostics": f.diagnostics}
	if f.detail != "" {
		issue["details"] = map[string]any{"coding": []any{map[string]any{"code": f.detail}}}
	}
	if len(f.expression) > 0 {
		issue["expression"] = f.expression
	}
	return map[string]any{"resourceType": "OperationOutcome", "issue": []any{issue}}
}

// statusLine is a status as bundles have it.
func statusLine(status int) string { return strconv.Itoa(status) + " " + http.StatusText(status) }

var (
	idForm     = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)
	digits     = regexp.MustCompile(`^[0-9]+$`)
	dateForm   = regexp.MustCompile(`^\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?$`)
	dates      = []string{"birthDate", "created", "start", "end", "servicedDate", "date", "lastUpdated", "billablePeriod"}
	codeValues = map[string][]string{
		"gender": {"male", "female", "other", "unknown"},
		"status": {"active", "cancelled", "draft", "entered-in-error"},
		"use":    {"claim", "preauthorization", "predetermination", "usual", "official", "temp", "secondary", "old", "nickname", "anonymous", "maiden", "home", "work", "mobile", "billing"},
	}
	targets = map[string][]string{
		"Coverage.beneficiary":                    {"Patient"},
		"Coverage.subscriber":                     {"Patient", "RelatedPerson"},
		"Coverage.policyHolder":                   {"Patient", "RelatedPerson", "Organization"},
		"Coverage.payor":                          {"Patient", "RelatedPerson", "Organization"},
		"RelatedPerson.patient":                   {"Patient"},
		"ExplanationOfBenefit.patient":            {"Patient"},
		"ExplanationOfBenefit.insurer":            {"Organization"},
		"ExplanationOfBenefit.provider":           {"Practitioner", "PractitionerRole", "Organization"},
		"ExplanationOfBenefit.insurance.coverage": {"Coverage"},
		"ExplanationOfBenefit.related.claim":      {"Claim", "ExplanationOfBenefit"},
	}
)

// parses says what keeps a value from being read, as a parser does before it knows what it reads: such a failure
// fails a batch as a whole.
func parses(name string, value any) *failure {
	switch x := value.(type) {
	case map[string]any:
		for k, v := range x {
			if f := parses(k, v); f != nil {
				return f
			}
		}
	case []any:
		for _, v := range x {
			if f := parses(name, v); f != nil {
				return f
			}
		}
	case string:
		if !readable(name, x) {
			f := fail(http.StatusBadRequest, "HAPI-0450: Failed to parse request body as JSON resource. Error was: HAPI-1821: [element=%q] Invalid attribute value %q", name, x)
			f.whole = true
			return f
		}
	}
	return nil
}

func readable(name, value string) bool {
	if codes, ok := codeValues[name]; ok && value == "" || value != "" && ok && strings.ContainsAny(value, " \t\n") {
		return slices.Contains(codes, value)
	}
	if name == "gender" {
		return slices.Contains(codeValues[name], value)
	}
	if !slices.Contains(dates, name) {
		return true
	}
	if !dateForm.MatchString(value) {
		return false
	}
	if len(value) >= len(time.DateOnly) {
		_, err := time.Parse(time.DateOnly, value[:len(time.DateOnly)])
		return err == nil
	}
	return true
}

// checkID says whether a client may give an id.
func (s *Server) checkID(typ, id string) *failure {
	switch {
	case !idForm.MatchString(id):
		return fail(http.StatusBadRequest, "HAPI-0521: Can not process entity with ID[%s], this is not a valid FHIR ID", id)
	case s.o.AnyID || s.known[typ+"/"+id] != nil || !digits.MatchString(id):
		return nil
	}
	return fail(http.StatusBadRequest, "HAPI-0960: Can not create resource with ID[%s], no resource with this ID exists and clients may only assign IDs which contain at least one non-numeric character", id)
}

// checkTargets says whether references point to types that they may point to.
func checkTargets(v *version) *failure {
	for path, allowed := range targets {
		for _, ref := range v.references[path] {
			if typ, _, ok := splitRef(ref); ok && !slices.Contains(allowed, typ) {
				return fail(http.StatusUnprocessableEntity, "HAPI-0931: Invalid reference found at path '%s'. Resource type '%s' is not valid for this path", path, typ)
			}
		}
	}
	return nil
}

// checkIntegrity says whether references resolve.
func (s *Server) checkIntegrity(checks []check) *failure {
	if !s.o.Integrity {
		return nil
	}
	for _, c := range checks {
		if c.v.deleted {
			if from := s.refersTo(c.ref); from != "" {
				return fail(http.StatusConflict, "HAPI-0550: HAPI-0515: Unable to delete %s because at least one resource has a reference to this resource. First reference found was resource %s", c.ref, from)
			}
			continue
		}
		for path, refs := range c.v.references {
			for _, ref := range refs {
				typ, id, ok := splitRef(ref)
				if ok && s.known[typ+"/"+id].there() == nil {
					return fail(http.StatusBadRequest, "HAPI-1094: Resource %s/%s not found, specified in path: %s", typ, id, path)
				}
			}
		}
	}
	return nil
}

// refersTo returns a resource that refers to another one.
func (s *Server) refersTo(ref string) string {
	for _, from := range sortedKeys(s.known) {
		v := s.known[from].there()
		if v == nil || from == ref {
			continue
		}
		for _, refs := range v.references {
			if slices.Contains(refs, ref) {
				return from
			}
		}
	}
	return ""
}

// refusal is a standing rule of a test: these resources are refused.
type refusal struct {
	which  func(typ, id string, resource map[string]any) bool
	status int
}

// Refuse makes the server refuse some resources with 422 and an OperationOutcome that quotes a value of them. It
// returns a function that ends that. The function of the caller is called under the lock of the server.
func (s *Server) Refuse(which func(typ, id string, resource map[string]any) bool) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &refusal{which, http.StatusUnprocessableEntity}
	s.refuse = append(s.refuse, r)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refuse = slices.DeleteFunc(s.refuse, func(x *refusal) bool { return x == r })
	}
}

func (s *Server) refused(typ, id string, body map[string]any) *failure {
	for _, r := range s.refuse {
		if r.which(typ, id, body) {
			path, value := longestText(typ, body)
			return &failure{status: r.status, code: "business-rule", detail: "test-refused", expression: []string{path},
				diagnostics: fmt.Sprintf("The value %q of %s is not acceptable", value, path)}
		}
	}
	return nil
}

// longestText finds a value that an error can quote.
func longestText(path string, value any) (at, text string) {
	at = path
	take := func(p, v string) {
		if len(v) > len(text) {
			at, text = p, v
		}
	}
	switch x := value.(type) {
	case string:
		take(path, x)
	case []any:
		for i, e := range x {
			take(longestText(fmt.Sprintf("%s[%d]", path, i), e))
		}
	case map[string]any:
		for _, k := range sortedKeys(x) {
			if !slices.Contains([]string{"resourceType", "id", "meta", "url", "system", "reference"}, k) {
				take(longestText(path+"."+k, x[k]))
			}
		}
	}
	return at, text
}
