package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// excerptKeys are the members of an ExplanationOfBenefit that an excerpt shows.
var excerptKeys = []string{"resourceType", "id", "meta", "status", "type", "subType", "patient", "billablePeriod", "insurer", "provider", "outcome", "diagnosis", "item", "total"}

// excerptWidth is how long a line may be. What fits is on one line.
const excerptWidth = 130

// codeSystem is the system of a coding, with its version: long URLs between the
// codes.
var codeSystem = regexp.MustCompile(`"system":"(?:[^"\\]|\\.)*",(?:"version":"(?:[^"\\]|\\.)*",)?`)

// excerpt shortens a resource for reading: some of its members, its first item, codes without their
// systems. It returns the lines, and how many more the full resource has.
func excerpt(raw []byte) (lines []string, more int, err error) {
	var whole bytes.Buffer
	if err := indented(&whole, raw); err != nil {
		return nil, 0, err
	}
	all, err := members(raw)
	if err != nil {
		return nil, 0, err
	}
	var kept []member
	for _, m := range all {
		if !slices.Contains(excerptKeys, m.key) {
			continue
		}
		switch m.key {
		case "meta":
			var meta struct {
				Profile json.RawMessage `json:"profile"`
			}
			err = json.Unmarshal(m.value, &meta)
			m.value = slices.Concat([]byte(`{"profile":`), meta.Profile, []byte("}"))
		case "item":
			var items []json.RawMessage
			err = json.Unmarshal(m.value, &items)
			m.value = slices.Concat([]byte("["), slices.Concat(items[:min(1, len(items))]...), []byte("]"))
		}
		if err != nil {
			return nil, 0, err
		}
		m.value = codeSystem.ReplaceAll(m.value, nil)
		kept = append(kept, m)
	}
	body, err := writeMembers("", kept)
	if err != nil {
		return nil, 0, err
	}
	lines = strings.Split(body, "\n")
	return lines, max(bytes.Count(whole.Bytes(), []byte("\n"))-len(lines), 0), nil
}

// member is one member of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// members reads the members of an object in their order.
func members(raw []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("read resource: it is not a JSON object")
	}
	var list []member
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: fmt.Sprint(key)}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// writeJSON writes a value with what fits on a line on one line.
func writeJSON(indent string, raw []byte) (string, error) {
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return "", err
	}
	if len(indent)+line.Len() <= excerptWidth {
		return line.String(), nil
	}
	switch line.Bytes()[0] {
	case '{':
		list, err := members(raw)
		if err != nil {
			return "", err
		}
		return writeMembers(indent, list)
	case '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			return "", err
		}
		var parts []string
		for _, e := range elements {
			text, err := writeJSON(indent+"  ", e)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return block("[", indent, parts, "]"), nil
	}
	return line.String(), nil
}

func writeMembers(indent string, list []member) (string, error) {
	var parts []string
	for _, m := range list {
		text, err := writeJSON(indent+"  ", m.value)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("%q: %s", m.key, text))
	}
	return block("{", indent, parts, "}"), nil
}

func block(open, indent string, parts []string, end string) string {
	inner := "\n" + indent + "  "
	return open + inner + strings.Join(parts, ","+inner) + "\n" + indent + end
}
