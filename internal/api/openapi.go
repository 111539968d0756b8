package api

import (
	"encoding/json"
	"maps"
)

// describe makes the OpenAPI description of the table. Cursors are not in it: apps follow links.
func (s *Server) describe() ([]byte, error) {
	get := func(id, summary string, params []object, responses object) object {
		o := object{"operationId": id, "summary": summary, "responses": responses}
		if len(params) > 0 {
			o["parameters"] = params
		}
		return object{"get": o}
	}
	public := func(path object) object {
		path["get"].(object)["security"] = []object{}
		return path
	}
	fixed := []object{queryParam("_format", "the format", choices(formats...)), queryParam("_pretty", "true indents the answer", choices("true", "false"))}
	id := pathParam("id", "^[A-Za-z0-9.-]{1,64}$")
	paths := object{
		"/metadata":     public(get("metadata", "What the server can do", fixed, answers(answered("a CapabilityStatement", "CapabilityStatement")))),
		"/openapi.json": public(get("openapi", "This description", fixed, answers(answered("OpenAPI 3.1", "Description")))),
	}
	schemas := object{
		"Bundle": bundleSchema(), "OperationOutcome": outcomeSchema(), "CapabilityStatement": resourceSchema("CapabilityStatement"),
		"Description": object{"type": "object", "required": []string{"openapi", "paths"}},
	}
	for i := range types {
		t := &types[i]
		name := t.typ.String()
		schemas[name] = resourceSchema(name)
		params := t.searchParams()
		paths["/"+name] = get("search"+name, "Search "+name, params, answers(answered("a searchset Bundle", "Bundle"), "403"))
		paths["/"+name+"/_search"] = object{"post": object{"operationId": "searchByPost" + name, "summary": "Search " + name + " with parameters in the body",
			"requestBody": formOf(params), "responses": answers(answered("a searchset Bundle", "Bundle"), "403", "413", "415")}}
		one := append([]object{id,
			queryParam("_summary", "which elements", choices("true", "false", "text", "data")), queryParam("_elements", "the elements to return, besides those that must be there", elementNames),
			{"name": "If-None-Match", "in": "header", "description": "the ETag of the version that the app has", "schema": object{"type": "string"}},
		}, fixed...)
		found := answered("the resource", name)
		found["headers"] = object{"ETag": object{"description": "the version", "schema": object{"type": "string", "pattern": `^W/"[0-9]+"$`}}}
		paths["/"+name+"/{id}"] = get("read"+name, "Read a resource", one, answers(found, "304", "403", "404", "410", "412"))
		paths["/"+name+"/{id}/_history"] = get("history"+name, "The versions of a resource", append([]object{id, pageParam("versions"), queryParam("_since", "only versions since then", text)}, fixed...),
			answers(answered("a history Bundle", "Bundle"), "403", "404"))
		paths["/"+name+"/{id}/_history/{version}"] = get("vread"+name, "Read a version", append([]object{pathParam("version", "^[0-9]{1,9}$")}, one...), answers(found, "304", "403", "404", "410", "412"))
		if !t.everything {
			continue
		}
		params = append([]object{queryParam("_since", "only what has changed since then", text), queryParam("start", "claims from this day on", text),
			queryParam("end", "claims up to this day", text), queryParam("_type", "types, with commas", text), pageParam("resources")}, fixed...)
		found = answered("a searchset Bundle", "Bundle")
		path := get("everything", "All that there is of a member", append([]object{id}, params...), answers(found, "403", "404", "410"))
		path["post"] = object{"operationId": "everythingByPost", "summary": "All that there is of a member, with parameters in the body",
			"parameters": []object{id}, "requestBody": formOf(params), "responses": answers(found, "403", "404", "410", "413", "415")}
		paths["/"+name+"/{id}/$everything"] = path
	}
	d := object{
		"openapi":    "3.1.0",
		"info":       object{"title": "Patient Access API", "version": orUnknown(s.Software), "description": "FHIR R4, CARIN Blue Button " + s.Release},
		"servers":    []object{{"url": basePlace}},
		"paths":      paths,
		"components": object{"schemas": schemas},
	}
	if s.Security != nil {
		d["components"].(object)["securitySchemes"] = object{"smart": object{"type": "oauth2", "flows": object{"authorizationCode": object{
			"authorizationUrl": s.Security.Authorize, "tokenUrl": s.Security.Token, "scopes": object{"patient/*.read": "read what is the member's"}}}}}
		d["security"] = []object{{"smart": []string{"patient/*.read"}}}
	}
	return json.Marshal(d)
}

