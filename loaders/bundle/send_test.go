package bundle_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/loaders/bundle"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// bed is a server with a sender.
type bed struct {
	*fhirtest.Server
	client fhirclient.Server
	sender *bundle.Sender
}

func newBed(t *testing.T, o *fhirtest.Options, c *fhirclient.Config) *bed {
	t.Helper()
	s := fhirtest.Start(t, o)
	if c == nil {
		c = &fhirclient.Config{}
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Second
	}
	client, _, err := fhirclient.Connect(t.Context(), s.URL, c, &fhirclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &bed{Server: s, client: client, sender: bundle.New(client)}
}

func entry(typ fhir.Type, id, rest string) remote.Entry {
	return remote.Entry{Type: typ, ID: id, JSON: fmt.Appendf(nil, `{"resourceType":"%s","id":"%s"%s}`, typ, id, rest)}
}

func patient(id string) remote.Entry { return entry(fhir.Patient, id, `,"name":[{"text":"`+id+`"}]`) }

func patients(n int) (list []remote.Entry) {
	for i := range n {
		list = append(list, patient(fmt.Sprintf("p%d", i)))
	}
	return list
}

func coverage(id, patient string) remote.Entry {
	return entry(fhir.Coverage, id, `,"status":"active","beneficiary":{"reference":"Patient/`+patient+`"},"payor":[{"reference":"Organization/o"}]`)
}

// send sends entries and gives the answers as words: stored, refused by a rule, conflict.
func (b *bed) send(t *testing.T, entries ...remote.Entry) ([]remote.Answer, []string) {
	t.Helper()
	answers, err := b.sender.Send(t.Context(), entries)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	var words []string
	for _, a := range answers {
		switch a.Fate {
		case remote.Stored:
			words = append(words, "stored")
		case remote.Conflict:
			words = append(words, "conflict")
		case remote.Refused:
			words = append(words, a.Refusal.Rule)
		}
	}
	return answers, words
}

func (b *bed) wants(t *testing.T, entries []remote.Entry, want ...string) []remote.Answer {
	t.Helper()
	answers, got := b.send(t, entries...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("answers (-want +got):\n%s", diff)
	}
	return answers
}

// truth fails the test unless exactly what was answered as stored is on the server, in one version each.
func (b *bed) truth(t *testing.T, entries []remote.Entry, answers []remote.Answer) {
	t.Helper()
	there := b.Resources()
	for i, e := range entries {
		ref := e.Type.String() + "/" + e.ID
		_, is := there[ref]
		if want := answers[i].Fate == remote.Stored; is != want {
			t.Errorf("%s is on the server: %v, its answer is %v", ref, is, answers[i].Fate)
		}
		if n := len(b.Versions(ref)); n > 1 {
			t.Errorf("%s has %d versions", ref, n)
		}
		if is && answers[i].Version != there[ref].Version {
			t.Errorf("%s has version %s, the answer says %q", ref, there[ref].Version, answers[i].Version)
		}
	}
}

// bundles counts the bundles with writes by their kind.
func (b *bed) bundles() map[string]int {
	n := map[string]int{}
	for _, r := range b.Requests() {
		if fhirtest.Writes(&r) {
			n[r.Bundle]++
		}
	}
	return n
}

func repeat(n int, word string) []string { return slices.Repeat([]string{word}, n) }

const storedWord = "stored"

func TestOrderWithIntegrity(t *testing.T) {
	b := newBed(t, &fhirtest.Options{Integrity: true}, nil)
	entries := []remote.Entry{
		entry(fhir.ExplanationOfBenefit, "e", `,"patient":{"reference":"Patient/p"},"insurance":[{"focal":true,"coverage":{"reference":"Coverage/c"}}]`),
		coverage("c", "p"), patient("p"), entry(fhir.Organization, "o", ""), entry(fhir.Practitioner, "d", ""),
		entry(fhir.RelatedPerson, "r", `,"patient":{"reference":"Patient/p"}`),
	}
	b.truth(t, entries, b.wants(t, entries, repeat(6, storedWord)...))

	for i := range entries {
		entries[i].Deleted, entries[i].JSON = true, nil
	}
	b.wants(t, entries, repeat(6, storedWord)...)
	if n := len(b.Resources()); n != 0 {
		t.Errorf("%d resources are left", n)
	}
	b.wants(t, entries, repeat(6, storedWord)...) // 404, 410: gone is gone
}

func TestDeletionOfWhatOthersReferTo(t *testing.T) {
	for _, ifMatch := range []string{"", "1", "7"} {
		t.Run("If-Match "+ifMatch, func(t *testing.T) {
			b := newBed(t, &fhirtest.Options{Integrity: true, DeleteIfMatch: true}, nil)
			b.wants(t, []remote.Entry{patient("p"), entry(fhir.Organization, "o", ""), coverage("c", "p")}, repeat(3, storedWord)...)
			gone := remote.Entry{Type: fhir.Patient, ID: "p", Deleted: true, There: remote.There{Version: ifMatch}}
			want := pipeline.RuleServerRefused
			if ifMatch == "7" {
				want = "conflict"
			}
			b.wants(t, []remote.Entry{gone}, want)
		})
	}
}

// servers are the ways in which servers take bundles.
var servers = map[string]struct {
	options fhirtest.Options
	config  fhirclient.Config
}{
	"transaction":          {},
	"batch":                {config: fhirclient.Config{Bundle: "batch"}},
	"batch fails whole":    {fhirtest.Options{BatchFailsWhole: true}, fhirclient.Config{Bundle: "batch"}},
	"both fail whole":      {fhirtest.Options{BatchFailsWhole: true}, fhirclient.Config{}},
	"transaction as batch": {options: fhirtest.Options{TransactionAsBatch: true}},
	"no transactions":      {options: fhirtest.Options{NoTransaction: true}},
	"another server":       {options: fhirtest.Options{Software: "Another", EqualMakesVersion: true, Stale412: true}},
}

func TestOneRefusedOfMany(t *testing.T) {
	const n = 7
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			for bad := range n {
				b := newBed(t, &s.options, &s.config)
				b.Refuse(func(_, id string, _ map[string]any) bool { return id == fmt.Sprintf("p%d", bad) })
				entries := patients(n)
				want := repeat(n, storedWord)
				want[bad] = pipeline.RuleServerRefused
				answers := b.wants(t, entries, want...)
				b.truth(t, entries, answers)
				r := answers[bad].Refusal
				if r.Status/100 != 4 || len(r.Codes) == 0 || r.Text == "" {
					t.Errorf("the refusal is %+v", r)
				}
			}
		})
	}
}

