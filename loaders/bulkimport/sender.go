package bulkimport

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Sender answers with what was imported, once it has seen it on the server; the rest goes through rest.
// Nothing that a job says is believed: a resource counts as stored if the server has it with the content
// that it should have. What a job has refused by name, and the server does not have, is refused for the
// reason that the job gave.
func (i *Import) Sender(rest remote.Sender) remote.Sender {
	return &sender{i: i, rest: rest, ignore: i.server.Settings().Ignore}
}

type sender struct {
	i      *Import
	rest   remote.Sender
	ignore []string

	once     sync.Once
	failures map[string]*refusal
	err      error
}

// Send implements remote.Sender.
func (s *sender) Send(ctx context.Context, entries []remote.Entry) ([]remote.Answer, error) {
	if !s.i.Imported() {
		return nil, fmt.Errorf("import: the jobs have not ended")
	}
	s.once.Do(func() { s.failures, s.err = s.i.readFailures() })
	if s.err != nil {
		return nil, s.err
	}
	answers := make([]remote.Answer, len(entries))
	open, err := s.verify(ctx, entries, answers)
	if err != nil {
		return nil, err
	}
	if len(open) == 0 {
		return answers, nil
	}
	rest := make([]remote.Entry, len(open))
	for n, at := range open {
		rest[n] = entries[at]
	}
	sent, err := s.rest.Send(ctx, rest)
	if err != nil {
		return nil, err
	}
	if len(sent) != len(open) {
		return nil, fmt.Errorf("import: %d answers to %d entries", len(sent), len(open))
	}
	for n, at := range open {
		answers[at] = sent[n]
	}
	return answers, nil
}

// verify reads the resources that a job may have imported. It answers those that it knows about, and
// returns the others.
func (s *sender) verify(ctx context.Context, entries []remote.Entry, answers []remote.Answer) (open []int, err error) {
	var refs []fhirclient.Reference
	var of []int
	var types [fhir.NumTypes]bool
	for _, f := range s.i.journal.Files {
		if t, ok := fhir.ParseType(f.Type); ok {
			types[t] = true
		}
	}
	for n := range entries {
		e := &entries[n]
		if e.Deleted || e.There != (remote.There{}) || !types[e.Type] {
			open = append(open, n)
			continue
		}
		refs, of = append(refs, fhirclient.Reference{Type: e.Type.String(), ID: e.ID}), append(of, n)
	}
	if len(refs) == 0 {
		return open, nil
	}
	there, err := s.i.server.Read(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("import: read what was imported: %w", err)
	}
	if len(there) != len(refs) {
		return nil, fmt.Errorf("import: %d answers to %d reads", len(there), len(refs))
	}
	for k, n := range of {
		var done bool
		if answers[n], done, err = s.answer(&entries[n], &there[k]); err != nil {
			return nil, err
		}
		if !done {
			open = append(open, n)
		}
	}
	return open, nil
}

// answer says what became of an entry that the server answers so about; done is false if it must be sent.
func (s *sender) answer(e *remote.Entry, there *fhirclient.Answer) (a remote.Answer, done bool, err error) {
	if there.Status/100 != 2 {
		why := s.failures[fhir.Reference(e.Type, e.ID)]
		gone := there.Status == http.StatusNotFound || there.Status == http.StatusGone
		if why == nil || why.passes() || !gone {
			return a, false, nil
		}
		return remote.Answer{Fate: remote.Refused, Refusal: &pipeline.Refusal{
			Rule: pipeline.RuleServerRefused, Codes: why.Codes, Locations: why.Locations, Text: why.Text,
		}}, true, nil
	}
	want, err := remote.DigestOf(e.JSON, s.ignore, nil)
	if err != nil {
		return a, false, err
	}
	have, err := remote.DigestOf(there.JSON, s.ignore, nil)
	if err != nil || have != want {
		// Somebody has written it meanwhile: the loader finds out who, and decides.
		return remote.Answer{Fate: remote.Conflict}, true, nil //nolint:nilerr // what is there is not ours
	}
	return remote.Answer{Fate: remote.Stored, Version: there.Version}, true, nil
}

// has reports whether a resource was staged by this import. The first call reads the staged files.
func (s *staged) has(typ fhir.Type, id string) bool {
	s.once.Do(func() {
		s.ids = map[uint64]struct{}{}
		for n := range s.i.journal.Files {
			f := &s.i.journal.Files[n]
			// What cannot be read was not staged: it will count as there before, which is only less precise.
			_ = eachLine(s.i.local(f), func(_ int64, line []byte) error {
				s.ids[xxh3.HashString(f.Type+"/"+idOf(line))] = struct{}{}
				return nil
			})
		}
	})
	_, ok := s.ids[xxh3.HashString(fhir.Reference(typ, id))]
	return ok
}

// staged are the resources that an import has staged.
type staged struct {
	i    *Import
	once sync.Once
	ids  map[uint64]struct{}
}

// Landed is Options.Landed of package remote: it reports whether a resource that the server has was brought
// there by this import. It is safe for concurrent use.
func (i *Import) Landed() func(typ fhir.Type, id string) bool { return (&staged{i: i}).has }
