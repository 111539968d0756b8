package audit

import (
	"encoding/json"
	"strconv"
	"strings"
)

// AppendEvent appends the record as a FHIR R4 AuditEvent. source names the server.
func (r *Record) AppendEvent(b []byte, source string) []byte {
	type coding struct {
		System  string `json:"system,omitempty"`
		Code    string `json:"code"`
		Display string `json:"display,omitempty"`
	}
	type concept struct {
		Coding []coding `json:"coding"`
	}
	type identifier struct {
		Value string `json:"value"`
	}
	type reference struct {
		Reference  string      `json:"reference,omitempty"`
		Identifier *identifier `json:"identifier,omitempty"`
		Display    string      `json:"display,omitempty"`
	}
	type agent struct {
		Type      concept    `json:"type"`
		Who       *reference `json:"who,omitempty"`
		AltID     string     `json:"altId,omitempty"`
		Requestor bool       `json:"requestor"`
	}
	type detail struct {
		Type        string `json:"type"`
		ValueString string `json:"valueString"`
	}
	type entity struct {
		What   *reference `json:"what,omitempty"`
		Type   coding     `json:"type"`
		Role   *coding    `json:"role,omitempty"`
		Detail []detail   `json:"detail,omitempty"`
	}
	const (
		events      = "http://terminology.hl7.org/CodeSystem/audit-event-type"
		rest        = "http://hl7.org/fhir/restful-interaction"
		entityTypes = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
		roles       = "http://terminology.hl7.org/CodeSystem/object-role"
	)
	event := struct {
		ResourceType string   `json:"resourceType"`
		ID           string   `json:"id"`
		Type         coding   `json:"type"`
		Subtype      []coding `json:"subtype,omitempty"`
		Action       string   `json:"action"`
		Recorded     string   `json:"recorded"`
		Outcome      string   `json:"outcome"`
		Agent        []agent  `json:"agent"`
		Source       struct {
			Observer reference `json:"observer"`
		} `json:"source"`
		Entity []entity `json:"entity,omitempty"`
	}{
		ResourceType: "AuditEvent", ID: r.eventID(), Type: coding{events, "rest", "RESTful Operation"}, Recorded: r.At, Outcome: r.outcome(),
	}
	event.Source.Observer = reference{Display: source}
	switch r.Action {
	case "read", "vread", "delete":
		event.Action = map[bool]string{true: "D", false: "R"}[r.Action == "delete"]
		event.Subtype = []coding{{rest, r.Action, ""}}
	case "history":
		event.Action, event.Subtype = "R", []coding{{rest, "history-instance", ""}}
	case "search":
		event.Action, event.Subtype = "E", []coding{{rest, "search-type", ""}}
	case "purge":
		event.Action, event.Subtype = "D", []coding{{rest, "delete", ""}}
	case "rollback":
		event.Action, event.Subtype = "U", []coding{{rest, "update", ""}}
	default: // $everything, and what is no interaction
		event.Action, event.Subtype = "E", []coding{{rest, "operation", ""}}
	}
	person := coding{"http://dicom.nema.org/resources/ontology/DCM", "110153", "Source Role ID"}
	app := coding{"http://dicom.nema.org/resources/ontology/DCM", "110150", "Application"}
	if r.Client != "" {
		event.Agent = append(event.Agent, agent{Type: concept{[]coding{app}}, Who: &reference{Identifier: &identifier{r.Client}}, AltID: r.Client, Requestor: r.User == ""})
	}
	if r.User != "" || r.Client == "" {
		a := agent{Type: concept{[]coding{person}}, Requestor: true}
		if r.User != "" {
			a.Who, a.AltID = &reference{Identifier: &identifier{r.User}}, r.User
		} else {
			a.Who = &reference{Display: "not authenticated"}
		}
		event.Agent = append(event.Agent, a)
	}
	for _, m := range r.Members {
		event.Entity = append(event.Entity, entity{What: &reference{Reference: "Patient/" + m}, Type: coding{entityTypes, "1", "Person"}, Role: &coding{roles, "1", "Patient"}})
	}
	for _, ref := range r.Resources {
		if !strings.HasPrefix(ref, "Patient/") {
			event.Entity = append(event.Entity, entity{What: &reference{Reference: ref}, Type: coding{entityTypes, "2", "System Object"}, Role: &coding{roles, "4", "Domain Resource"}})
		}
	}
	if q := r.asked(); len(q) > 0 {
		query := entity{Type: coding{entityTypes, "2", "System Object"}, Role: &coding{roles, "24", "Query"}}
		for _, d := range q {
			query.Detail = append(query.Detail, detail{d[0], d[1]})
		}
		event.Entity = append(event.Entity, query)
	}
	text, err := json.Marshal(&event)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return append(append(b, text...), '\n')
}

// asked is what the request was about, apart from values.
func (r *Record) asked() (list [][2]string) {
	if r.Type != "" {
		list = append(list, [2]string{"type", r.Type})
	}
	if r.ID != "" {
		list = append(list, [2]string{"id", r.ID})
	}
	if len(r.Params) > 0 {
		list = append(list, [2]string{"parameters", strings.Join(r.Params, " ")})
	}
	if r.Note != "" {
		list = append(list, [2]string{"note", r.Note})
	}
	if r.Request != "" {
		list = append(list, [2]string{"request", r.Request})
	}
	return list
}

// outcome is a code of http://hl7.org/fhir/audit-event-outcome.
func (r *Record) outcome() string {
	switch {
	case r.Status >= 500:
		return "8"
	case r.Status >= 400:
		return "4"
	}
	return "0"
}

func (r *Record) eventID() string { return "audit-" + strconv.FormatUint(r.Number, 10) }
