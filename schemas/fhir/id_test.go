package fhir_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strings"
	"sync"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

// TestIDIsTheHMAC makes an id by the book: ids must stay the same for as long as
// their key does, whatever becomes of the code.
func TestIDIsTheHMAC(t *testing.T) {
	id := fhir.NewIdentity([]byte("key"))
	m := hmac.New(sha256.New, []byte("key"))
	m.Write([]byte("p\x1fcpcds\x1fM1"))
	want := "p" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(m.Sum(nil)[:16]))
	if got := id.Raw(fhir.Patient, "cpcds", "M1").ID(fhir.Patient); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := id.Raw(fhir.Patient, "cpcds", "M1").Reference(fhir.Patient); got != "Patient/"+want {
		t.Errorf("the reference is %s, want Patient/%s", got, want)
	}
}

func TestIDsDiffer(t *testing.T) {
	form := regexp.MustCompile(`^[orpxce][a-z2-7]{26}$`)
	id := fhir.NewIdentity([]byte("key"))
	other := fhir.NewIdentity([]byte("another key"))
	seen := map[string]string{}
	add := func(what, got string) {
		t.Helper()
		if !form.MatchString(got) || len(got) != fhir.IDLen {
			t.Errorf("%s: the id %s has another form", what, got)
		}
		if first, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same id", first, what)
		}
		seen[got] = what
	}
	for typ := range fhir.NumTypes {
		add(typ.String(), id.Raw(typ, "cpcds", "1").ID(typ))
	}
	add("another source", id.Raw(fhir.Patient, "synthea", "1").ID(fhir.Patient))
	add("another key", other.Raw(fhir.Patient, "cpcds", "1").ID(fhir.Patient))
	add("parts joined", id.Raw(fhir.Patient, "cpcds1").ID(fhir.Patient))
	add("parts cut elsewhere", id.Raw(fhir.Patient, "cpcd", "s1").ID(fhir.Patient))
	add("an empty part", id.Raw(fhir.Patient, "cpcds", "", "1").ID(fhir.Patient))
}

func TestIdentityKeepsItsKey(t *testing.T) {
	key := []byte("key")
	id := fhir.NewIdentity(key)
	want := id.Raw(fhir.Patient, "1").ID(fhir.Patient)
	copy(key, "xxx")
	if got := id.Clone().Raw(fhir.Patient, "1").ID(fhir.Patient); got != want {
		t.Error("the identity changes with the caller's bytes")
	}
	if got := id.Raw(fhir.Patient, "1").ID(fhir.Patient); got != want {
		t.Error("the same key and parts give another id")
	}
}

func TestClonesRunTogether(t *testing.T) {
	id := fhir.NewIdentity([]byte("key"))
	want := id.Raw(fhir.Coverage, "cpcds", "C1").ID(fhir.Coverage)
	var wg sync.WaitGroup
	for range 4 {
		c := id.Clone()
		wg.Go(func() {
			for range 100 {
				if c.Raw(fhir.Coverage, "cpcds", "C1").ID(fhir.Coverage) != want {
					t.Error("a clone gives another id")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestFingerprint(t *testing.T) {
	a, b := fhir.NewIdentity([]byte("key")), fhir.NewIdentity([]byte("another key"))
	if a.Fingerprint() != a.Clone().Fingerprint() || len(a.Fingerprint()) != 16 {
		t.Errorf("the fingerprint %s is not a stable one of 16 digits", a.Fingerprint())
	}
	if a.Fingerprint() == b.Fingerprint() {
		t.Error("two keys have the same fingerprint")
	}
}