// searchParams are the parameters of a search.
func (t *resourceType) searchParams() (params []object) {
	for i := range t.params {
		if p := &t.params[i]; p.search {
			params = append(params, queryParam(p.name, p.doc, text))
		}
	}
	for _, c := range controls {
		schema := text
		switch {
		case c.name == cursorParam:
			continue
		case c.values != nil:
			schema = choices(c.values...)
		case c.name == "_count":
			schema = object{"type": "integer", "minimum": 0}
		case c.name == "_elements":
			schema = elementNames
		}
		params = append(params, queryParam(c.name, c.doc, schema))
	}
	return params
}

// text is any text; a parameter without a value is left out.
var text = object{"type": "string"}

var elementNames = object{"type": "string", "pattern": `^(([A-Za-z]+\.)?[A-Za-z]+(,([A-Za-z]+\.)?[A-Za-z]+)*)?$`}

func texts(values ...string) object { return object{"type": "string", "enum": values} }

// choices are values of a parameter, which is left out if it has none.
func choices(values ...string) object { return texts(append(values[:len(values):len(values)], "")...) }

func queryParam(name, text string, schema object) object {
	return object{"name": name, "in": "query", "description": text, "schema": schema}
}

func pathParam(name, pattern string) object {
	return object{"name": name, "in": "path", "required": true, "schema": object{"type": "string", "pattern": pattern}}
}

func pageParam(of string) object {
	return queryParam("_count", of+" on a page", object{"type": "integer", "minimum": 1})
}

// formOf is the body that has parameters.
func formOf(params []object) object {
	form := object{}
	for _, p := range params {
		form[p["name"].(string)] = p["schema"]
	}
	return object{"content": object{"application/x-www-form-urlencoded": object{"schema": object{"type": "object", "properties": form}}}}
}

// answered is an answer with a document of a schema.
func answered(text, schema string) object {
	return object{"description": text, "content": object{"application/fhir+json": object{"schema": object{"$ref": "#/components/schemas/" + schema}}}}
}

// errorTexts say what an error of a status is about; those of some operations only are in some.
var (
	errorTexts = map[string]string{
		"400": "a parameter is not valid or not supported", "401": "the token is missing or not valid", "406": "only JSON is written",
		"414": "the URL is too long", "429": "too many requests; see Retry-After", "500": "a fault of the server", "503": "it took too long; see Retry-After",
	}
	someErrors = map[string]string{
		"403": "the token does not allow it, or it would cost too much", "404": "there is no such resource", "410": "the resource was deleted",
		"412": "the resource has another version", "413": "the body is too long", "415": "the body is not a form",
	}
)

// answers are a success, the errors of every operation, and other answers of this one.
func answers(success object, more ...string) object {
	all := object{"200": success}
	for status, text := range errorTexts {
		all[status] = answered(text, "OperationOutcome")
	}
	for _, status := range more {
		if text, ok := someErrors[status]; ok {
			all[status] = answered(text, "OperationOutcome")
		} else {
			all[status] = object{"description": "the app has this version"} // 304
		}
	}
	return all
}

func resourceSchema(typ string) object {
	return object{"type": "object", "required": []string{"resourceType"}, "properties": object{"resourceType": object{"const": typ}, "id": text, "meta": object{"type": "object"}}}
}

func bundleSchema() object {
	link := object{"type": "object", "required": []string{"relation", "url"}, "properties": object{"relation": text, "url": object{"type": "string", "format": "uri"}}}
	entry := object{"type": "object", "required": []string{"fullUrl"}, "properties": object{"fullUrl": object{"type": "string", "format": "uri"},
		"resource": object{"type": "object", "required": []string{"resourceType", "id"}}, "search": object{"type": "object", "properties": object{"mode": texts("match", "include")}}}}
	o := resourceSchema("Bundle")
	o["required"] = []string{"resourceType", "type", "link"}
	maps.Copy(o["properties"].(object), object{"type": texts("searchset", "history"), "total": object{"type": "integer", "minimum": 0},
		"link": object{"type": "array", "minItems": 1, "items": link}, "entry": object{"type": "array", "minItems": 1, "items": entry}})
	return o
}

func outcomeSchema() object {
	o := resourceSchema("OperationOutcome")
	o["required"] = []string{"resourceType", "issue"}
	o["properties"].(object)["issue"] = object{"type": "array", "minItems": 1, "items": object{"type": "object", "required": []string{"severity", "code"},
		"properties": object{"severity": texts("error"), "code": text, "diagnostics": text}}}
	return o
}
