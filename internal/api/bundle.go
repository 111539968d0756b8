package api

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/store"
)

// jsonText appends a string as JSON in which "&" stays readable, so that a link can be copied.
func jsonText(b []byte, s string) []byte {
	var w strings.Builder
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // strings always encode
	}
	return append(b, strings.TrimSuffix(w.String(), "\n")...)
}

// link is the URL of a search with a cursor, "" is the first page.
func (q *query) link(base, path, cursor string) string {
	var b strings.Builder
	b.WriteString(base + "/" + path)
	kept := q.kept
	if cursor != "" {
		kept = append(kept[:len(kept):len(kept)], pair{cursorParam, cursor})
	}
	for i, p := range kept {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.String()
}

// bundle is a Bundle under way.
type bundle struct {
	memory *memory
	b      []byte
	base   string
	shape  *shape
	n      int
}

// bundle begins a Bundle in the memory of the request. watermark is a moment so that all that was
// committed before is in it.
func (m *memory) bundle(base, kind string, watermark time.Time) *bundle {
	x := &bundle{memory: m, b: m.answer[:0], base: base, shape: &shape{}}
	x.b = append(x.b, `{"resourceType":"Bundle","meta":{"lastUpdated":"`...)
	x.b = watermark.UTC().AppendFormat(x.b, "2006-01-02T15:04:05.000Z")
	x.b = append(append(append(x.b, `"},"type":"`...), kind...), '"')
	return x
}

// add adds a resource. after is what follows it in its entry.
func (x *bundle) add(e *store.Entry, after string) (err error) {
	x.b = append(x.b, [...]string{`,"entry":[{"fullUrl":"`, `,{"fullUrl":"`}[min(x.n, 1)]...)
	x.b = append(append(append(x.b, x.base...), '/'), e.Type.String()...)
	x.b = append(append(append(x.b, '/'), e.ID...), '"')
	x.n++
	if !e.Deleted {
		x.b = append(x.b, `,"resource":`...)
		if x.b, err = appendShaped(x.b, e, x.shape); err != nil {
			return err
		}
		x.memory.show(e)
	}
	x.b = append(append(x.b, after...), '}')
	return nil
}

// end ends the Bundle: what is known of it comes last, because the resources were written as they were
// found. total is -1 if it is not known. The text is valid until the memory is released.
func (x *bundle) end(total int64, links [][2]string) []byte {
	if x.n > 0 { // FHIR allows no empty array
		x.b = append(x.b, ']')
	}
	if total >= 0 {
		x.b = strconv.AppendInt(append(x.b, `,"total":`...), total, 10)
	}
	for i, l := range links {
		x.b = append(x.b, [...]string{`,"link":[`, `,`}[min(i, 1)]...)
		x.b = append(append(append(x.b, `{"relation":"`...), l[0]...), `","url":`...)
		x.b = append(jsonText(x.b, l[1]), '}')
	}
	if len(links) > 0 {
		x.b = append(x.b, ']')
	}
	x.b = append(x.b, '}')
	x.memory.answer = x.b
	return x.b
}

const (
	modeMatch   = `,"search":{"mode":"match"}`
	modeInclude = `,"search":{"mode":"include"}`
)
