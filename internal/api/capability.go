package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

type object = map[string]any

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

// describe makes the OpenAPI description of the table.
func (s *Server) describe() ([]byte, error) {
	answer := func(text, schema string) object {
		return object{"description": text, "content": object{"application/fhir+json": object{"schema": object{"$ref": "#/components/schemas/" + schema}}}}
	}
	answers := func(text, schema string) object {
		all := object{"200": answer(text, schema)}
		for code, text := range map[string]string{"400": "a parameter is not valid or not supported", "401": "the token is missing or not valid",
			"403": "the token does not allow it, or it would cost too much", "404": "there is no such resource", "406": "only JSON is written",
			"429": "too many requests; see Retry-After", "503": "it took too long; see Retry-After"} {
			all[code] = answer(text, "OperationOutcome")
		}
		return all
	}
	query := func(name, text string, schema object) object {
		return object{"name": name, "in": "query", "description": text, "schema": schema}
	}
	text := object{"type": "string"}
	id := object{"name": "id", "in": "path", "required": true, "schema": object{"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"}}
	shapes := []object{query("_summary", "which elements", object{"type": "string", "enum": []string{"true", "false", "text", "data"}}), query("_elements", "names of elements", text)}
	paths := object{
		"/metadata":     object{"get": object{"operationId": "metadata", "summary": "What the server can do", "security": []object{}, "responses": object{"200": answer("a CapabilityStatement", "Resource")}}},
		"/openapi.json": object{"get": object{"operationId": "openapi", "summary": "This description", "security": []object{}, "responses": object{"200": object{"description": "OpenAPI 3.1"}}}},
	}
	for i := range types {
		t := &types[i]
		name := t.typ.String()
		var params []object
		for j := range t.params {
			if p := &t.params[j]; p.search {
				params = append(params, query(p.name, p.doc, text))
			}
		}
		for _, c := range controls {
			schema := text
			switch {
			case c.values != nil:
				schema = object{"type": "string", "enum": c.values}
			case c.name == "_count":
				schema = object{"type": "integer", "minimum": 0, "maximum": maxCount}
			}
			params = append(params, query(c.name, c.doc, schema))
		}
		paths["/"+name] = object{"get": object{"operationId": "search" + name, "summary": "Search " + name, "parameters": params, "responses": answers("a searchset Bundle", "Bundle")}}
		form := object{}
		for _, p := range params {
			form[p["name"].(string)] = p["schema"]
		}
		paths["/"+name+"/_search"] = object{"post": object{"operationId": "searchByPost" + name, "summary": "Search " + name + " with parameters in the body",
			"requestBody": object{"content": object{"application/x-www-form-urlencoded": object{"schema": object{"type": "object", "properties": form}}}},
			"responses":   answers("a searchset Bundle", "Bundle")}}
		paths["/"+name+"/{id}"] = object{"get": object{"operationId": "read" + name, "summary": "Read a resource", "parameters": append([]object{id}, shapes...),
			"responses": gone410(answers("the resource", "Resource"), answer)}}
		paths["/"+name+"/{id}/_history"] = object{"get": object{"operationId": "history" + name, "summary": "The versions of a resource",
			"parameters": []object{id, query("_count", "versions on a page", object{"type": "integer", "minimum": 1, "maximum": maxCount}), query("_since", "only versions since then", text)},
			"responses":  answers("a history Bundle", "Bundle")}}
		version := object{"name": "version", "in": "path", "required": true, "schema": object{"type": "string", "pattern": "^[0-9]{1,9}$"}}
		paths["/"+name+"/{id}/_history/{version}"] = object{"get": object{"operationId": "vread" + name, "summary": "Read a version",
			"parameters": append([]object{id, version}, shapes...), "responses": gone410(answers("the version", "Resource"), answer)}}
		if t.everything {
			paths["/"+name+"/{id}/$everything"] = object{"get": object{"operationId": "everything", "summary": "All that there is of a member",
				"parameters": []object{id, query("_since", "only what has changed since then", text), query("start", "claims from this day on", text),
					query("end", "claims up to this day", text), query("_type", "types, with commas", text),
					query("_count", "resources on a page", object{"type": "integer", "minimum": 1, "maximum": maxCount}), query(cursorParam, "the page", text)},
				"responses": gone410(answers("a searchset Bundle", "Bundle"), answer)}}
		}
	}
	resource := object{"type": "object", "required": []string{"resourceType"}, "properties": object{"resourceType": text, "id": text}}
	d := object{
		"openapi": "3.1.0",
		"info":    object{"title": "Patient Access API", "version": orUnknown(s.Software), "description": "FHIR R4, CARIN Blue Button " + s.Release},
		"servers": []object{{"url": basePlace}},
		"paths":   paths,
		"components": object{"schemas": object{
			"Resource": resource, "Bundle": resource, "OperationOutcome": resource,
		}},
	}
	if s.Security != nil {
		d["components"].(object)["securitySchemes"] = object{"smart": object{"type": "oauth2", "flows": object{"authorizationCode": object{
			"authorizationUrl": s.Security.Authorize, "tokenUrl": s.Security.Token, "scopes": object{"patient/*.read": "read what is the member's"}}}}}
		d["security"] = []object{{"smart": []string{"patient/*.read"}}}
	}
	return json.Marshal(d)
}

func gone410(answers object, answer func(text, schema string) object) object {
	all := maps.Clone(answers)
	all["410"] = answer("the resource was deleted", "OperationOutcome")
	return all
}
