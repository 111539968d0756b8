package api

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

type object = map[string]any

// Describe makes the documents at /metadata and /openapi.json of a server with this configuration, whose Base must be set.
// It needs no store.
func Describe(c *Config) (capability, openAPI []byte, err error) {
	s := &Server{Config: *c}
	if s.Release == "" {
		s.Release = defaultRelease
	}
	if err := s.documents(); err != nil {
		return nil, nil, err
	}
	at := func(text []byte) []byte {
		return bytes.ReplaceAll(text, []byte(basePlace), []byte(strings.TrimRight(c.Base, "/")))
	}
	return at(s.metadata), at(s.openAPI), nil
}

// documents makes what is the same for all requests but for the base URL.
func (s *Server) documents() (err error) {
	if s.metadata, err = s.capabilities(); err == nil {
		s.openAPI, err = s.describe()
	}
	return err
}

// capabilities makes the CapabilityStatement of the table.
func (s *Server) capabilities() ([]byte, error) {
	var resources []object
	for i := range types {
		resources = append(resources, types[i].capability(s.Release))
	}
	security := object{
		"cors":        true,
		"description": "Open: the server checks no tokens and listens for this machine only.",
	}
	if s.Security != nil {
		var urls []object
		for name, url := range map[string]string{"authorize": s.Security.Authorize, "token": s.Security.Token, "introspect": s.Security.Introspect,
			"revoke": s.Security.Revoke, "manage": s.Security.Manage, "register": s.Security.Register} {
			if url != "" {
				urls = append(urls, object{"url": name, "valueUri": url})
			}
		}
		slices.SortFunc(urls, func(a, b object) int { return strings.Compare(a["url"].(string), b["url"].(string)) })
		security = object{
			"cors": true,
			"service": []object{{"coding": []object{{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
				"code": "SMART-on-FHIR"}}, "text": "OAuth 2 as SMART on FHIR says"}},
			"description": "A member's app needs a token with the member's consent.",
			"extension":   []object{{"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": urls}},
		}
	}
	c := object{
		"resourceType": "CapabilityStatement",
		"status":       "active",
		"date":         "2026-11-30",
		"publisher":    "cpcds2fhir",
		"kind":         "instance",
		"name":         "PatientAccessAPI",
		"title":        "Patient Access API",
		"description":  "Claims, coverages and what they refer to, in the profiles of the CARIN guide for Blue Button " + s.Release + ".",
		"instantiates": []string{"http://hl7.org/fhir/us/carin-bb/CapabilityStatement/c4bb", "http://hl7.org/fhir/us/carin-bb/CapabilityStatement/c4bb|" + s.Release},
		"software":     object{"name": "cpcds2fhir", "version": orUnknown(s.Software)},
		"implementation": object{
			"description": "Patient Access API", "url": basePlace,
		},
		"fhirVersion":         "4.0.1",
		"format":              []string{"application/fhir+json", "json"},
		"implementationGuide": []string{"http://hl7.org/fhir/us/carin-bb/ImplementationGuide/hl7.fhir.us.carin-bb|" + s.Release},
		"rest": []object{{
			"mode":     "server",
			"security": security,
			"resource": resources,
		}},
	}
	return json.Marshal(c)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// capability is the entry of a type.
func (t *resourceType) capability(release string) object {
	var params []object
	for i := range t.params {
		p := &t.params[i]
		if !p.search {
			continue
		}
		o := object{"name": p.name, "type": string(p.kind), "documentation": p.doc}
		if p.definition != "" {
			o["definition"] = p.definition
		}
		params = append(params, o)
	}
	var profiles []string
	for _, p := range t.profile {
		profiles = append(profiles, p+"|"+release)
	}
	o := object{
		"type":             t.typ.String(),
		"supportedProfile": profiles,
		"interaction":      []object{{"code": "read"}, {"code": "vread"}, {"code": "history-instance"}, {"code": "search-type"}},
		"versioning":       "versioned",
		"readHistory":      true,
		"updateCreate":     false,
		"conditionalRead":  "full-support",
		"referencePolicy":  []string{"literal"},
		"searchParam":      params,
	}
	if names := t.names(func(p *param) bool { return p.include }); len(names) > 0 {
		list := []string{"*"}
		for _, n := range names {
			list = append(list, t.typ.String()+":"+n)
		}
		if t.typ == fhir.ExplanationOfBenefit {
			list = append(list, "Coverage:payor")
		}
		o["searchInclude"] = list
	}
	if len(t.reverse) > 0 {
		var list []string
		for _, r := range t.reverse {
			list = append(list, r.typ.String()+":"+r.name)
		}
		o["searchRevInclude"] = list
	}
	if t.everything {
		o["operation"] = []object{{"name": "everything", "definition": "http://hl7.org/fhir/OperationDefinition/Patient-everything",
			"documentation": "With _since, start, end, _type and _count. Pages follow the next link."}}
	}
	return o
}
