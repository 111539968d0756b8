package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// found is what a search finds, page by page, and what it includes.
type found struct {
	matches  []claimOfApp
	included map[string]json.RawMessage
	first    int // claims on the first page
}

type referenceOfApp struct{ Reference string }

// claimOfApp is what a test kit reads of a claim.
type claimOfApp struct {
	ID                string
	Meta              struct{ Profile []string }
	Outcome           string
	Provider, Insurer referenceOfApp
	CareTeam          []struct{ Provider referenceOfApp }
	Insurance         []struct{ Coverage referenceOfApp }
	Payee             struct{ Party referenceOfApp }
}

// find follows the links of a search.
func (s *served) find(search string) *found {
	s.t.Helper()
	f := &found{included: map[string]json.RawMessage{}}
	for next := "/" + search; next != ""; {
		var b struct {
			Link  []struct{ Relation, URL string }
			Entry []struct {
				FullURL  string
				Resource json.RawMessage
				Search   struct{ Mode string }
			}
		}
		if err := json.Unmarshal(s.get(next), &b); err != nil {
			s.t.Fatal(err)
		}
		for _, e := range b.Entry {
			if e.Search.Mode == "include" {
				f.included[strings.TrimPrefix(e.FullURL, s.base+"/")] = e.Resource
				continue
			}
			var c claimOfApp
			if err := json.Unmarshal(e.Resource, &c); err != nil {
				s.t.Fatal(err)
			}
			f.matches = append(f.matches, c)
		}
		if f.first == 0 {
			f.first = len(f.matches)
		}
		next = ""
		for _, l := range b.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}
	}
	return f
}

// TestServeTestKit proves that synthetic extracts have members with whom the test kit of the guide can work: it
// follows no links, and runs includes on the first claim that it finds. And that references are
// relative, and that a second load of the same changes nothing that an app sees.
func TestServeTestKit(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	b := newStreamBench(t, "--claims", "400", "--seed", "8")
	store := filepath.Join(b.dir, "batch")
	s := b.serve(t, store)
	good := 0
	for _, member := range s.find("Patient?_count=500").matches {
		f := s.find("ExplanationOfBenefit?patient=" + member.ID + "&_include=*")
		if len(f.matches) == 0 {
			continue
		}
		kinds, payees := map[string]bool{}, map[string]bool{}
		for _, c := range f.matches {
			kinds[c.Meta.Profile[0]] = true
			payees[c.Payee.Party.Reference] = true
			if c.Outcome != "complete" {
				t.Errorf("%s has the outcome %s", c.ID, c.Outcome)
			}
		}
		for _, c := range f.matches {
			delete(payees, c.Provider.Reference)
			for _, p := range c.CareTeam {
				delete(payees, p.Provider.Reference)
			}
		}
		for ref := range payees {
			if strings.HasPrefix(ref, "Organization/") {
				t.Errorf("only payees refer to %s: the kit does not expect it", ref)
			}
		}
		for ref, text := range f.included {
			for _, part := range strings.Split(string(text), `"reference":"`)[1:] {
				if to, _, _ := strings.Cut(part, `"`); strings.ContainsAny(to, ":#") || strings.Count(to, "/") != 1 {
					t.Errorf("%s refers to %s", ref, to)
				}
			}
		}
		c := f.matches[0]
		refs := []string{c.Provider.Reference, c.Insurer.Reference, c.Payee.Party.Reference}
		if len(c.CareTeam) > 0 && len(c.Insurance) > 0 {
			refs = append(refs, c.CareTeam[0].Provider.Reference, c.Insurance[0].Coverage.Reference, "Patient/"+member.ID)
		}
		all := len(refs) == 6
		for _, ref := range refs {
			all = all && f.included[ref] != nil
		}
		if all && len(kinds) == 5 && f.first == len(f.matches) {
			good++
		}
	}
	if good == 0 {
		t.Error("no member has each kind of claim on one page, and a first claim with all references")
	}
	for _, line := range strings.Split(string(b.want[claimsFile(t, b)]), "\n") {
		if strings.Contains(line, `"reference":"http`) {
			t.Fatalf("a reference is absolute: %.300s", line)
		}
	}
	search := "/ExplanationOfBenefit?_count=50&_include=*"
	before := withoutWatermark(t, s.get(search))
	b.run(t, "load", "--quiet", "--to", "store:"+store, b.extract)
	b.run(t, "load", "--quiet", "--start-over", "--to", "store:"+store, b.extract)
	if after := withoutWatermark(t, s.get(search)); after != before {
		t.Error("loads of the same extract change what the API answers")
	}
	s.stop()
}

func claimsFile(t *testing.T, b *streamBench) string {
	t.Helper()
	for name := range b.want {
		if strings.Contains(name, "ExplanationOfBenefit") {
			return name
		}
	}
	t.Fatal("the export has no claims")
	return ""
}

// withoutWatermark is a Bundle without the moment that it was made.
func withoutWatermark(t *testing.T, bundle []byte) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(bundle), `"type":"searchset"`)
	if !ok {
		t.Fatalf("no searchset: %.200s", bundle)
	}
	return rest
}
