package remote

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

// IdentifierSystem is the system of the identifier with our id, by which a resource is found on a server
// that gives ids.
const IdentifierSystem = "urn:cpcds2fhir:id"

// Search is the query that finds a resource on a server that gives ids, by our id.
func Search(id string) string { return "identifier=" + url.QueryEscape(IdentifierSystem+"|"+id) }

// searchAll is the query that finds several.
func searchAll(ids []string) string {
	tokens := make([]string, len(ids))
	for i, id := range ids {
		tokens[i] = url.QueryEscape(IdentifierSystem + "|" + id)
	}
	return "identifier=" + strings.Join(tokens, ",") + "&_count=" + strconv.Itoa(2*len(ids))
}

// isOurs reports whether an Identifier is the one with our id.
func isOurs(identifier []byte) bool { return ownIdentifier(identifier) != "" }

// ownIdentifier returns our id, "" if an Identifier has another system.
func ownIdentifier(identifier []byte) string {
	if !bytes.Contains(identifier, []byte(IdentifierSystem)) { // nearly all
		return ""
	}
	var i struct{ System, Value string }
	if json.Unmarshal(identifier, &i) != nil || i.System != IdentifierSystem {
		return ""
	}
	return i.Value
}

// idOf returns our id of a resource of a server that gives ids; "" if it has none.
func idOf(resource []byte) (id string) {
	_ = eachMember(resource, func(name string, value []byte) error {
		if name != "identifier" {
			return nil
		}
		s := scanner{text: value}
		return s.list('[', ']', func() error {
			item, err := s.value()
			if own := ownIdentifier(item); own != "" {
				id = own
			}
			return err
		})
	}) // one that is not JSON has no id
	return id
}

// identified returns a resource of ours for a server that gives ids: with the identifier that has our id,
// and with the server's id, or none if the server has none yet.
func identified(resource []byte, own, there string) ([]byte, error) {
	ours := `{"system":"` + IdentifierSystem + `","value":"` + own + `"}`
	out, has := append(make([]byte, 0, len(resource)+len(ours)+len(there)+24), '{'), false
	err := eachMember(resource, func(name string, value []byte) error {
		switch name {
		case "id":
			if there == "" {
				return nil
			}
			value = []byte(strconv.Quote(there))
		case "identifier":
			has = true
			list := bytes.TrimSpace(value)
			if len(list) < 2 || list[0] != '[' {
				return errJSON
			}
			rest := bytes.TrimSpace(list[1:])
			comma := ","
			if rest[0] == ']' {
				comma = ""
			}
			value = append([]byte("["+ours+comma), rest...)
		}
		out = member(out, name, value)
		return nil
	})
	if !has {
		out = member(out, "identifier", []byte("["+ours+"]"))
	}
	return append(out, '}'), err
}

// member appends a member of an object that is open.
func member(out []byte, name string, value []byte) []byte {
	if out[len(out)-1] != '{' {
		out = append(out, ',')
	}
	out = append(out, '"')
	out = append(out, name...)
	out = append(out, '"', ':')
	return append(out, value...)
}

// withReferences returns JSON with other references. to returns "" for one that stays.
func withReferences(text []byte, to func(reference string) string) ([]byte, error) {
	var out []byte
	s, copied := scanner{text: text}, 0
	for s.at < len(text) {
		if text[s.at] != '"' {
			s.at++
			continue
		}
		name, _, err := s.raw()
		if err != nil {
			return nil, err
		}
		// What a colon follows is a name.
		if string(name) != "reference" || s.next() != ':' {
			continue
		}
		s.at++
		if s.next() != '"' {
			continue
		}
		from := s.at
		value, err := s.string()
		if err != nil {
			return nil, err
		}
		if other := to(string(value)); other != "" {
			out = append(out, text[copied:from]...)
			out = append(out, strconv.Quote(other)...)
			copied = s.at
		}
	}
	if copied == 0 {
		return text, nil
	}
	return append(out, text[copied:]...), nil
}

// asOurs returns a resource that was read from a server as we would write it: on one line, without what the
// server adds, with our id and with lastUpdated, unless that is "".
func asOurs(resource []byte, id, lastUpdated string) ([]byte, error) {
	line := bytes.NewBuffer(make([]byte, 0, len(resource)))
	if err := json.Compact(line, resource); err != nil {
		return nil, errJSON
	}
	out, has := append(make([]byte, 0, line.Len()+64), '{'), false
	err := eachMember(line.Bytes(), func(name string, value []byte) error {
		switch name {
		case "id":
			value = []byte(strconv.Quote(id))
		case "meta":
			has = true
			meta, err := metaOf(value, lastUpdated)
			if err != nil || len(meta) == 2 {
				return err
			}
			value = meta
		case "identifier":
			list, err := withoutOurs(value)
			if err != nil || len(list) == 2 {
				return err
			}
			value = list
		}
		out = member(out, name, value)
		return nil
	})
	if !has && lastUpdated != "" {
		out = member(out, "meta", []byte(`{"lastUpdated":`+strconv.Quote(lastUpdated)+`}`))
	}
	return append(out, '}'), err
}

// metaOf is a meta without what servers add.
func metaOf(meta []byte, lastUpdated string) ([]byte, error) {
	out := []byte{'{'}
	if lastUpdated != "" {
		out = member(out, "lastUpdated", []byte(strconv.Quote(lastUpdated)))
	}
	err := eachMember(meta, func(name string, value []byte) error {
		switch name {
		case "versionId", "lastUpdated", "source":
		default:
			out = member(out, name, value)
		}
		return nil
	})
	return append(out, '}'), err
}

// withoutOurs is a list of identifiers without the one that has our id.
func withoutOurs(list []byte) ([]byte, error) {
	out := []byte{'['}
	s := scanner{text: list}
	err := s.list('[', ']', func() error {
		item, err := s.value()
		if err != nil || isOurs(item) {
			return err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, item...)
		return nil
	})
	return append(out, ']'), err
}

// status returns the value of the element that says whether a resource counts.
func status(typ fhir.Type) (element, marked string) {
	switch typ {
	case fhir.ExplanationOfBenefit, fhir.Coverage:
		return "status", `"entered-in-error"`
	}
	return "active", "false"
}

// marked returns a resource as entered in error, or inactive. already says that it is.
func marked(typ fhir.Type, resource []byte) (out []byte, already bool, err error) {
	element, mark := status(typ)
	return replaced(resource, element, mark)
}

// replaced returns a resource with another value of an element. already says that it has this value.
func replaced(resource []byte, element, to string) (out []byte, already bool, err error) {
	has := false
	out = append(make([]byte, 0, len(resource)+32), '{')
	err = eachMember(resource, func(name string, value []byte) error {
		if name == element {
			has, already = true, string(value) == to
			value = []byte(to)
		}
		out = member(out, name, value)
		return nil
	})
	if !has {
		out = member(out, element, []byte(to))
	}
	return append(out, '}'), already, err
}

// elementOf returns the value of an element of a resource as it is written, nil if it has none.
func elementOf(resource []byte, name string) (value []byte) {
	_ = eachMember(resource, func(n string, v []byte) error {
		if n == name {
			value = v
		}
		return nil
	}) // one that is not JSON has no elements
	return value
}

// relative returns a reference of a server as Type/id: without its address and version.
func relative(base, reference string) string {
	reference = strings.TrimPrefix(reference, strings.TrimSuffix(base, "/")+"/")
	reference, _, _ = strings.Cut(reference, "/_history/")
	return reference
}