func TestManyRefused(t *testing.T) {
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, &s.options, &s.config)
			bad := func(i int) bool { return i%3 == 0 || i > 90 }
			b.Refuse(func(_, id string, _ map[string]any) bool {
				var i int
				_, err := fmt.Sscanf(id, "p%d", &i)
				return err == nil && bad(i)
			})
			entries := patients(230)
			want := repeat(230, storedWord)
			for i := range want {
				if bad(i) {
					want[i] = pipeline.RuleServerRefused
				}
			}
			b.truth(t, entries, b.wants(t, entries, want...))
		})
	}
}

func TestUnparsableValueFailsBatchesWhole(t *testing.T) {
	b := newBed(t, nil, nil)
	entries := patients(100)
	entries[41] = entry(fhir.Patient, "p41", `,"birthDate":"17.3.1950"`)
	want := repeat(100, storedWord)
	want[41] = pipeline.RuleServerRefused
	b.truth(t, entries, b.wants(t, entries, want...))
	if n := len(b.Requests()); n > 30 {
		t.Errorf("%d requests to find one of 100", n)
	}
}

func TestServerWithoutTransactionsIsRemembered(t *testing.T) {
	b := newBed(t, &fhirtest.Options{NoTransaction: true}, &fhirclient.Config{Bundle: "transaction", Entries: 10, Concurrency: 1})
	entries := patients(100)
	b.truth(t, entries, b.wants(t, entries, repeat(100, storedWord)...))
	if diff := cmp.Diff(map[string]int{"transaction": 3, "batch": 10}, b.bundles()); diff != "" {
		t.Errorf("bundles (-want +got):\n%s", diff)
	}
}

