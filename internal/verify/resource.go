package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// validID is what FHIR allows as the id of a resource.
var validID = regexp.MustCompile(`^[A-Za-z0-9\-.]{1,64}$`)

// reader reads resources; each has its own, and they share index and problems.
type reader struct {
	parse    Parser
	every    int
	index    local
	problems *problems

	parsed     int64
	references References
	types      map[string]*TypeCount
	refs       map[string]struct{} // of this batch, so that each goes into the index once
}

func newReader(parse Parser, every int, x *index, found *problems) *reader {
	return &reader{parse: parse, every: every, index: local{index: x}, problems: found, types: map[string]*TypeCount{}, refs: map[string]struct{}{}}
}

func (r *reader) flush() error { return r.index.flush() }

func (r *reader) read(b *batch) error {
	clear(r.refs)
	for i, raw := range b.resources {
		at := b.first
		at.line += int64(i)
		if err := r.resource(raw, at, b.input.folder, ""); err != nil {
			return err
		}
	}
	return nil
}

// resource reads one resource, or those of a Bundle; in names its place in the Bundle.
func (r *reader) resource(raw []byte, at place, folder, in string) error {
	x := newScan(raw)
	complain := func(check, message string) {
		r.problems.add(Problem{Check: check, Resource: x.name(), Message: in + message, at: at})
	}
	if wrong := x.run(); wrong != nil {
		complain(CheckJSON, wrong.Error())
		return nil
	}
	if x.typ == "Bundle" && in == "" {
		return r.bundle(raw, at)
	}
	if known[x.typ] == nil {
		complain(CheckType, "the guide has no profile for this type")
	}
	if folder != "" && x.typ != folder {
		complain(CheckType, "it is in the folder "+folder)
	}
	r.count(x, complain)
	if (at.line-1)%int64(r.every) == 0 {
		r.parsed++
		if err := r.parse(raw); err != nil {
			complain(CheckStrict, err.Error())
		}
	}
	if !validID.MatchString(x.id) {
		complain(CheckID, "it has no id, or not one that FHIR allows")
	} else if err := r.index.add(true, x.name(), "", "", at); err != nil {
		return err
	}
	return r.follow(x, at, complain)
}

// bundle reads what the entries of a Bundle hold.
func (r *reader) bundle(raw []byte, at place) error {
	entries, ok := entriesOf(raw)
	if !ok {
		r.problems.add(Problem{Check: CheckJSON, Resource: "Bundle", Message: "its entries are not a list of objects", at: at})
	}
	for i, resource := range entries {
		if resource == nil { // the answer to a transaction
			continue
		}
		if err := r.resource(resource, at, "", fmt.Sprintf("entry[%d]: ", i)); err != nil {
			return err
		}
	}
	return nil
}

// entriesOf returns the resources of a Bundle, nil where an entry has none.
func entriesOf(raw []byte) (list []json.RawMessage, ok bool) {
	var b struct {
		Entry []struct {
			Resource json.RawMessage `json:"resource"`
		} `json:"entry"`
	}
	ok = json.Unmarshal(raw, &b) == nil
	for i := range b.Entry {
		list = append(list, b.Entry[i].Resource)
	}
	return list, ok
}

// count counts the resource by type and profile.
func (r *reader) count(x *scan, complain func(check, message string)) {
	c := r.types[x.typ]
	if c == nil {
		c = &TypeCount{Profiles: map[string]int64{}}
		r.types[strings.Clone(x.typ)] = c
	}
	c.Resources++
	if len(x.profiles) == 0 {
		complain(CheckProfile, "meta.profile is missing")
	}
	for _, p := range x.profiles {
		if knownProfile(x.typ, p) {
			c.Profiles[p]++
			continue
		}
		complain(CheckProfile, "meta.profile has no profile of the guide for "+x.typ+", or none with a release")
	}
}

