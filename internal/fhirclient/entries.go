package fhirclient

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// appendWrites writes a bundle of writes. The resources go in as they are.
func appendWrites(dst []byte, bundle string, writes []Write, ifMatch bool) []byte {
	dst = append(dst, `{"resourceType":"Bundle","type":"`...)
	dst = append(dst, bundle...)
	dst = append(dst, `","entry":[`...)
	for i := range writes {
		w := &writes[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		method := "DELETE"
		if len(w.JSON) > 0 {
			method = "PUT"
			dst = append(dst, `"resource":`...)
			dst = append(dst, w.JSON...)
			dst = append(dst, ',')
		}
		dst = append(dst, `"request":{"method":"`...)
		dst = append(dst, method...)
		dst = append(dst, `","url":`...)
		dst = appendQuoted(dst, w.target())
		if w.IfMatch != "" && ifMatch {
			dst = append(dst, `,"ifMatch":`...)
			dst = appendQuoted(dst, `W/"`+w.IfMatch+`"`)
		}
		dst = append(dst, "}}"...)
	}
	return append(dst, "]}"...)
}

// target is the URL of a write below the base.
func (w *Write) target() string {
	if w.Search != "" && w.ID == "" {
		return w.Type + "?" + strings.ReplaceAll(w.Search, "|", "%7C")
	}
	return w.Type + "/" + w.ID
}

// sizeOf is about how many bytes a bundle of writes has.
func sizeOf(writes []Write) int {
	n := 64
	for i := range writes {
		n += len(writes[i].JSON) + len(writes[i].Search) + 160
	}
	return n
}

// appendGets writes a batch of reads.
func appendGets(dst []byte, refs []Reference) []byte {
	dst = append(dst, `{"resourceType":"Bundle","type":"batch","entry":[`...)
	for i, r := range refs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"request":{"method":"GET","url":`...)
		dst = appendQuoted(dst, r.String())
		dst = append(dst, "}}"...)
	}
	return append(dst, "]}"...)
}

func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			text, err := json.Marshal(s)
			if err != nil {
				return append(dst, `""`...) // a string can be marshalled
			}
			return append(dst, text...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// answered is a bundle as servers answer with it.
type answered struct {
	ResourceType string `json:"resourceType"`
	Type         string `json:"type"`
	Total        *int64 `json:"total"`
	Link         []struct {
		Relation string `json:"relation"`
		URL      string `json:"url"`
	} `json:"link"`
	Entry []answeredEntry `json:"entry"`
}

type answeredEntry struct {
	FullURL  string          `json:"fullUrl"`
	Resource json.RawMessage `json:"resource"`
	Search   struct {
		Mode string `json:"mode"`
	} `json:"search"`
	Response *struct {
		Status       status          `json:"status"`
		Location     string          `json:"location"`
		ETag         string          `json:"etag"`
		LastModified string          `json:"lastModified"`
		Outcome      json.RawMessage `json:"outcome"`
	} `json:"response"`
}

// status is a status of HTTP as servers write it: "201", "201 Created", 201.
type status int

// UnmarshalJSON implements json.Unmarshaler. What cannot be read is 0: no answer.
func (s *status) UnmarshalJSON(text []byte) error {
	digits := strings.Trim(string(text), `" `)
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	if n, err := strconv.Atoi(digits); err == nil && n >= 100 && n < 600 {
		*s = status(n)
	}
	return nil
}

var errNoBundle = errors.New("the answer is no Bundle, whatever its status says")

// readBundle reads a bundle that a server has answered with.
func readBundle(text []byte) (*answered, error) {
	var b answered
	if err := json.Unmarshal(text, &b); err != nil || b.ResourceType != "Bundle" {
		return nil, errNoBundle // the error of json may quote the text
	}
	return &b, nil
}

// meta is what every resource has.
type meta struct {
	ResourceType, ID, Version string
	Updated                   time.Time
}

// readMeta reads what every resource has; the zero value if the text is no JSON object.
func readMeta(resource []byte) meta {
	var m meta
	ok := members(resource, func(name string, value []byte) bool {
		switch name {
		case "resourceType":
			m.ResourceType = inQuotes(value)
		case "id":
			m.ID = inQuotes(value)
		case "meta":
			members(value, func(name string, value []byte) bool {
				switch name {
				case "versionId":
					m.Version = strings.Trim(string(value), `"`)
				case "lastUpdated":
					// A faulty date does not matter.
					if t, err := time.Parse(time.RFC3339Nano, inQuotes(value)); err == nil {
						m.Updated = t
					}
				}
				return true
			})
		}
		return true
	})
	if !ok {
		return meta{}
	}
	return m
}

// inQuotes is the text of a string; "" of another value.
func inQuotes(value []byte) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// answer reads what a server says to one entry.
func (p *profile) answer(e *answeredEntry) Answer {
	if e.Response == nil {
		return Answer{Meaning: Unclear}
	}
	a := Answer{Status: int(e.Response.Status), Version: version(e.Response.ETag)}
	if t, err := time.Parse(time.RFC3339Nano, e.Response.LastModified); err == nil {
		a.Modified = t
	}
	var inLocation string
	a.Location, inLocation = location(e.Response.Location)
	if a.Version == "" {
		a.Version = inLocation
	}
	if len(e.Response.Outcome) > 0 {
		a.Outcome = p.outcome(e.Response.Outcome)
	}
	if len(e.Resource) > 0 && e.Resource[0] == '{' {
		m := readMeta(e.Resource)
		switch {
		case m.ResourceType == "OperationOutcome":
			if a.Outcome == nil {
				a.Outcome = p.outcome(e.Resource)
			}
		case a.Status/100 == 2:
			a.JSON = e.Resource
			a.filled(m)
		}
	}
	a.Meaning = Meaning(p.rule(a.Status, a.Outcome).Means)
	return a
}

// filled adds from a resource what the answer itself does not say.
func (a *Answer) filled(m meta) {
	if a.Version == "" {
		a.Version = m.Version
	}
	if a.Location.ID == "" {
		a.Location = Reference{m.ResourceType, m.ID}
	}
	if a.Modified.IsZero() {
		a.Modified = m.Updated
	}
}

// version is that of an ETag, however it is written: W/"1", "1", 1.
func version(etag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"`)
}

// location reads Type/id and the version of a location, absolute or relative, with or without _history.
func location(l string) (r Reference, version string) {
	if u, err := url.Parse(l); err == nil {
		l = u.Path
	}
	parts := strings.Split(strings.Trim(l, "/"), "/")
	if n := len(parts); n >= 4 && parts[n-2] == "_history" {
		version, parts = parts[n-1], parts[:n-2]
	}
	n := len(parts)
	if n < 2 || parts[n-2] == "" || parts[n-1] == "" || parts[n-2][0] < 'A' || parts[n-2][0] > 'Z' {
		return Reference{}, ""
	}
	return Reference{parts[n-2], parts[n-1]}, version
}