func TestRefusedIsNotReferredTo(t *testing.T) {
	b := newBed(t, nil, nil) // without integrity the server would keep the references
	b.Refuse(func(_, id string, _ map[string]any) bool { return id == "p1" || id == "p2" })
	old := patient("p2")
	old.There = remote.There{Version: "1"} // an earlier version stays there
	claim := func(id, patient, coverage string) remote.Entry {
		return entry(fhir.ExplanationOfBenefit, id, `,"patient": {"reference" : "Patient/`+patient+`"},"insurance":[{"coverage":{"reference":"Coverage/`+coverage+`"}}]`)
	}
	entries := []remote.Entry{
		claim("e0", "p0", "c0"), claim("e1", "p1", "c1"), claim("e1b", "p0", "c1"), claim("e2", "p2", "c2"),
		coverage("c0", "p0"), coverage("c1", "p1"), coverage("c2", "p2"), patient("p0"), patient("p1"), old,
	}
	b.Put(`{"resourceType":"Patient","id":"p2"}`)
	gone := pipeline.RuleReferenceGone
	b.wants(t, entries, storedWord, gone, gone, storedWord, storedWord, gone, storedWord, storedWord, pipeline.RuleServerRefused, pipeline.RuleServerRefused)
	for _, ref := range []string{"ExplanationOfBenefit/e1", "ExplanationOfBenefit/e1b", "Coverage/c1"} {
		if len(b.Versions(ref)) > 0 {
			t.Errorf("%s was sent", ref)
		}
	}
}

func TestDanglingReference(t *testing.T) {
	for name, s := range servers {
		if s.options.Software != "" { // its profile does not know how it says that
			continue
		}
		t.Run(name, func(t *testing.T) {
			o := s.options
			o.Integrity = true
			b := newBed(t, &o, &s.config)
			b.wants(t, []remote.Entry{entry(fhir.Organization, "o", ""), patient("p"), coverage("c", "p"), coverage("d", "nobody")},
				storedWord, storedWord, storedWord, pipeline.RuleReferenceGone)
		})
	}
}

