package authserver

import (
	"cmp"
	"net/http"
	"time"
)

// Brand is how the agency appears in directories of endpoints that apps show to members (SMART App Launch 2.2,
// User-access Brands and Endpoints).
type Brand struct {
	Name     string    // "" is the host of the server
	Aliases  []string  // other names that members know it by
	Website  string    // URL
	Logo     string    // URL
	Portal   string    // URL of the members' portal, "" is the page of connected apps
	State    string    // two letters, where its members live
	Modified time.Time // of this information; zero is the start of the server
}

type (
	object = map[string]any
	array  = []any
)

// brands answers with the bundle of one brand and its endpoint.
func (s *Server) brands(w http.ResponseWriter, _ *http.Request) {
	b := s.Brand
	const structure = "http://hl7.org/fhir/StructureDefinition/"
	at := b.Modified.UTC().Format(time.RFC3339)
	name := cmp.Or(b.Name, s.Issuer)
	portal := array{object{"url": "portalName", "valueString": name}, object{"url": "portalUrl", "valueUrl": cmp.Or(b.Portal, s.Issuer+"/apps")},
		object{"url": "portalEndpoint", "valueReference": object{"reference": "Endpoint/patient-access"}}}
	brand := array{object{"url": "brandIdentifier", "valueIdentifier": object{"system": "urn:ietf:rfc:3986", "value": s.Issuer}}}
	if b.Logo != "" {
		brand = append(brand, object{"url": "brandLogo", "valueUrl": b.Logo})
	}
	organization := object{
		"resourceType": "Organization", "id": "brand", "active": true, "name": name,
		"identifier": array{object{"system": "urn:ietf:rfc:3986", "value": s.Issuer}},
		"telecom":    array{object{"system": "url", "value": cmp.Or(b.Website, s.Issuer)}},
		"endpoint":   array{object{"reference": "Endpoint/patient-access"}},
		"extension": array{
			object{"url": structure + "organization-brand", "extension": brand},
			object{"url": structure + "organization-portal", "extension": portal},
		},
	}
	if len(b.Aliases) > 0 {
		organization["alias"] = b.Aliases
	}
	if b.State != "" {
		organization["address"] = array{object{"state": b.State, "country": "US"}}
	}
	endpoint := object{
		"resourceType": "Endpoint", "id": "patient-access", "status": "active", "name": name, "address": s.FHIRBase,
		"extension":      array{object{"url": structure + "endpoint-fhir-version", "valueCode": "4.0.1"}},
		"connectionType": object{"system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": "hl7-fhir-rest"},
		"contact":        array{object{"system": "url", "value": cmp.Or(b.Website, s.Issuer)}},
		"payloadType":    array{object{"coding": array{object{"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "none"}}}},
	}
	public5min(w)
	reply(w, http.StatusOK, object{
		"resourceType": "Bundle", "type": "collection", "timestamp": at,
		"entry": array{
			object{"fullUrl": s.Issuer + "/brands.json#brand", "resource": organization},
			object{"fullUrl": s.Issuer + "/brands.json#patient-access", "resource": endpoint},
		},
	})
}
