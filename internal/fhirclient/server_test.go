package fhirclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirtest"
)

// against connects to a server for tests, and makes back-offs short.
func against(t *testing.T, s *fhirtest.Server, conf *Config, o *Options) *Client {
	t.Helper()
	c, _, err := connect(t.Context(), s.URL, conf, o)
	if err != nil {
		t.Fatal(err)
	}
	c.backoff = 2 * time.Millisecond
	return c
}

// organizations are writes of n resources of lane l.
func organizations(l, n int) []Write {
	list := make([]Write, n)
	for i := range list {
		id := fmt.Sprintf("o%d-%d", l, i)
		list[i] = Write{Reference: Reference{"Organization", id}, JSON: fmt.Appendf(nil, `{"resourceType":"Organization","id":%q,"name":"x"}`, id)}
	}
	return list
}

// Every fault in every third request, in four lanes at once: what is reported stored is there; everything
// arrives where equal content makes no version; and nothing has a second version, whatever the server.
func TestFaultMatrix(t *testing.T) {
	for _, fault := range fhirtest.Faults() {
		for _, versions := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, versions %v", fault.Name, versions), func(t *testing.T) {
				t.Parallel()
				o := &fhirtest.Options{EqualMakesVersion: versions}
				conf := &Config{Entries: 10}
				options := &Options{}
				if versions {
					o.Software = "Another Server"
				}
				if fault.Name == fhirtest.ExpireTokens().Name {
					o.Auth = &fhirtest.Auth{Secrets: map[string]string{"us": "s"}}
					conf.Auth = Auth{Type: "client-secret", ClientID: "us", Secret: "env:S"}
					options.Environment = func(string) string { return "s" }
				}
				s := fhirtest.Start(t, o)
				c := against(t, s, conf, options)
				s.Inject(fhirtest.Every(often(fault, 3), fhirtest.Data), fault)
				var mu sync.Mutex
				stored := map[string]bool{}
				lost := 0
				var group sync.WaitGroup
				for lane := range 4 {
					group.Go(func() {
						list := organizations(lane, 40)
						for i := 0; i < len(list); i += 10 {
							kind := []string{"transaction", "batch"}[i/10%2]
							answers, err := c.Send(t.Context(), kind, list[i:i+10])
							for again := 0; again < 5 && !versions && split(answers, err); again++ {
								answers, err = c.Send(t.Context(), kind, list[i:i+10])
							}
							mu.Lock()
							if e, ok := errors.AsType[*Error](err); err != nil && (!versions || !ok || !e.Unknown) {
								t.Errorf("%v", err)
							}
							if err != nil {
								lost += 10
							}
							for k, a := range answers {
								stored[list[i+k].String()] = a.Stored()
								if !a.Stored() {
									lost++
									if a.Meaning != Unclear && a.Meaning != Split {
										t.Errorf("%+v", a)
									}
								}
							}
							mu.Unlock()
						}
					})
				}
				group.Wait()
				there := s.Resources()
				for ref, ok := range stored {
					if _, is := there[ref]; ok && !is {
						t.Errorf("%s is reported stored, and is not there", ref)
					}
				}
				if !versions && (lost > 0 || len(there) != 160) {
					t.Errorf("%d are there, %d without a good answer", len(there), lost)
				}
				for ref, r := range there {
					if r.Version != "1" {
						t.Errorf("%s has version %s", ref, r.Version)
					}
				}
				if c.limiter.under != 0 {
					t.Errorf("%d places are lost", c.limiter.under)
				}
			})
		}
	}
}

// often is in every how many requests a fault happens. Those that hit all lanes at once are rarer.
func often(f fhirtest.Fault, n int) int {
	switch f.Name {
	case fhirtest.ExpireTokens().Name, fhirtest.ThrottleUntil(0).Name: // a date is a second from now at least
		return 9
	}
	return n
}

// split reports whether a client has given up after many attempts, and leaves the rest to its caller.
func split(answers []Answer, err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Meaning == Split || slices.ContainsFunc(answers, func(a Answer) bool { return a.Meaning == Split || a.Meaning == Unclear })
}

// Reads, listings and counts survive every fault in every other request.
func TestReadsThroughFaults(t *testing.T) {
	for _, fault := range fhirtest.Faults() {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			o := &fhirtest.Options{MaxPage: 7}
			conf, options := &Config{Entries: 9}, &Options{}
			if fault.Name == fhirtest.ExpireTokens().Name {
				o.Auth = &fhirtest.Auth{Secrets: map[string]string{"us": "s"}}
				conf.Auth = Auth{Type: "client-secret", ClientID: "us", Secret: "env:S"}
				options.Environment = func(string) string { return "s" }
			}
			s := fhirtest.Start(t, o)
			c := against(t, s, conf, options)
			list := organizations(0, 40)
			if _, err := c.Send(t.Context(), "", list); err != nil {
				t.Fatal(err)
			}
			s.Inject(fhirtest.Every(often(fault, 2), fhirtest.Data), fault)
			refs := []Reference{{"Organization", "none"}}
			for _, w := range list {
				refs = append(refs, w.Reference)
			}
			got, err := c.Read(t.Context(), refs)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range got {
				if i == 0 && a.Status != 404 || i > 0 && (a.Status != 200 || a.Location != refs[i] || a.Version != "1") {
					t.Errorf("%s: %+v", refs[i], a)
				}
			}
			n := 0
			if err := c.Each(t.Context(), "Organization", nil, func(string, string, json.RawMessage) error { n++; return nil }); err != nil || n != 40 {
				t.Errorf("Each: %d, %v", n, err)
			}
			if n, err := c.Count(t.Context(), "Organization"); n != 40 || err != nil {
				t.Errorf("Count: %d, %v", n, err)
			}
		})
	}
}

