package pipeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/fhir"
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

// readMentions merges the mention files of a run, in order of type and id.
func readMentions(dir string) ([]mention, error) {
	all := map[string]mention{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read mentions: %w", err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read mentions: %w", err)
		}
		s := bufio.NewScanner(bytes.NewReader(data))
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			var m mention
			if err := json.Unmarshal(s.Bytes(), &m); err != nil {
				return nil, fmt.Errorf("read mentions %s: the file is damaged", e.Name())
			}
			if old, ok := all[m.ID]; ok {
				m.Name, m.Address, m.Relationship = max(m.Name, old.Name), max(m.Address, old.Address), max(m.Relationship, old.Relationship)
			}
			all[m.ID] = m
		}
		if err := s.Err(); err != nil {
			return nil, fmt.Errorf("read mentions %s: %w", e.Name(), err)
		}
	}
	list := make([]mention, 0, len(all))
	for _, m := range all {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b mention) int {
		if a.Kind != b.Kind {
			return int(a.Kind) - int(b.Kind)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// mapMention appends the resource of a mention.
func mapMention(out *fhir.Batch, m *mappers.Mapper, x *mention) {
	switch x.Kind {
	case mentionOrganization:
		m.NamedOrganization(out, x.ID, mentionedSince, x.Key, x.Name, x.Address)
	case mentionPayer:
		m.PayerOrganization(out, x.ID, mentionedSince, x.Key, x.Name)
	case mentionPractitioner:
		m.NamedPractitioner(out, x.ID, mentionedSince, x.Key, x.Name)
	case mentionRelated:
		m.RelatedPerson(out, &mappers.Related{ID: x.ID, LastUpdated: mentionedSince, Patient: x.Patient, Relationship: x.Relationship, Name: x.Name})
	}
}
