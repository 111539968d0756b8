package pipeline

import (
	"encoding/json"
	"strconv"
	"strings"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// A mention is a provider, payer or person that claims name and no table has.
// Mentions of all lanes are gathered in files of the state folder, and one lane
// at the end of the run writes them, each once. Of two claims that name the same
// provider differently, the greater text wins, so that the order does not matter.
type mention struct {
	Kind         mentionKind `json:"kind"`
	ID           string      `json:"id"`
	Key          string      `json:"key"`
	Name         string      `json:"name,omitempty"`
	Address      string      `json:"address,omitempty"`
	Patient      string      `json:"patient,omitempty"`
	Relationship string      `json:"relationship,omitempty"`
}

type mentionKind uint8

const (
	mentionOrganization mentionKind = iota
	mentionPayer
	mentionPractitioner
	mentionRelated
	mentionConstant // an organization of the layout's own rows; Key is the number of the row from 1
	mentionLocal    // an organization by the payer's own identifier
	numMentionKinds
)

// mentionedSince is the meta.lastUpdated of what only claims mention: no record
// of it exists in the system of record, and the claim's own date would make a new
// version of it with every claim. It is the day on which NPI enumeration began.
const mentionedSince = "2005-05-23T00:00:00Z"

// mentions gathers the mentions of one lane in a file. Those of a claim wait until
// it is known whether the claim is accepted.
type mentions struct {
	log     *stateFile
	seen    map[mention]struct{}
	pending []mention
}

func newMentions(log *stateFile) *mentions {
	return &mentions{log: log, seen: map[mention]struct{}{}}
}

// add notes a mention of the claim or row under way. Its strings may be views.
func (m *mentions) add(x mention) { m.pending = append(m.pending, x) }

// drop forgets the mentions of a claim that is not accepted.
func (m *mentions) drop() { m.pending = m.pending[:0] }

// accept writes the mentions of an accepted claim, but for those that the lane has
// written not long ago.
func (m *mentions) accept() {
	for _, x := range m.pending {
		if _, ok := m.seen[x]; ok {
			continue
		}
		x.Key, x.Name, x.Address, x.Relationship = strings.Clone(x.Key), strings.Clone(x.Name), strings.Clone(x.Address), strings.Clone(x.Relationship)
		if len(m.seen) >= cacheLimit {
			clear(m.seen)
		}
		m.seen[x] = struct{}{}
		line, err := json.Marshal(x)
		if err != nil {
			panic(err) // a struct of strings always marshals
		}
		m.log.write(append(line, '\n'))
	}
	m.drop()
}

// mapMention appends the resource of a mention.
func mapMention(out *fhir.Batch, m *mappers.Mapper, l *layouts.Layout, x *mention) {
	switch x.Kind {
	case mentionOrganization:
		m.NamedOrganization(out, x.ID, mentionedSince, x.Key, x.Name, x.Address)
	case mentionLocal:
		m.LocalOrganization(out, x.ID, mentionedSince, x.Key, x.Name, x.Address)
	case mentionPayer:
		m.PayerOrganization(out, x.ID, mentionedSince, x.Key, x.Name)
	case mentionPractitioner:
		m.NamedPractitioner(out, x.ID, mentionedSince, x.Key, x.Name)
	case mentionConstant:
		rows := l.Constants[cpcds.Organizations]
		n, err := strconv.Atoi(x.Key)
		if err != nil || n < 1 || n > len(rows) {
			return // the layout of an earlier call had more rows
		}
		var o cpcds.Organization
		fill(cpcds.Organizations, func(e cpcds.Element) string { return rows[n-1][e] }, o.Set)
		m.Organization(out, x.ID, &o)
	case mentionRelated:
		m.RelatedPerson(out, &mappers.Related{ID: x.ID, LastUpdated: mentionedSince, Patient: x.Patient, Relationship: x.Relationship, Name: x.Name})
	}
}
