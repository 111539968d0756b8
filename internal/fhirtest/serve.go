package fhirtest

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// exchange is one request and what becomes of it.
type exchange struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	req    *Request
	path   string // below the base
	body   []byte
	source string // name of the request, as in meta.source

	putOff func(i int) *failure // entries of a batch that are not looked at
}

// answer is what the server says, unless a fault changes it.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	told    []int // statuses of the entries
	deliver func(*exchange, *answer)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: w, r: r}
	path, ok := strings.CutPrefix(r.URL.Path, s.o.Base)
	if !ok {
		http.NotFound(w, r)
		return
	}
	x.path = strings.Trim(path, "/")
	x.req = s.begin(x)
	if faults := s.chosen(x.req, true); len(faults) > 0 {
		faults[0].deliver(x, nil)
		return
	}
	var a *answer
	if f := x.readBody(); f != nil {
		a = x.failure(f)
	}
	s.note(x)
	faults := s.chosen(x.req, false)
	for _, f := range faults {
		if f.before != nil && a == nil {
			a = f.before(x)
		}
	}
	if a == nil {
		a = x.answer()
	}
	for _, f := range faults {
		if f.after != nil {
			f.after(x, a)
		}
		if f.deliver != nil {
			a.deliver = f.deliver
		}
	}
	s.done(x.req, a)
	if a.deliver != nil {
		a.deliver(x, a)
		return
	}
	x.send(a)
}

// send writes an answer, packed if the client asks for it.
func (x *exchange) send(a *answer) {
	h := x.w.Header()
	for k, v := range a.header {
		h[k] = v
	}
	body := a.body
	if strings.Contains(x.r.Header.Get("Accept-Encoding"), "gzip") && len(body) > 0 {
		h.Set("Content-Encoding", "gzip")
		body = packed(body)
	}
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(body)
}

func packed(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body)
	_ = z.Close()
	return b.Bytes()
}

// readBody reads the body, unpacked.
func (x *exchange) readBody() *failure {
	var in io.Reader = x.r.Body
	if x.r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return fail(http.StatusBadRequest, "HAPI-0450: the body is not gzip")
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return fail(http.StatusBadRequest, "HAPI-0450: the body ends early")
	}
	x.body = body
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if x.s.o.MaxBytes > 0 && len(body) > x.s.o.MaxBytes {
		return &failure{status: http.StatusRequestEntityTooLarge, code: "too-long", diagnostics: "The request is too large"}
	}
	return nil
}

// answer does what a request asks for.
func (x *exchange) answer() *answer {
	s := x.s
	s.mu.Lock()
	defer s.mu.Unlock()
	x.source = s.newID()[:8]
	open := map[string]func() *answer{
		"metadata":                        x.metadata,
		".well-known/smart-configuration": x.smartConfiguration,
		tokenPath:                         x.token,
	}
	if f := open[x.path]; f != nil {
		return f()
	}
	if f := s.authorized(x.r); f != nil {
		a := x.failure(f)
		a.header.Set("WWW-Authenticate", "Bearer")
		return a
	}
	switch {
	case x.path == "$import" && x.r.Method == http.MethodPost:
		return x.startImport()
	case x.path == "$import-poll-status":
		return x.pollImport()
	case x.path == "" && x.r.Method == http.MethodPost:
		return x.bundle()
	case x.path == "" && x.r.URL.Query().Has("_getpages"):
		return x.result(s.page(x.r.URL.Query()))
	}
	return x.interaction()
}

// formats are types of bodies that are FHIR's.
var formats = []string{"application/fhir+json", "application/json", "application/json+fhir", "text/json", "text/plain"}

func (x *exchange) wrongFormat(operation string) *failure {
	sent := x.r.Header.Get("Content-Type")
	format, _, _ := mime.ParseMediaType(sent)
	for _, f := range formats {
		if f == format {
			return nil
		}
	}
	return fail(http.StatusBadRequest, "HAPI-0449: Incorrect Content-Type header value of \"%s\" was provided in the request. A FHIR Content-Type is required for \"%s\" operation", sent, operation)
}

// bundle answers a batch or a transaction.
func (x *exchange) bundle() *answer {
	s := x.s
	if f := x.wrongFormat("TRANSACTION"); f != nil {
		return x.failure(f)
	}
	b, f := s.parseBundle(x.body)
	if f != nil {
		return x.failure(f)
	}
	wait := strings.HasPrefix(x.r.Header.Get("X-Retry-On-Version-Conflict"), "retry") && b.transaction
	defer s.claimAll(b, wait)()
	if b.transaction {
		x.putOff = nil
	}
	results, f := s.process(x.req.N, b, x.source, x.putOff)
	if f != nil {
		return x.failure(f)
	}
	a := x.resource(http.StatusOK, s.response(b, results, strings.Contains(x.r.Header.Get("Prefer"), "representation")))
	for _, r := range results {
		a.told = append(a.told, r.status)
	}
	return a
}