// V10: however a server says that it has another version.
func TestConflicts(t *testing.T) {
	for _, as412 := range []bool{false, true} {
		s := fhirtest.Start(t, &fhirtest.Options{Stale412: as412})
		c := against(t, s, nil, nil)
		list := organizations(0, 2)
		for _, version := range []string{"", "1"} {
			list[0].JSON = fmt.Appendf(nil, `{"resourceType":"Organization","id":%q,"name":"y%s"}`, list[0].ID, version)
			list[0].IfMatch = version
			if got, err := c.Send(t.Context(), "transaction", list); err != nil || !got[0].Stored() {
				t.Fatalf("%+v %v", got, err)
			}
		}
		list[0].JSON = []byte(`{"resourceType":"Organization","id":"o0-0","name":"z"}`)
		got, err := c.Send(t.Context(), "batch", list)
		if err != nil || got[0].Meaning != Conflict || !got[1].Stored() {
			t.Errorf("%+v %v", got, err)
		}
		_, err = c.Send(t.Context(), "transaction", list)
		if e, ok := errors.AsType[*Error](err); !ok || e.Meaning != Conflict {
			t.Errorf("%v", err)
		}
		if r := s.Resources()["Organization/o0-0"]; r.Version != "2" {
			t.Errorf("%+v", r)
		}
	}
}

// V41: what is deleted already is deleted.
func TestDeletions(t *testing.T) {
	for _, again := range []int{0, 404, 410} {
		s := fhirtest.Start(t, &fhirtest.Options{DeleteAgain: again})
		c := against(t, s, nil, nil)
		list := organizations(0, 2)
		if _, err := c.Send(t.Context(), "", list); err != nil {
			t.Fatal(err)
		}
		gone := []Write{{Reference: list[0].Reference}, {Reference: list[1].Reference}}
		for i := range 2 {
			got, err := c.Send(t.Context(), "batch", gone)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range got {
				if !a.Stored() && (i == 0 || a.Meaning != Absent) {
					t.Errorf("%d: %+v", i, a)
				}
			}
		}
		if len(s.Resources()) != 0 {
			t.Error("something is left")
		}
	}
}

// V6, V1: a server that gives ids finds resources by an identifier, and says which id it gave.
func TestConditional(t *testing.T) {
	s := fhirtest.Start(t, &fhirtest.Options{Software: "medplum", AssignIDs: true})
	c := against(t, s, nil, nil)
	if c.Settings().IDs != "conditional" {
		t.Errorf("%+v", c.Settings())
	}
	w := Write{Reference: Reference{Type: "Organization"}, Search: "identifier=urn:x|a", JSON: []byte(`{"resourceType":"Organization","identifier":[{"system":"urn:x","value":"a"}],"name":"n"}`)}
	first, err := c.Send(t.Context(), "", []Write{w})
	if err != nil || !first[0].Stored() || first[0].Location.ID == "" {
		t.Fatalf("%+v %v", first, err)
	}
	w.JSON = []byte(`{"resourceType":"Organization","identifier":[{"system":"urn:x","value":"a"}],"name":"m"}`)
	second, err := c.Send(t.Context(), "", []Write{w})
	if err != nil || second[0].Location != first[0].Location || second[0].Version != "2" {
		t.Errorf("%+v %v", second, err)
	}
	found, err := c.Find(t.Context(), "Organization", "identifier=urn:x|a")
	if err != nil || len(found) != 1 || found[0].Location != first[0].Location {
		t.Errorf("%+v %v", found, err)
	}
}

// V23, V24: at the limit and one above it.
func TestServersLimits(t *testing.T) {
	s := fhirtest.Start(t, &fhirtest.Options{MaxEntries: 5, MaxBytes: 2000})
	c := against(t, s, nil, nil)
	if got, err := c.Send(t.Context(), "", organizations(0, 5)); err != nil || !got[4].Stored() {
		t.Errorf("%+v %v", got, err)
	}
	large := organizations(0, 1)
	large[0].JSON = fmt.Appendf(nil, `{"resourceType":"Organization","id":"o0-0","name":%q}`, fmt.Sprintf("%02000d", 1))
	for _, list := range [][]Write{organizations(0, 6), large} {
		_, err := c.Send(t.Context(), "", list)
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 413 || e.Meaning != Split || e.Retriable || e.Unknown {
			t.Errorf("%v", err)
		}
	}
}

// V39: counts and listings are what is stored, while a server remembers searches.
func TestNoCache(t *testing.T) {
	s := fhirtest.Start(t, &fhirtest.Options{SearchCache: time.Hour})
	c := against(t, s, nil, nil)
	for i := range 3 {
		if _, err := c.Send(t.Context(), "", organizations(i, 5)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Count(t.Context(), "Organization"); n != int64(i+1)*5 || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
}

// V26: a connection that the server has closed meanwhile is no failure.
func TestIdleConnections(t *testing.T) {
	s := fhirtest.Start(t, nil)
	c := against(t, s, nil, nil)
	s.Inject(fhirtest.Always, fhirtest.CloseIdle(time.Millisecond))
	for i := range 5 {
		if _, err := c.Send(t.Context(), "", organizations(i, 2)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
