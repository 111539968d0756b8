package fhirtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// resource is what the server has under one id, with its history.
type resource struct {
	typ, id  string
	versions []*version // from 1
}

// version is one state of a resource. It never changes.
type version struct {
	number      int
	order       int // among all versions of the server
	deleted     bool
	json        []byte // as served
	content     string // what counts when contents are compared
	when        time.Time
	identifiers []string            // system|value
	references  map[string][]string // by path: relative references
	indexed     map[string][]string // those that resolved when the version was written
}

func (r *resource) ref() string { return r.typ + "/" + r.id }

// last is the current version, nil if there is none.
func (r *resource) last() *version {
	if r == nil || len(r.versions) == 0 {
		return nil
	}
	return r.versions[len(r.versions)-1]
}

// there is the current version, nil if the resource does not exist or is deleted.
func (r *resource) there() *version {
	if v := r.last(); v != nil && !v.deleted {
		return v
	}
	return nil
}

func (v *version) name() string { return fmt.Sprint(v.number) }

// work is what is changed together: a transaction, an entry of a batch, or a request of its own.
type work struct {
	request int
	undo    []func()
	writes  []Write
	made    []*version
	checks  []check
}

// check is what must hold once all of a work is done.
type check struct {
	ref string
	v   *version
}

// rollback takes back everything of the work.
func (w *work) rollback() {
	for _, f := range slices.Backward(w.undo) {
		f()
	}
	*w = work{request: w.request}
}

// commit makes the work part of the log of writes.
func (s *Server) commit(w *work) {
	for _, v := range w.made {
		v.indexed = map[string][]string{}
		for path, refs := range v.references {
			for _, ref := range refs {
				if s.known[ref].there() != nil {
					v.indexed[path] = append(v.indexed[path], ref)
				}
			}
		}
	}
	s.writes = append(s.writes, w.writes...)
	*w = work{request: w.request}
}

// add makes a new version.
func (s *Server) add(w *work, typ, id string, v *version) {
	ref := typ + "/" + id
	r := s.known[ref]
	if r == nil {
		r = &resource{typ: typ, id: id}
		s.known[ref] = r
		s.order[typ] = append(s.order[typ], id)
		w.undo = append(w.undo, func() {
			delete(s.known, ref)
			s.order[typ] = s.order[typ][:len(s.order[typ])-1]
		})
	}
	before := r.versions
	w.undo = append(w.undo, func() { r.versions = before })
	r.versions = append(slices.Clip(before), v)
	s.versions++
	v.order = s.versions
	for _, i := range v.identifiers {
		// An index of all that ever had the identifier; whoever reads it looks at the current version.
		if key := typ + "?" + i; !slices.Contains(s.byIdentifier[key], id) {
			s.byIdentifier[key] = append(s.byIdentifier[key], id)
		}
	}
	w.made = append(w.made, v)
	w.writes = append(w.writes, Write{Request: w.request, Type: typ, ID: id, Version: v.name(), Deleted: v.deleted, At: v.when})
}

// newVersion makes the version that a body becomes; before is the current one, if any.
func (s *Server) newVersion(typ, id string, body map[string]any, before *version, number int, source string) *version {
	body = clone(body)
	body["id"] = id
	if s.o.Rewrite != nil {
		s.o.Rewrite(body)
	}
	meta, _ := body["meta"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	for _, own := range []string{"versionId", "lastUpdated", "source"} {
		delete(meta, own)
	}
	keepTags(meta, before)
	if len(meta) > 0 {
		body["meta"] = meta
	} else {
		delete(body, "meta")
	}
	v := &version{number: number, content: string(encode(body)), when: s.o.Now().UTC().Truncate(time.Millisecond)}
	meta["versionId"], meta["lastUpdated"], meta["source"] = v.name(), instant(v.when), "#"+source
	body["meta"] = meta
	v.json = encode(body)
	v.references = map[string][]string{}
	findReferences(typ, body, v.references)
	v.identifiers = identifiers(body)
	return v
}

// keepTags keeps the tags of the version before: servers merge them.
func keepTags(meta map[string]any, before *version) {
	if before == nil || before.deleted {
		return
	}
	var old struct{ Meta struct{ Tag []any } }
	if json.Unmarshal(before.json, &old) != nil || len(old.Meta.Tag) == 0 {
		return
	}
	tags, _ := meta["tag"].([]any)
	for _, t := range tags {
		if !slices.ContainsFunc(old.Meta.Tag, func(o any) bool { return bytes.Equal(encode(o), encode(t)) }) {
			old.Meta.Tag = append(old.Meta.Tag, t)
		}
	}
	meta["tag"] = old.Meta.Tag
}

func identifiers(body map[string]any) (out []string) {
	list, _ := body["identifier"].([]any)
	for _, x := range list {
		if i, ok := x.(map[string]any); ok {
			system, _ := i["system"].(string)
			value, _ := i["value"].(string)
			out = append(out, system+"|"+value)
		}
	}
	return out
}

// findReferences collects the relative references of a resource by their path, without indexes.
func findReferences(path string, value any, out map[string][]string) {
	switch x := value.(type) {
	case map[string]any:
		if ref, ok := x["reference"].(string); ok {
			out[path] = append(out[path], ref)
		}
		for _, k := range slices.Sorted(maps.Keys(x)) {
			findReferences(path+"."+k, x[k], out)
		}
	case []any:
		for _, e := range x {
			findReferences(path, e, out)
		}
	}
}

// replaceReferences replaces references; f returns what stands there instead.
func replaceReferences(value any, f func(string) (string, *failure)) *failure {
	switch x := value.(type) {
	case map[string]any:
		if ref, ok := x["reference"].(string); ok {
			to, fail := f(ref)
			if fail != nil {
				return fail
			}
			x["reference"] = to
		}
		for _, e := range x {
			if fail := replaceReferences(e, f); fail != nil {
				return fail
			}
		}
	case []any:
		for _, e := range x {
			if fail := replaceReferences(e, f); fail != nil {
				return fail
			}
		}
	}
	return nil
}

// decode reads JSON; the text of numbers stays.
func decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("something follows the JSON")
	}
	return v, nil
}

// encode writes JSON with sorted members.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // it was decoded from JSON, or is our own
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func clone(m map[string]any) map[string]any {
	v, err := decode(encode(m))
	if err != nil {
		panic(err)
	}
	return v.(map[string]any)
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-07:00") }

// newID makes an id as servers do.
func (s *Server) newID() string {
	s.serial++
	return fmt.Sprintf("%08x-5e7e-4a7a-8000-%012x", s.serial*0x9e3779b1&0xffffffff, s.serial)
}

func splitRef(ref string) (typ, id string, ok bool) {
	typ, id, ok = strings.Cut(ref, "/")
	id, _, _ = strings.Cut(id, "/_history/")
	return typ, id, ok && typ != "" && id != "" && !strings.Contains(id, "/") && !strings.Contains(typ, ":")
}
