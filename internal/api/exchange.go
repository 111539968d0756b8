package api

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const jsonType = "application/fhir+json; charset=utf-8"

// requestID is the id that a proxy has given a request, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); IsID(id) {
		return id
	}
	return rand.Text()
}

// cors lets apps in browsers read answers, also those that are errors. Nothing depends on cookies here,
// so any origin may ask.
func (x *exchange) cors() {
	h := x.w.Header()
	h.Add("Vary", "Origin")
	if x.r.Header.Get("Origin") == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "ETag, Last-Modified, Location, Content-Location, Retry-After, WWW-Authenticate, X-Request-Id")
	if x.r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Unmodified-Since, Prefer, X-Request-Id")
		h.Set("Access-Control-Max-Age", "600")
	}
}

// preflight reports whether a browser asks what an app may do. The answer is the same for all paths, also
// when the server is busy: without it the app cannot read the error that it would get.
func (x *exchange) preflight() bool {
	h := x.r.Header
	return x.r.Method == http.MethodOptions && h.Get("Origin") != "" && h.Get("Access-Control-Request-Method") != ""
}

// form adds the parameters of a body to those of the URL.
func (x *exchange) form() error {
	if x.r.Method != http.MethodPost {
		return nil
	}
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	body, readErr := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, x.Limits.Body))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](readErr); ok {
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "too-long", Text: "the body may have " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes"}
	}
	if readErr != nil {
		return invalid("", "the body could not be read")
	}
	if len(body) == 0 {
		return nil
	}
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return &Error{Status: http.StatusUnsupportedMediaType, Code: "not-supported", Param: "Content-Type", Text: "use application/x-www-form-urlencoded"}
	}
	more, err := parsePairs(string(body))
	x.params = append(x.params, more...)
	return err
}

// isJSON reports whether a media type, or a value of _format, is JSON as clients of FHIR write it.
func isJSON(kind string) bool { return slices.Contains(formats, kind) }

// formats are the names of JSON.
var formats = []string{"json", "application/fhir+json", "application/json", "application/json+fhir", "text/json"}

// negotiate checks that the client takes JSON. _format counts more than the header.
func (x *exchange) negotiate() error {
	refused := &Error{Status: http.StatusNotAcceptable, Code: "not-supported", Text: "the server writes application/fhir+json only"}
	chosen := false
	for _, p := range x.params {
		switch p.name {
		case "_pretty":
			if x.pretty = p.value == "true"; !x.pretty && p.value != "false" && !x.lenient() {
				return invalid("_pretty", "use true or false")
			}
		case "_format":
			kind, _, _ := strings.Cut(strings.ReplaceAll(p.value, " ", "+"), ";") // a plus that was not encoded
			if !isJSON(strings.TrimSpace(kind)) {
				refused.Param = "_format"
				return refused
			}
			chosen = true
		}
	}
	if chosen {
		return nil
	}
	accept := strings.Join(x.r.Header.Values("Accept"), ",")
	if strings.Trim(accept, ", ") == "" {
		return nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, attributes, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil && kind == "" {
			continue
		}
		if q, err := strconv.ParseFloat(attributes["q"], 64); err == nil && q == 0 {
			continue
		}
		if kind == "*/*" || kind == "application/*" || isJSON(kind) {
			return nil
		}
	}
	refused.Param = "Accept"
	return refused
}

// lenient reports whether the client wants what is unknown to be left out.
func (x *exchange) lenient() bool {
	for _, p := range x.r.Header.Values("Prefer") {
		for part := range strings.FieldsFuncSeq(p, func(r rune) bool { return r == ',' || r == ';' }) {
			if strings.EqualFold(strings.TrimSpace(part), "handling=lenient") {
				return true
			}
		}
	}
	return false
}

// fail answers with an OperationOutcome.
func (x *exchange) fail(err error) {
	if x.r.Context().Err() != nil && !isOurs(err) {
		err = &Error{Status: http.StatusServiceUnavailable, Code: "timeout", Text: "the request took too long; ask for less", Retry: 5}
	}
	e := asError(err)
	if e.Status >= 500 && x.Events.Failed != nil {
		x.Events.Failed(x.answer.Request, err)
	}
	x.answer.Client = e.Client
	h := x.w.Header()
	for name, value := range e.Header {
		h.Set(name, value)
	}
	if e.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(e.Retry))
	}
	h.Del("ETag")
	h.Del("Last-Modified")
	x.send(e.Status, outcomeOf(e))
}