func TestTooLarge(t *testing.T) {
	large := entry(fhir.Patient, "large", `,"name":[{"text":"`+strings.Repeat("x", 9000)+`"}]`)
	entries := append(patients(40), large)
	want := append(repeat(40, storedWord), pipeline.RuleTooLarge)
	t.Run("known", func(t *testing.T) {
		b := newBed(t, nil, &fhirclient.Config{Concurrency: 1})
		b.client = limited{b.client, 8000}
		b.sender = bundle.New(b.client)
		b.truth(t, entries, b.wants(t, entries, want...))
		for _, r := range b.Requests() {
			if slices.Contains(r.Entries, "PUT Patient/large") {
				t.Error("what is known to be too large was sent")
			}
		}
	})
	for name, o := range map[string]fhirtest.Options{"bundle": {MaxBytes: 8000}, "resource": {MaxResource: 8000}} {
		t.Run("found out by the "+name, func(t *testing.T) {
			b := newBed(t, &o, nil)
			answers, got := b.send(t, entries...)
			want := slices.Clone(want)
			if name == "resource" { // 422 with a text
				want[40] = got[40]
			}
			if diff := cmp.Diff(want, got); diff != "" || got[40] == storedWord {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			b.truth(t, entries, answers)
		})
	}
}

// limited is a server whose resources must not be larger.
type limited struct {
	fhirclient.Server
	most int
}

func (l limited) Settings() fhirclient.Settings {
	s := l.Server.Settings()
	s.ResourceMax = l.most
	return s
}

func TestBundlesWithinLimits(t *testing.T) {
	const entriesMost, bytesMost = 25, 60_000
	b := newBed(t, &fhirtest.Options{MaxEntries: entriesMost, MaxBytes: bytesMost}, &fhirclient.Config{Entries: entriesMost, Bytes: bytesMost})
	var entries []remote.Entry
	for i := range 200 {
		entries = append(entries, entry(fhir.Patient, fmt.Sprintf("p%d", i), `,"name":[{"text":"`+strings.Repeat("x", 40*i)+`"}]`))
	}
	b.truth(t, entries, b.wants(t, entries, repeat(200, storedWord)...))
	for _, r := range b.Requests() {
		if r.Status == http.StatusRequestEntityTooLarge {
			t.Fatalf("a bundle of %d entries and %d bytes is too large", len(r.Entries), r.Bytes)
		}
	}
}

func TestSmallerLimitsThanExpected(t *testing.T) {
	b := newBed(t, &fhirtest.Options{MaxEntries: 10}, nil)
	entries := patients(100)
	b.truth(t, entries, b.wants(t, entries, repeat(100, storedWord)...))
}

func TestConflicts(t *testing.T) {
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, &s.options, &s.config)
			entries := patients(5)
			b.wants(t, entries, repeat(5, storedWord)...)
			b.Edit("Patient/p2", func(r map[string]any) { r["active"] = true })
			for i := range entries {
				entries[i] = entry(fhir.Patient, entries[i].ID, `,"active":false`)
				entries[i].There.Version = "1"
			}
			want := repeat(5, storedWord)
			want[2] = "conflict"
			b.wants(t, entries, want...)
			if v := b.Resources()["Patient/p2"].Version; v != "2" {
				t.Errorf("somebody else's edit is overwritten: version %s", v)
			}
		})
	}
}

func TestSameResourceTwice(t *testing.T) {
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, &s.options, &s.config)
			first, second := entry(fhir.Patient, "p", `,"active":false`), entry(fhir.Patient, "p", `,"active":true`)
			b.wants(t, []remote.Entry{first, patient("q"), second}, repeat(3, storedWord)...)
			if v := b.Versions("Patient/p"); len(v) != 2 || !strings.Contains(v[1].JSON, "true") {
				t.Errorf("the versions are %v", v)
			}
			for _, r := range b.Requests() {
				list := slices.Sorted(slices.Values(r.Entries))
				if len(slices.Compact(list)) != len(r.Entries) {
					t.Errorf("a bundle has a resource twice: %v", r.Entries)
				}
			}
		})
	}
}

func TestIDsOfServer(t *testing.T) {
	b := newBed(t, &fhirtest.Options{AssignIDs: true}, &fhirclient.Config{IDs: "conditional"})
	named := func(id string) remote.Entry {
		return remote.Entry{Type: fhir.Patient, ID: id, JSON: fmt.Appendf(nil, `{"resourceType":"Patient","identifier":[{"system":"%s","value":"%s"}]}`, remote.IdentifierSystem, id)}
	}
	entries := []remote.Entry{named("a"), named("b")}
	answers := b.wants(t, entries, storedWord, storedWord)
	for i, a := range answers {
		found := b.Find("Patient", remote.IdentifierSystem, entries[i].ID)
		if len(found) != 1 || a.ID == "" || a.ID != found[0].ID {
			t.Errorf("%s is %v on the server, the answer says %q", entries[i].ID, found, a.ID)
		}
	}
	again := b.wants(t, entries, storedWord, storedWord)
	if again[0].ID != answers[0].ID {
		t.Error("sent again, it is another resource")
	}
	known := remote.Entry{Type: fhir.Patient, ID: "a", Deleted: true, There: remote.There{ID: answers[0].ID}}
	lost := remote.Entry{Type: fhir.Patient, ID: "b", Deleted: true}
	never := remote.Entry{Type: fhir.Patient, ID: "c", Deleted: true}
	b.wants(t, []remote.Entry{known, lost, never}, repeat(3, storedWord)...)
	if n := len(b.Resources()); n != 0 {
		t.Errorf("%d resources are left", n)
	}
}

