// Package referenced has the referenced-only resources: providers, payers and persons that claims
// name but no table has. Those of all lanes are collected in files of the state folder, and one
// lane at the end of the run writes each of them once. If two claims name the same provider
// differently, the greater text wins, so that the order does not matter. The package knows such
// resources, but not claims.
package referenced

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"cpcds2fhir/mappers"
	"cpcds2fhir/pipeline/statefile"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// Resource is a resource that claims refer to but no table has. docs/formats-on-disk.md describes
// its file.
type Resource struct {
	Kind         Kind   `json:"kind"`
	ID           string `json:"id"`
	Key          string `json:"key"`
	Name         string `json:"name,omitempty"`
	Address      string `json:"address,omitempty"`
	Patient      string `json:"patient,omitempty"`
	Relationship string `json:"relationship,omitempty"`
}

// Kind says what a referenced-only resource is and what it is known by. The order of the
// kinds is that in which they are written.
type Kind uint8

// The kinds. Files of earlier releases have their numbers instead of names.
const (
	Organization  Kind = 0 // by NPI
	Payer         Kind = 1
	Practitioner  Kind = 2
	RelatedPerson Kind = 3
	Constant      Kind = 4 // an organization of the layout's own rows; Key is the number of the row from 1
	Local         Kind = 5 // an organization by the payer's own identifier

	numKinds = 6
)

var kindNames = [numKinds]string{"organization", "payer", "practitioner", "related-person", "constant", "local"}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(kindNames[k]), nil }

// UnmarshalJSON reads the name of a kind, or its number.
func (k *Kind) UnmarshalJSON(b []byte) error {
	for n, name := range kindNames {
		if text := string(b); text == strconv.Quote(name) || text == strconv.Itoa(n) {
			*k = Kind(n)
			return nil
		}
	}
	return fmt.Errorf("not a kind of referenced-only resource")
}

// cacheLimit limits how many written resources a lane remembers.
const cacheLimit = 1 << 14

// since is the meta.lastUpdated of referenced-only resources: the system of record has no record of
// them, and the claim's own date would make a new version with every claim. It is the day on which
// NPI enumeration began.
const since = "2005-05-23T00:00:00Z"

// Log writes those of one lane to its file. Except for Sync, it belongs to one goroutine.
type Log struct {
	*statefile.Log
	written map[Resource]struct{} // recently
}

// OpenLog opens the file of a lane and cuts it to the length that the checkpoint says.
func OpenLog(path string, size int64) (*Log, error) {
	file, err := statefile.Open(path, size)
	if err != nil {
		return nil, err
	}
	return &Log{file, map[Resource]struct{}{}}, nil
}

// Add writes resources whose strings may be views, except those that the lane has written recently.
func (l *Log) Add(list []Resource) {
	for _, x := range list {
		if _, ok := l.written[x]; ok {
			continue
		}
		x.Key, x.Name, x.Address, x.Relationship = strings.Clone(x.Key), strings.Clone(x.Name), strings.Clone(x.Address), strings.Clone(x.Relationship)
		if len(l.written) >= cacheLimit {
			clear(l.written)
		}
		l.written[x] = struct{}{}
		line, err := json.Marshal(x)
		if err != nil {
			panic(err) // a struct of strings always marshals
		}
		l.Write(append(line, '\n'))
	}
}

// Type is the type of the FHIR resource.
func (x *Resource) Type() fhir.Type {
	switch x.Kind {
	case Practitioner:
		return fhir.Practitioner
	case RelatedPerson:
		return fhir.RelatedPerson
	}
	return fhir.Organization
}

// LastUpdated is the meta.lastUpdated of the FHIR resource, unless the layout has its row.
func (x *Resource) LastUpdated() string { return since }

// Map appends the FHIR resource.
func (x *Resource) Map(out *fhir.Batch, m *mappers.Mapper, l *layouts.Layout) {
	switch x.Kind {
	case Organization:
		m.NamedOrganization(out, x.ID, since, x.Key, x.Name, x.Address)
	case Local:
		m.LocalOrganization(out, x.ID, since, x.Key, x.Name, x.Address)
	case Payer:
		m.PayerOrganization(out, x.ID, since, x.Key, x.Name)
	case Practitioner:
		m.NamedPractitioner(out, x.ID, since, x.Key, x.Name)
	case Constant:
		rows := l.Constants[cpcds.Organizations]
		n, err := strconv.Atoi(x.Key)
		if err != nil || n < 1 || n > len(rows) {
			return // the layout of an earlier call had more rows
		}
		var o cpcds.Organization
		for _, e := range cpcds.Columns(cpcds.Organizations) {
			o.Set(e, rows[n-1][e])
		}
		m.Organization(out, x.ID, &o)
	case RelatedPerson:
		m.RelatedPerson(out, &mappers.Related{ID: x.ID, LastUpdated: since, Patient: x.Patient, Relationship: x.Relationship, Name: x.Name})
	}
}
