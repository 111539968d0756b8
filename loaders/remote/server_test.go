package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// server is a FHIR server in memory, and a Sender into it: each write is done or refused as HAPI does.
type server struct {
	mu       sync.Mutex
	settings fhirclient.Settings
	have     map[string]*kept // by Type/id of the server
	made     int              // ids

	writes, reads int
	sends         int
	bad           map[string]bool // our Type/id that it refuses
	taken         map[string]bool // our Type/id whose content must not be there twice: a conflict, and yet nobody's edit
	sloppy        bool            // equal content is a new version
	silent        bool            // it does not say which version it has stored
	lacks         string          // begins the names of what it cannot read

	// before and after are called in Send; an error loses the request, or the answer.
	before, after func(send int, entries []Entry) error
	counts        func(typ string) (int64, error)
}

// kept is a resource as the server has it; no json is a deletion.
type kept struct {
	json    []byte
	version int
	history []string // the digest of each version
}

func newServer() *server {
	return &server{have: map[string]*kept{}, bad: map[string]bool{}}
}

var errLost = errors.New("the answer is lost")

func (s *server) Settings() fhirclient.Settings { return s.settings }

func (s *server) conditional() bool { return s.settings.IDs == idsOfServer }

func (s *server) Read(ctx context.Context, refs []fhirclient.Reference) ([]fhirclient.Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]fhirclient.Answer, len(refs))
	for i, r := range refs {
		s.reads++
		out[i] = s.answer(r)
	}
	return out, nil
}

func (s *server) answer(r fhirclient.Reference) fhirclient.Answer {
	k := s.have[r.String()]
	switch {
	case s.lacks != "" && strings.HasPrefix(r.String(), s.lacks):
		return fhirclient.Answer{Status: 400}
	case k == nil:
		return fhirclient.Answer{Status: 404}
	case k.json == nil:
		return fhirclient.Answer{Status: 410}
	}
	return fhirclient.Answer{Status: 200, Location: r, Version: strconv.Itoa(k.version), JSON: s.served(k, r.ID)}
}

// served is a resource as HAPI serves it: with a meta of its own.
func (s *server) served(k *kept, id string) []byte {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(k.json, &m); err != nil {
		panic(err)
	}
	meta := map[string]json.RawMessage{}
	if m["meta"] != nil {
		if err := json.Unmarshal(m["meta"], &meta); err != nil {
			panic(err)
		}
	}
	meta["versionId"] = json.RawMessage(strconv.Quote(strconv.Itoa(k.version)))
	meta["lastUpdated"] = json.RawMessage(`"2031-01-01T00:00:00.000Z"`)
	meta["source"] = json.RawMessage(`"#abc"`)
	m["id"] = json.RawMessage(strconv.Quote(id))
	m["meta"], _ = json.Marshal(meta)
	out, _ := json.MarshalIndent(m, "", "  ")
	return out
}

func (s *server) Find(_ context.Context, typ, query string) ([]fhirclient.Answer, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []fhirclient.Answer
	for name, k := range s.have {
		t, id, _ := strings.Cut(name, "/")
		if t != typ || k.json == nil {
			continue
		}
		for _, token := range strings.Split(values.Get("identifier"), ",") {
			if token == IdentifierSystem+"|"+idOf(k.json) {
				out = append(out, s.answer(fhirclient.Reference{Type: typ, ID: id}))
			}
		}
	}
	return out, nil
}

func (s *server) Count(_ context.Context, typ string) (int64, error) {
	if s.counts != nil {
		return s.counts(typ)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(0)
	for name, k := range s.have {
		if strings.HasPrefix(name, typ+"/") && k.json != nil {
			n++
		}
	}
	return n, nil
}

func (s *server) Send(ctx context.Context, entries []Entry) ([]Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.sends++
	n := s.sends
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(n, entries); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answers := make([]Answer, len(entries))
	for i := range entries {
		if answers[i] = s.write(&entries[i]); s.silent {
			answers[i].Version = ""
		}
	}
	if s.after != nil {
		if err := s.after(n, entries); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (s *server) write(e *Entry) Answer {
	if s.bad[fhir.Reference(e.Type, e.ID)] {
		return Answer{Fate: Refused}
	}
	if s.taken[fhir.Reference(e.Type, e.ID)] {
		return Answer{Fate: Conflict, Refusal: &pipeline.Refusal{Rule: pipeline.RuleServerRefused, Status: 409}}
	}
	id := e.ID
	if s.conditional() {
		id = e.There.ID
		if id == "" && !e.Deleted {
			id = s.findOrMake(e)
		}
	}
	name := fhir.Reference(e.Type, id)
	k := s.have[name]
	if s.settings.IfMatch && e.There.Version != "" && k != nil && strconv.Itoa(k.version) != e.There.Version {
		return Answer{Fate: Conflict}
	}
	if e.Deleted {
		if k != nil && k.json != nil {
			s.writes++
			k.json, k.version = nil, k.version+1
		}
		return Answer{Fate: Stored}
	}
	sum, err := DigestOf(e.JSON, nil, nil)
	if err != nil {
		panic(err)
	}
	if k == nil {
		k = &kept{}
		s.have[name] = k
	}
	if k.json != nil && !s.sloppy && k.history[len(k.history)-1] == string(sum[:]) {
		return Answer{Fate: Stored, Version: strconv.Itoa(k.version), ID: s.given(id)}
	}
	s.writes++
	k.version++
	k.json, k.history = slices.Clone(e.JSON), append(k.history, string(sum[:]))
	return Answer{Fate: Stored, Version: strconv.Itoa(k.version), ID: s.given(id)}
}

func (s *server) given(id string) string {
	if s.conditional() {
		return id
	}
	return ""
}

func (s *server) findOrMake(e *Entry) string {
	own := idOf(e.JSON)
	if own != e.ID {
		panic("the identifier is not our id")
	}
	for name, k := range s.have {
		if typ, id, _ := strings.Cut(name, "/"); typ == e.Type.String() && k.json != nil && idOf(k.json) == own {
			return id
		}
	}
	s.made++
	return fmt.Sprintf("s%d", s.made)
}

// edit is somebody else's write.
func (s *server) edit(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.have[name]
	if k == nil {
		k = &kept{}
		s.have[name] = k
	}
	k.version++
	k.json, k.history = []byte(text), append(k.history, "somebody else's")
}

// contents are the resources that are there, each with its version.
func (s *server) contents(t *testing.T) map[string]string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for name, k := range s.have {
		if k.json != nil {
			var v any
			if err := json.Unmarshal(k.json, &v); err != nil {
				t.Fatal(err)
			}
			text, _ := json.Marshal(v)
			out[name] = fmt.Sprintf("%d %s", k.version, text)
		}
	}
	return out
}
