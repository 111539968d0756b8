package synth

import (
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

func TestTablesHaveCodesOfTheRightForm(t *testing.T) {
	codes := loadTables()
	for group, list := range codes.icd10 {
		for _, c := range list {
			if !carin.ValidICD10CM(c.code) || c.text == "" {
				t.Errorf("ICD-10-CM %s %s", group, c.code)
			}
		}
		if len(codes.icd9[group]) == 0 {
			t.Errorf("group %s has no ICD-9-CM code", group)
		}
	}
	for group, list := range codes.icd9 {
		for _, c := range list {
			if !carin.ValidICD9CM(c.code) || c.text == "" {
				t.Errorf("ICD-9-CM %s %s", group, c.code)
			}
		}
	}
	for _, c := range codes.icd10["external"] {
		if c.code[0] < 'V' || c.code[0] > 'Y' {
			t.Errorf("%s is no external cause", c.code)
		}
	}
	for group, list := range codes.drugs {
		for _, x := range list {
			if !carin.ValidNDC(x.ndc) || len(x.ndc) != 11 {
				t.Errorf("NDC %s %s", group, x.ndc)
			}
		}
	}
	for group, list := range codes.services {
		for _, x := range list {
			if carin.ServiceSystem(carin.Professional, x.code, "") == "" || x.units < 1 {
				t.Errorf("service %s %s", group, x.code)
			}
		}
	}
	for group, list := range codes.dental {
		for _, x := range list {
			if carin.ServiceSystem(carin.Oral, x.code, "") != carin.SysCDT {
				t.Errorf("CDT %s %s", group, x.code)
			}
		}
	}
	for _, group := range []string{"medical", "surgical", "delivery", "newborn"} {
		for _, grouper := range []string{"MS-DRG", "APR-DRG", "AP-DRG"} {
			if len(codes.drgs[group+" "+grouper]) == 0 {
				t.Errorf("no %s for a %s stay", grouper, group)
			}
		}
	}
}

func TestDirectory(t *testing.T) {
	dir := newDirectory(&Options{Claims: 400000, Seed: 6})
	seen := map[string]bool{}
	unlisted, atypical := 0, 0
	check := func(npi, id string) {
		if npi == "" {
			if atypical++; id == "" {
				t.Error("a provider has neither an NPI nor a number of the payer")
			}
			return
		}
		if !carin.ValidNPI(npi) || npi[0] != '1' && npi[0] != '2' || seen[npi] {
			t.Error("an NPI is not valid, or there twice")
		}
		seen[npi] = true
	}
	for _, p := range dir.people {
		check(p.npi, p.id)
		if !p.listed {
			unlisted++
		}
	}
	for _, o := range dir.bodies {
		if o.payer == "" {
			check(o.npi, o.id)
		} else if naic := o.row.Get(cpcds.OrganizationsOrganizationNAICCode); naic != "" && len(naic) != 5 {
			t.Errorf("payer %s has a NAIC code of %d digits", o.payer, len(naic))
		}
	}
	if unlisted == 0 || atypical == 0 {
		t.Errorf("%d providers are known by claims alone, %d have no NPI: want some", unlisted, atypical)
	}
}

func TestSmallTablesPassTheRules(t *testing.T) {
	rules := carin.NewChecker(carin.V220)
	var verdict carin.Verdict
	row := func(table cpcds.Table, get func(cpcds.Element) string) {
		t.Helper()
		verdict.Reset()
		rules.Row(table, get, &verdict)
		for _, p := range append(verdict.Errors, verdict.Warnings...) {
			t.Errorf("a row of %s breaks %s", table, p.Rule)
		}
	}
	dir := newDirectory(&Options{Claims: 10000, Seed: 1})
	for _, p := range dir.people {
		row(cpcds.Providers, p.row.Get)
	}
	for _, o := range dir.bodies {
		row(cpcds.Organizations, o.row.Get)
	}
	g := newGenerator(&Options{Seed: 1}, dir)
	ids := map[string]bool{}
	for n := range uint64(2000) {
		g.arena.reset()
		g.person(n)
		row(cpcds.Members, g.who.row.Get)
		id := string([]byte(g.who.row.Get(cpcds.MembersMemberID)))
		if ids[id] {
			t.Errorf("member %d has the identifier of another", n)
		}
		ids[id] = true
		for i := range g.who.primary {
			row(cpcds.Coverages, g.who.primary[i].row.Get)
		}
		if g.who.other != nil {
			row(cpcds.Coverages, g.who.other.row.Get)
		}
	}
}

func TestText(t *testing.T) {
	var a arena
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(a.money(0), "0.00")
	f(a.money(5), "0.05")
	f(a.money(123456), "1234.56")
	f(a.money(-1), "-0.01")
	f(a.number("X", 42, 5), "X00042")
	f(a.number("", 12345, 2), "12345")
	f(a.instant(date(2020, 2, 29), 3661), "2020-02-29T01:01:01Z")
	f(date(1969, 12, 31).String(), "1969-12-31")
	f(firstDay.String(), "1925-01-01")
	f(lastDay.String(), "2033-12-31")
	if y := date(2020, 10, 1).fiscalYear(); y != 2021 {
		t.Errorf("1 October 2020 is in fiscal year %d, want 2021", y)
	}
	if y := date(2020, 9, 30).fiscalYear(); y != 2020 {
		t.Errorf("30 September 2020 is in fiscal year %d, want 2020", y)
	}
}