// follow counts the references and keeps the relative ones.
func (r *reader) follow(x *scan, at place, complain func(check, message string)) error {
	for i := range x.references {
		ref := &x.references[i]
		to := ref.to
		switch {
		case strings.HasPrefix(to, "#"):
			r.references.Within++
			if to != "#" && !slices.Contains(x.contained, to[1:]) {
				complain(CheckReference, ref.path+" refers to a contained resource that does not exist")
			}
			continue
		case strings.Contains(to, ":"):
			r.references.Outside++
			continue
		}
		r.references.Checked++
		to, _, _ = strings.Cut(to, "/_history/")
		typ, id, ok := strings.Cut(to, "/")
		if !ok || typ == "" || !validID.MatchString(id) {
			complain(CheckReference, ref.path+" is not of the form TYPE/ID")
			continue
		}
		if ref.typ != "" && ref.typ != typ {
			complain(CheckReference, ref.path+" refers to a "+typ+" but names another type")
		}
		if _, ok := r.refs[to]; ok {
			continue
		}
		r.refs[to] = struct{}{}
		if err := r.index.add(false, to, x.name(), ref.path, at); err != nil {
			return err
		}
	}
	return nil
}

// scan is what a resource says about itself and others, read token by token to find duplicate names
// in an object: parsers silently take one of the two.
type scan struct {
	d          *json.Decoder
	typ        string
	id         string
	profiles   []string
	contained  []string
	references []reference
	path       []string // names of the elements down to here, without list indices
}

type reference struct {
	to, typ, path string
}

func newScan(raw []byte) *scan {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return &scan{d: d}
}

// name is TYPE/ID, as far as it is known. An id that FHIR does not allow could be anything, so it
// is left out.
func (x *scan) name() string {
	if !validID.MatchString(x.id) || !validID.MatchString(x.typ) {
		return ""
	}
	return x.typ + "/" + x.id
}

var (
	errNoJSON   = errors.New("it is not a JSON object")
	errMoreJSON = errors.New("something follows the JSON object")
)

func (x *scan) run() error {
	t, err := x.d.Token()
	if err != nil || t != json.Delim('{') {
		return errNoJSON
	}
	if err := x.object(); err != nil {
		return err
	}
	if _, err := x.d.Token(); err == nil || x.d.More() {
		return errMoreJSON
	}
	return nil
}

// object reads what follows the opening brace.
func (x *scan) object() error {
	var names []string
	var ref reference
	for x.d.More() {
		t, err := x.d.Token()
		if err != nil {
			return errNoJSON
		}
		name, ok := t.(string)
		if !ok {
			return errNoJSON
		}
		if slices.Contains(names, name) {
			return fmt.Errorf("%s has a duplicate name", x.where())
		}
		names = append(names, name)
		x.path = append(x.path, name)
		t, err = x.d.Token()
		if err != nil {
			return errNoJSON
		}
		if err := x.value(t); err != nil {
			return err
		}
		if text, ok := t.(string); ok {
			x.text(name, text, &ref)
		}
		x.path = x.path[:len(x.path)-1]
	}
	if _, err := x.d.Token(); err != nil {
		return errNoJSON
	}
	if ref.to != "" {
		ref.path = x.where()
		x.references = append(x.references, ref)
	}
	return nil
}

// value reads what follows a token.
func (x *scan) value(t json.Token) error {
	switch t {
	case "":
		return fmt.Errorf("%s is an empty string, which FHIR does not allow", x.where())
	case json.Delim('{'):
		return x.object()
	case json.Delim('['):
		for x.d.More() {
			t, err := x.d.Token()
			if err != nil {
				return errNoJSON
			}
			if text, ok := t.(string); ok && len(x.path) == 2 && x.path[0] == "meta" && x.path[1] == "profile" {
				x.profiles = append(x.profiles, text)
			} else if err := x.value(t); err != nil {
				return err
			}
		}
		if _, err := x.d.Token(); err != nil {
			return errNoJSON
		}
	}
	return nil
}

// text takes what a string says about the resource or the reference that it is in.
func (x *scan) text(name, text string, ref *reference) {
	switch {
	case len(x.path) == 1 && name == "resourceType":
		x.typ = text
	case len(x.path) == 1 && name == "id":
		x.id = text
	case len(x.path) == 2 && x.path[0] == "contained" && name == "id":
		x.contained = append(x.contained, text)
	case name == "reference":
		ref.to = text
	case name == "type":
		ref.typ = text
	}
}

// where names the element down to here.
func (x *scan) where() string {
	if len(x.path) == 0 {
		return "the resource"
	}
	return strings.Join(x.path, ".")
}