// interaction answers what is about one type.
func (x *exchange) interaction() *answer {
	s := x.s
	op := &operation{method: x.r.Method, query: x.r.URL.RawQuery, ifMatch: x.r.Header.Get("If-Match"), ifNoneExist: x.r.Header.Get("If-None-Exist"),
		noCache: strings.Contains(x.r.Header.Get("Cache-Control"), "no-cache")}
	op.typ, op.id, _ = splitURL(x.path)
	if op.id == "_search" && x.r.Method == http.MethodPost {
		op.method, op.id = http.MethodGet, ""
		if form, err := url.ParseQuery(string(x.body)); err == nil {
			op.query = form.Encode()
		}
	}
	switch op.method {
	case http.MethodGet:
		return x.result(s.read(op))
	case http.MethodDelete:
	case http.MethodPut, http.MethodPost:
		if !s.o.stores(op.typ) {
			return x.failure(fail(http.StatusNotFound, "HAPI-0302: Unknown resource type '%s'", op.typ))
		}
		f := x.wrongFormat(map[string]string{http.MethodPut: "UPDATE", http.MethodPost: "CREATE"}[op.method])
		if f == nil {
			op.body, f = parseResource(x.body, "")
		}
		if f != nil {
			return x.failure(f)
		}
	default:
		return x.failure(fail(http.StatusMethodNotAllowed, "HAPI-0000: The method is not supported"))
	}
	one := &bundle{entries: []*entry{{operation: *op}}}
	defer s.claimAll(one, false)()
	if f := one.entries[0].fail; f != nil {
		return x.failure(f)
	}
	return x.result(s.alone(x.req.N, op, x.source))
}

// result answers with what became of an operation.
func (x *exchange) result(r *result) *answer {
	if r.fail != nil {
		return x.failure(r.fail)
	}
	body := r.resource
	if body == nil && r.version != nil && !r.version.deleted {
		body = parsed(r.version)
	}
	if body == nil {
		body = r.information()
	}
	a := x.resource(r.status, body)
	a.told = []int{r.status}
	if r.version != nil {
		location := x.s.URL + "/" + r.ref + "/_history/" + r.version.name()
		a.header.Set("Content-Location", location)
		if x.r.Method == http.MethodPost {
			a.header.Set("Location", location)
		}
		if !r.version.deleted {
			a.header.Set("ETag", `W/"`+r.version.name()+`"`)
			a.header.Set("Last-Modified", r.version.when.Format(http.TimeFormat))
		}
	}
	if x.r.Method != http.MethodGet && strings.Contains(x.r.Header.Get("Prefer"), "return=minimal") {
		a.body = nil
	}
	return a
}

func (x *exchange) resource(status int, body any) *answer {
	h := http.Header{}
	h.Set("Content-Type", "application/fhir+json;charset=utf-8")
	h.Set("X-Request-ID", x.source)
	return &answer{status: status, header: h, body: encode(body)}
}

func (x *exchange) failure(f *failure) *answer {
	a := x.resource(f.status, f.outcome("processing"))
	a.told = []int{f.status}
	if f.retryAfter != "" {
		a.header.Set("Retry-After", f.retryAfter)
	}
	return a
}

// metadata is the CapabilityStatement. HAPI's names neither batches nor updates that create, although it does both.
func (x *exchange) metadata() *answer {
	o := &x.s.o
	hapi := strings.Contains(o.Software, "HAPI")
	codes := func(names ...string) (out []any) {
		for _, n := range names {
			out = append(out, map[string]any{"code": n})
		}
		return out
	}
	var types []any
	for _, t := range o.Types {
		params := []any{map[string]any{"name": "identifier", "type": "token"}}
		for _, p := range sortedKeys(referenceParams[t]) {
			params = append(params, map[string]any{"name": p, "type": "reference"})
		}
		one := map[string]any{"type": t, "versioning": "versioned-update", "conditionalCreate": true, "conditionalUpdate": true,
			"conditionalDelete": "multiple", "interaction": codes("search-type", "update", "vread", "read", "history-instance", "delete", "create"), "searchParam": params}
		if !hapi {
			one["updateCreate"] = !o.AssignIDs
		}
		types = append(types, one)
	}
	rest := map[string]any{"mode": "server", "resource": types, "interaction": codes("transaction", "batch")}
	switch {
	case o.NoTransaction:
		rest["interaction"] = codes("batch")
	case hapi:
		rest["interaction"] = codes("transaction", "history-system")
	}
	if !o.Import.Off {
		rest["operation"] = []any{map[string]any{"name": "import", "definition": x.s.URL + "/OperationDefinition/-s-import"}, map[string]any{"name": "import-poll-status", "definition": x.s.URL + "/OperationDefinition/-s-import-poll-status"}}
	}
	if o.Auth != nil {
		rest["security"] = map[string]any{"service": []any{map[string]any{"coding": []any{map[string]any{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}}}}}
	}
	a := x.resource(http.StatusOK, map[string]any{
		"resourceType": "CapabilityStatement", "status": "active", "date": instant(o.Now()), "kind": "instance",
		"software": map[string]any{"name": o.Software, "version": o.Version}, "implementation": map[string]any{"description": o.Software, "url": x.s.URL},
		"fhirVersion": "4.0.1", "format": []string{"application/fhir+json", "json"}, "rest": []any{rest}})
	a.told = []int{http.StatusOK}
	return a
}

// retryDate is a Retry-After as a date; a date has no fractions, so it is rounded up.
func retryDate(now time.Time, d time.Duration) string {
	return now.Add(d + time.Second - 1).UTC().Truncate(time.Second).Format(http.TimeFormat)
}