// Whatever goes wrong once, at whichever request: Send finds out the truth of each entry. TestAcceptance does this
// with more kinds of servers.
func TestFaults(t *testing.T) {
	for _, name := range []string{"both fail whole", "another server"} {
		s := servers[name]
		t.Run(name, func(t *testing.T) {
			var wait sync.WaitGroup
			for _, fault := range fhirtest.Faults() {
				wait.Go(func() { // most of the time they wait
					t.Run(fault.Name, func(t *testing.T) {
						var each sync.WaitGroup
						for i := range 4 {
							each.Go(func() {
								for n := 1 + i; oneFault(t, &s.options, s.config.Bundle, n, fault); n += 4 {
								}
							})
						}
						each.Wait()
					})
				})
			}
			wait.Wait()
		})
	}
}

// oneFault sends entries while the ith request meets a fault. It reports whether there were so many requests.
func oneFault(t *testing.T, o *fhirtest.Options, kind string, i int, fault fhirtest.Fault) bool {
	t.Helper()
	b := newBed(t, o, &fhirclient.Config{Bundle: kind, Entries: 3, Concurrency: 2, Patience: 10 * time.Second, Timeout: 10 * time.Second})
	b.Refuse(func(_, id string, _ map[string]any) bool { return id == "p4" })
	before := len(b.Requests())
	b.Inject(fhirtest.Nth(i, fhirtest.Data), fault)
	entries := patients(9)
	answers, err := b.sender.Send(t.Context(), entries)
	if err != nil {
		if errors.Is(err, fhirclient.ErrAuthentication) && fault.Name == "expired token" {
			return false // there is nothing to renew
		}
		t.Errorf("the %dth request: %v", i, err)
		return false
	}
	b.truth(t, entries, answers)
	if answers[4].Fate != remote.Refused {
		t.Errorf("what the server refuses is %v", answers[4].Fate)
	}
	return len(b.Requests())-before >= i
}

func TestServerThatFailsOnOneEntry(t *testing.T) {
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, &s.options, &fhirclient.Config{Bundle: s.config.Bundle, Patience: 20 * time.Second})
			b.Inject(func(r *fhirtest.Request) bool { return slices.Contains(r.Entries, "PUT Patient/p2") }, fhirtest.Status(500))
			entries := patients(4)
			answers := b.wants(t, entries, storedWord, storedWord, pipeline.RuleServerRefused, storedWord)
			b.truth(t, entries, answers)
			if answers[2].Refusal.Status != 500 {
				t.Errorf("the refusal is %+v", answers[2].Refusal)
			}
		})
	}
}

// What is no fault of the resources must not make rejects of them.
func TestServerThatFails(t *testing.T) {
	for _, status := range []int{401, 403, 500, 502, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, nil, &fhirclient.Config{Patience: 300 * time.Millisecond})
			b.Inject(fhirtest.Writes, fhirtest.Status(status))
			answers, err := b.sender.Send(t.Context(), patients(2))
			if err == nil {
				t.Fatalf("Send answers %+v", answers)
			}
			if status < 500 && !errors.Is(err, fhirclient.ErrAuthentication) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	b := newBed(t, nil, &fhirclient.Config{Entries: 2})
	b.Inject(fhirtest.Writes, fhirtest.Hang())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.sender.Send(ctx, patients(20)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send returns %v", err)
	}
}
