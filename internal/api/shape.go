package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/store"
)

// shape is which elements of a resource are returned. The zero value is all.
type shape struct {
	summary  string // "", true, text or data
	elements []element
}

// element is one to return, besides those that must be there.
type element struct {
	of   *resourceType // nil is any: what is included has another type than what is found
	name string
}

func (s *shape) whole() bool { return s.summary == "" && s.elements == nil }

// parseElements reads _elements: names, or Type.name.
func parseElements(t *resourceType, value string) (list []element, err error) {
	for name := range strings.SplitSeq(value, ",") {
		var of *resourceType
		if typ, rest, ok := strings.Cut(name, "."); ok {
			if of = typeNamed(typ); of != nil {
				name = rest
			}
		}
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return nil, invalid("_elements", "use names of elements of %s with commas between them", t.typ)
		}
		list = append(list, element{of, name})
	}
	return list, nil
}

// appendResource appends a resource as it leaves: with the number of its version and when it last
// changed. The rest are the bytes of the store.
func appendResource(b []byte, e *store.Entry) []byte {
	head := `{"resourceType":"` + e.Type.String() + `","id":"` + e.ID + `",`
	rest, ok := bytes.CutPrefix(e.JSON, []byte(head))
	if !ok {
		return append(b, e.JSON...)
	}
	b = append(append(b, head...), `"meta":{"versionId":"`...)
	b = strconv.AppendUint(b, uint64(e.Version), 10)
	b = append(append(append(b, `","lastUpdated":"`...), e.Updated()...), '"')
	meta, ok := bytes.CutPrefix(rest, []byte(`"meta":{`))
	if !ok {
		return append(append(b, `},`...), rest...)
	}
	// The source's date comes first in meta, as the mappers write it.
	if after, ok := bytes.CutPrefix(meta, []byte(`"lastUpdated":"`+e.LastUpdated+`"`)); ok {
		return append(b, after...)
	}
	return append(append(b, ','), meta...)
}

// subsetted is the tag of a resource that is not whole.
const subsetted = `"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]`

// appendShaped appends what a shape shows of a resource. Values stay the text that they are.
func appendShaped(b []byte, e *store.Entry, s *shape) ([]byte, error) {
	if s.whole() {
		return appendResource(b, e), nil
	}
	t := tableOf(e.Type)
	all := appendResource(nil, e)
	d := json.NewDecoder(bytes.NewReader(all))
	if _, err := d.Token(); err != nil {
		return b, err
	}
	b = append(b, '{')
	for first := true; d.More(); first = false {
		token, err := d.Token()
		if err != nil {
			return b, err
		}
		name, ok := token.(string)
		if !ok {
			return b, errors.New("a resource in the store is not an object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return b, err
		}
		if !s.shows(t, strings.TrimPrefix(name, "_")) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
		if name == "meta" {
			value = append(value[:len(value)-1:len(value)-1], ","+subsetted+"}"...)
		}
		b = append(b, value...)
	}
	return append(b, '}'), nil
}

// shows reports whether an element is shown.
func (s *shape) shows(t *resourceType, name string) bool {
	if name == "resourceType" || name == "id" || name == "meta" {
		return true
	}
	switch {
	case s.elements != nil:
		return slices.Contains(t.mandatory, name) ||
			slices.ContainsFunc(s.elements, func(e element) bool { return (e.of == nil || e.of == t) && (e.name == name || choice(name, e.name)) })
	case s.summary == "true":
		return slices.Contains(t.summary, name)
	case s.summary == "text":
		return name == "text" || slices.Contains(t.mandatory, name)
	default: // data
		return name != "text"
	}
}

// choice reports whether an element is a form of one with a choice of types, such as deceasedBoolean of
// deceased.
func choice(name, of string) bool {
	rest, ok := strings.CutPrefix(name, of)
	return ok && (strings.HasPrefix(rest, "Boolean") || strings.HasPrefix(rest, "DateTime"))
}
