package synth

import (
	"embed"
	"encoding/csv"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
)

// The tables hold small samples of real code systems, grouped by their use in claims. For CPT and
// CDT they hold only codes.
//
//go:embed tables/*.csv
var tableFiles embed.FS

// diagnosisCode is a code of ICD-10-CM or ICD-9-CM with its title.
type diagnosisCode struct{ code, text string }

// procedureCode is a code of ICD-10-PCS or ICD-9-CM volume 3.
type procedureCode struct{ system, code string }

// drg is a diagnosis related group of one grouper.
type drg struct{ grouper, code string }

// revenue is a revenue code with the usual price of a unit in cents and the most
// units of a line.
type revenue struct {
	code         string
	cents, units int
}

// service is a CPT or HCPCS code with the revenue code it is billed under in a
// facility.
type service struct {
	code, revenue string
	cents, units  int
}

// dental is a CDT code; site says which part of the mouth it refers to.
type dental struct {
	code  string
	cents int
	site  string
}

// drug is a package by NDC; cents is the price of one fill.
type drug struct {
	ndc, text      string
	cents          int
	quantity, unit string
	days           string
	brand          string
}

// place is a ZIP code with its city, county and state.
type place struct{ state, county, city, zip string }

// taxonomy is an NUCC provider taxonomy code, with the title of its holders.
type taxonomy struct{ code, title string }

// codeTables holds all tables by group.
type codeTables struct {
	icd10, icd9 map[string][]diagnosisCode
	procedures  map[string][]procedureCode // by group and system: "surgical icd10"
	drgs        map[string][]drg           // by group and grouper: "surgical MS-DRG"
	revenues    map[string][]revenue
	services    map[string][]service
	dental      map[string][]dental
	drugs       map[string][]drug
	places      [numRegions][]place
	taxonomies  map[string][]taxonomy
	codes       map[string][]string
	names       map[string][]string
}

// loadTables reads the embedded tables once. They are built in, so a fault in them is a bug: it
// panics.
var loadTables = sync.OnceValue(func() *codeTables {
	t := &codeTables{
		icd10: map[string][]diagnosisCode{}, icd9: map[string][]diagnosisCode{}, procedures: map[string][]procedureCode{},
		drgs: map[string][]drg{}, revenues: map[string][]revenue{}, services: map[string][]service{},
		dental: map[string][]dental{}, drugs: map[string][]drug{}, taxonomies: map[string][]taxonomy{},
		codes: map[string][]string{}, names: map[string][]string{},
	}
	each("icd10cm", func(r []string) { add(t.icd10, r[0], diagnosisCode{r[1], r[2]}) })
	each("icd9cm", func(r []string) { add(t.icd9, r[0], diagnosisCode{r[1], r[2]}) })
	each("procedures", func(r []string) { add(t.procedures, r[0]+" "+r[1], procedureCode{r[1], r[2]}) })
	each("drgs", func(r []string) { add(t.drgs, r[0]+" "+r[1], drg{r[1], r[2]}) })
	each("revenues", func(r []string) { add(t.revenues, r[0], revenue{r[1], whole(r[2]), whole(r[3])}) })
	each("services", func(r []string) { add(t.services, r[0], service{r[1], r[2], whole(r[3]), whole(r[4])}) })
	each("dental", func(r []string) { add(t.dental, r[0], dental{r[1], whole(r[2]), r[3]}) })
	each("drugs", func(r []string) { add(t.drugs, r[0], drug{r[1], r[2], whole(r[3]), r[4], r[5], r[6], r[7]}) })
	each("places", func(r []string) {
		in := northCarolina
		if r[0] == "UT" {
			in = utah
		}
		t.places[in] = append(t.places[in], place{r[0], r[1], r[2], r[3]})
	})
	each("taxonomies", func(r []string) { add(t.taxonomies, r[0], taxonomy{r[1], r[2]}) })
	each("codes", func(r []string) { t.codes[r[0]] = strings.Fields(r[1]) })
	each("names", func(r []string) { t.names[r[0]] = strings.Fields(r[1]) })
	return t
})

func add[T any](m map[string][]T, group string, v T) { m[group] = append(m[group], v) }

// each calls f for the rows of a table, without its header line.
func each(table string, f func(row []string)) {
	file, err := tableFiles.Open(path.Join("tables", table+".csv"))
	if err != nil {
		panic(err)
	}
	defer func() { _ = file.Close() }() // embedded: cannot fail
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("table %s: %v", table, err))
	}
	for _, r := range rows[1:] {
		f(r)
	}
}

func whole(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}
