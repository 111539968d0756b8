package carin

import (
	_ "embed"
	"encoding/csv"
	"strings"
	"sync"

	"cpcds2fhir/schemas/cpcds"
)

// mapping.csv records what the mappers do, found by experiment: a test of package batchrun changes
// one column at a time and records which paths change with it.
//
//go:embed mapping.csv
var mappingCSV string

// Mapped says what a column becomes in the resources of one profile or one small table.
type Mapped struct {
	Element cpcds.Element
	Profile string   // a profile of claims ("inpatient"), or the name of a small table
	Paths   []string // FHIR paths that the column changes, slices in brackets; none: unused
}

// Mapping lists what every column becomes, in the order of the elements. The slice
// is shared and must not be changed.
func Mapping() []Mapped { return mapping() }

var mapping = sync.OnceValue(func() []Mapped {
	rows, err := csv.NewReader(strings.NewReader(mappingCSV)).ReadAll()
	if err != nil {
		panic("mapping.csv: " + err.Error())
	}
	var list []Mapped
	for _, r := range rows[1:] {
		t, ok := cpcds.ParseTable(r[0])
		e, known := cpcds.Lookup(t, r[1])
		if !ok || !known {
			panic("mapping.csv: there is no " + r[0] + "." + r[1])
		}
		list = append(list, Mapped{e, r[2], strings.Fields(r[3])})
	}
	return list
})

// uses has, for every profile, the elements that its resource can express.
var uses = sync.OnceValue(func() *[NumProfiles][cpcds.NumElements]bool {
	u := new([NumProfiles][cpcds.NumElements]bool)
	for _, m := range mapping() {
		for p := range NumProfiles {
			if p.String() == m.Profile && len(m.Paths) > 0 {
				u[p][m.Element] = true
			}
		}
	}
	return u
})

// Uses reports whether the resource of a profile can express an element.
func Uses(p Profile, e cpcds.Element) bool { return uses()[p][e] }

// constants.csv are the values that no column changes, found by the same
// experiments.
//
//go:embed constants.csv
var constantsCSV string

// systems has the code system of each code, by profile and path.
var systems = sync.OnceValue(func() map[[2]string]string {
	rows, err := csv.NewReader(strings.NewReader(constantsCSV)).ReadAll()
	if err != nil {
		panic("constants.csv: " + err.Error())
	}
	m := map[[2]string]string{}
	for _, r := range rows[1:] {
		if path, ok := strings.CutSuffix(r[1], ".system"); ok {
			key := [2]string{r[0], path}
			if _, several := m[key]; several {
				m[key] = "" // the code decides
			} else {
				m[key] = r[2]
			}
		}
	}
	return m
})

// System returns the code system of a path of m that ends in a code, "" if it has
// none or if the code's form decides.
func (m *Mapped) System(path string) string {
	path, ok := strings.CutSuffix(path, ".code")
	if !ok {
		return ""
	}
	if s := systems()[[2]string{m.Profile, path}]; s != "" {
		return s
	}
	resource, _, _ := strings.Cut(path, ".")
	return systems()[[2]string{resource, path}]
}

// unmapped.csv says why some elements of CPCDS have no value of their own.
//
//go:embed unmapped.csv
var unmappedCSV string

// Unmapped is an element of the CPCDS dictionary that no column represents.
type Unmapped struct {
	MapIDs   []string
	Profiles []string // as in Mapped
	Reason   string
}

// Unmappeds lists them.
func Unmappeds() []Unmapped {
	rows, err := csv.NewReader(strings.NewReader(unmappedCSV)).ReadAll()
	if err != nil {
		panic("unmapped.csv: " + err.Error())
	}
	var list []Unmapped
	for _, r := range rows[1:] {
		list = append(list, Unmapped{strings.Fields(r[0]), strings.Fields(r[1]), r[2]})
	}
	return list
}

// RulesOf lists the ids of the rules that check an element in a profile or a small table.
func (k *Checker) RulesOf(m *Mapped) []string {
	var ids []string
	for i := range k.rules {
		r := &k.rules[i]
		if r.Element != m.Element {
			continue
		}
		here := r.Table != cpcds.Claims
		for _, p := range r.Profiles {
			here = here || p.String() == m.Profile
		}
		if here {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// WhyUnused says why a column is not mapped in a profile that has no path for it.
func WhyUnused(e cpcds.Element) string {
	if e == cpcds.ClaimSourceVersion {
		return "orders records of the same claim"
	}
	return "the profile has no place for it"
}