func isOurs(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// fixed answers with a document that is the same for all.
func (x *exchange) fixed(text []byte) error {
	x.send(http.StatusOK, bytes.ReplaceAll(text, []byte(basePlace), []byte(x.base)))
	return nil
}

// basePlace stands for the base URL in documents that are made once.
const basePlace = "https://base.invalid/fhir"

// precondition refuses a request for a version that the resource does not have any more.
func (x *exchange) precondition(version uint32, changed int64) error {
	failed := &Error{Status: http.StatusPreconditionFailed, Code: "conflict", Text: "the resource has another version than the request names"}
	if list := x.r.Header.Values("If-Match"); len(list) > 0 {
		if failed.Param = "If-Match"; !matchesETag(list, etagOf(version)) {
			return failed
		}
	} else if until, err := http.ParseTime(x.r.Header.Get("If-Unmodified-Since")); err == nil && changed != 0 && changed/1000 > until.Unix() {
		failed.Param = "If-Unmodified-Since"
		return failed
	}
	return nil
}

func etagOf(version uint32) string { return `W/"` + strconv.FormatUint(uint64(version), 10) + `"` }

// matchesETag reports whether a list of ETags, as headers have it, has one; weak ones are the same as strong ones.
func matchesETag(list []string, etag string) bool {
	for part := range strings.SplitSeq(strings.Join(list, ","), ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

// notModified reports whether the client has a version already, and answers if it has. changed is in
// milliseconds since 1970, 0 if it is not known.
func (x *exchange) notModified(version uint32, changed int64) bool {
	h := x.w.Header()
	etag := etagOf(version)
	h.Set("ETag", etag)
	if changed != 0 {
		h.Set("Last-Modified", time.UnixMilli(changed).UTC().Format(http.TimeFormat))
	}
	same := false
	if list := x.r.Header.Values("If-None-Match"); len(list) > 0 {
		same = matchesETag(list, etag)
	} else if since, err := http.ParseTime(x.r.Header.Get("If-Modified-Since")); err == nil && changed != 0 {
		same = changed/1000 <= since.Unix()
	}
	if same && x.note(http.StatusNotModified) {
		h.Add("Vary", "Accept, Accept-Encoding, Authorization")
		h.Set("Cache-Control", "private, no-cache")
		x.answer.Status = http.StatusNotModified
		x.w.WriteHeader(http.StatusNotModified)
	}
	return same
}

var (
	gzips = sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level is a constant
		}
		return w
	}}
	zstds = sync.Pool{New: func() any {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err) // the options are constants
		}
		return w
	}}
)

// leastCompressed is the size of the smallest answer that is compressed.
const leastCompressed = 1 << 10

// note tells the audit what the answer will show. If that fails it answers with an error, and reports false.
func (x *exchange) note(status int) bool {
	if x.noted || x.access == nil || x.Events.Audit == nil {
		return true
	}
	x.noted = true
	a := &x.answer
	a.Status, a.Access, a.Shown = status, x.access, x.memory.shown
	if status >= 300 {
		a.Shown = nil
	}
	t := typeNamed(a.Type)
	for _, p := range x.params {
		if t != nil && t.param(p.name) != nil || isControl(p.name) {
			a.Params = append(a.Params, p.name)
		}
	}
	err := x.Events.Audit(a)
	a.Shown = nil
	if err == nil {
		return true
	}
	x.fail(errors.Join(&Error{Status: http.StatusServiceUnavailable, Code: "exception", Text: "the request cannot be accounted for; try again later", Retry: 30}, err))
	return false
}

// send answers with JSON.
func (x *exchange) send(status int, text []byte) {
	if !x.note(status) {
		return
	}
	if x.pretty {
		var b bytes.Buffer
		if json.Indent(&b, text, "", "  ") == nil {
			text = append(b.Bytes(), '\n')
		}
	}
	h := x.w.Header()
	h.Set("Content-Type", jsonType)
	if x.plain {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Accept, Accept-Encoding, Authorization")
	if len(text) >= leastCompressed {
		text = x.compress(text)
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.answer.Status, x.answer.Bytes = status, len(text)
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		x.write(text)
	}
}

// compress compresses an answer if the client takes that.
func (x *exchange) compress(text []byte) []byte {
	encoding := ""
	for part := range strings.SplitSeq(strings.Join(x.r.Header.Values("Accept-Encoding"), ","), ",") {
		name, attributes, _ := strings.Cut(strings.TrimSpace(part), ";")
		if q, ok := strings.CutPrefix(strings.TrimSpace(attributes), "q="); ok {
			if n, err := strconv.ParseFloat(q, 64); err == nil && n == 0 {
				continue
			}
		}
		switch name = strings.TrimSpace(name); {
		case name == "zstd", name == "gzip" && encoding == "":
			encoding = name
		}
	}
	var b bytes.Buffer
	switch encoding {
	case "gzip":
		w := gzips.Get().(*gzip.Writer)
		defer gzips.Put(w)
		w.Reset(&b)
		_, _ = w.Write(text) // a buffer takes all
		_ = w.Close()
	case "zstd":
		w := zstds.Get().(*zstd.Encoder)
		defer zstds.Put(w)
		b.Write(w.EncodeAll(text, nil))
	default:
		return text
	}
	x.w.Header().Set("Content-Encoding", encoding)
	return b.Bytes()
}
