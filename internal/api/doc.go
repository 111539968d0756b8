// Package api serves a store as a FHIR R4 server for the CARIN Blue Button profiles: read, vread, history,
// search with includes and paging, and $everything.
//
// One table (table.go) says which types, interactions, search parameters and includes there are. It
// routes requests, it decides what is refused, and the CapabilityStatement and the OpenAPI description
// are made of it. An Authorizer says what a request may see; the package checks every resource that
// leaves it against that, whichever way it was found.
//
// Resources leave as the bytes that are in the store. Only meta.versionId and meta.lastUpdated are put in
// between.
package api
