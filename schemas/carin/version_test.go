package carin_test

import (
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
)

func TestWithProfiles(t *testing.T) {
	basis, err := carin.V220.WithProfiles("basis")
	if err != nil {
		t.Fatal(err)
	}
	for p := range carin.NumProfiles {
		financial := carin.V220.ProfileURL(p)
		if want := strings.Replace(financial, "|", "-Basis|", 1); basis.ProfileURL(p) != want {
			t.Errorf("%s: got %s, want %s", p, basis.ProfileURL(p), want)
		}
	}
	for i := range carin.Amounts {
		if basis.KnownAmounts()&(1<<i) != 0 {
			t.Errorf("the Basis profiles know %s", carin.Amounts[i].Code)
		}
	}
	if v, err := carin.V200.WithProfiles("financial"); err != nil || v != carin.V200 {
		t.Errorf("the financial profiles of 2.0.0: %v, %v", v, err)
	}
	if _, err := carin.V200.WithProfiles("basis"); err == nil || !strings.Contains(err.Error(), "no Basis profiles") {
		t.Errorf("release 2.0.0 has Basis profiles: %v", err)
	}
	if _, err := carin.V220.WithProfiles("prices"); err == nil {
		t.Error("any word names profiles")
	}
}
