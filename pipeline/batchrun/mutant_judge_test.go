package batchrun_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// blamed are the elements whose rules may notice that another one is wrong.
var blamed = map[cpcds.Element][]cpcds.Element{
	cpcds.CoverageID:                 {cpcds.ClaimPayerIdentifier},
	cpcds.ClaimPayerIdentifier:       {cpcds.CoverageID},
	cpcds.ClaimSubType:               {cpcds.ClaimType},
	cpcds.MemberID:                   {cpcds.CoverageID},
	cpcds.AdmissionTypeCode:          {cpcds.PointOfOriginCode},
	cpcds.DiagnosisCodeType:          {cpcds.DiagnosisCode},
	cpcds.InpatientProcedureCodeType: {cpcds.InpatientProcedureCode},
	cpcds.ToothNumber:                {cpcds.ToothSurface},
	cpcds.OralCavityArea:             {cpcds.ToothSurface},
	cpcds.AdditionalToothNumbers:     {cpcds.ToothSurface},
	cpcds.CompoundCode:               {cpcds.NationalDrugCode},
	cpcds.ClaimPayeeTypeCode:         {cpcds.ClaimPayee},
	cpcds.ClaimPayeeName:             {cpcds.ClaimPayee},
	cpcds.BillingProviderID:          {cpcds.BillingProviderNPI},
	cpcds.CoveragesStartDate:         {cpcds.CoveragesEndDate},
	cpcds.MembersDateOfBirth:         {cpcds.MembersDateOfDeath},
	cpcds.LineSubmittedAmount:        {cpcds.ClaimTotalSubmittedAmount},
	cpcds.CompoundParentLineNumber:   {cpcds.ServiceFromDate, cpcds.NationalDrugCode, cpcds.LineSubmittedAmount}, // what was an ingredient is a fill then
	cpcds.LineNumber:                 {cpcds.CompoundParentLineNumber, cpcds.ServiceFromDate},                    // the ingredient is the first line then
}

// keys are columns that lead to a row of a small table, or order records: where
// another key leads there too they make no difference.
var keys = []cpcds.Element{cpcds.ClaimSourceVersion, cpcds.ClaimPayerIdentifier, cpcds.BillingProviderID, cpcds.ServiceFacilityID}

// judge loads mutants and says of each what came of it, and whether it may.
func (c *mutantCase) judge(t *testing.T, y *tally, list []*mutant) {
	t.Helper()
	account := c.load(t, list)
	if c.layout.Name != "cpcds" {
		c.judgeTogether(t, y, list, account)
		return
	}
	lost := map[string][]*mutant{}
	for _, m := range list {
		switch {
		case len(m.problems) > 0 && m.json != "":
			c.complain(t, m, "it was rejected and loaded")
		case len(m.problems) > 0:
			y.add(m.kind, isRejected)
			// What the claim is rejected for anyway is not the mutant's.
			fresh := slices.DeleteFunc(slices.Clone(m.problems), func(p pipeline.RejectProblem) bool {
				return slices.ContainsFunc(m.claim.problems, func(old pipeline.RejectProblem) bool { return old.Rule == p.Rule && old.Element == p.Element })
			})
			if len(fresh) > 0 && m.claim.json != "" && !slices.ContainsFunc(fresh, m.names) {
				c.complain(t, m, "the reject blames %+v", fresh)
			}
		case m.json == "" && !slices.ContainsFunc(m.rows, func(rows [][]string) bool { return len(rows) > 0 }):
			y.add(m.kind, isGone)
		case m.json == "":
			c.complain(t, m, "it is neither loaded nor rejected")
		default:
			if m.json == m.claim.json {
				y.add(m.kind, isSame)
			} else {
				y.add(m.kind, isOther)
			}
			c.judgeLoaded(t, m)
			if c.saysNothing(m) {
				key := m.claim.key + " " + m.columns[0]
				lost[key] = append(lost[key], m)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(lost)) {
		list, n := lost[key], int64(len(lost[key]))
		if len(c.claims) == 1 && account.Warnings[carin.UnusedRule+list[0].columns[0]] >= n || c.warned(t, list) >= n {
			continue
		}
		c.complain(t, list[0], "%d values make no difference, and not as many warnings name the column", n)
	}
}

// judgeTogether counts the mutants of a layout whose columns are not elements, and
// which may make several claims of one, or claims under other numbers. What load
// checks holds for them: that the account balances, and a strict reader.
func (c *mutantCase) judgeTogether(t *testing.T, y *tally, list []*mutant, account *pipeline.Account) {
	t.Helper()
	for range account.Claims.Loaded {
		y.add(kindLayout, isOther)
	}
	for range account.Claims.Rejected {
		y.add(kindLayout, isRejected)
	}
	n := int64(0)
	for _, m := range list {
		if slices.ContainsFunc(m.rows, func(rows [][]string) bool { return len(rows) > 0 }) {
			n++
		}
	}
	if account.Claims.Seen < n {
		t.Errorf("%d of %d claims were seen", account.Claims.Seen, n)
	}
}

func (c *mutantCase) complain(t *testing.T, m *mutant, format string, args ...any) {
	t.Helper()
	t.Errorf("%s of %s, %s: "+format, append([]any{strings.Join(m.columns, ", "), m.claim.key, m.kind}, args...)...)
}

// saysNothing reports whether a value makes the same resource as none.
func (c *mutantCase) saysNothing(m *mutant) bool {
	if m.element == cpcds.NoElement || strings.TrimSpace(m.value) == "" || !inEOB(m.claim.profile, m.element) || slices.Contains(keys, m.element) {
		return false
	}
	if m.element == cpcds.NationalDrugCode && carin.NDC(m.value) == "" {
		return false // zeros are no NDC
	}
	if c.version.Basis && (headerAmount(m.element) || lineAmount(m.element)) {
		return false // they are not wanted
	}
	for _, rows := range m.claim.rows { // another cell may say it already
		if slices.ContainsFunc(rows, func(row []string) bool { return slices.Contains(row, m.value) }) {
			return false
		}
	}
	if m.blank == nil {
		return m.json == m.claim.json
	}
	return m.json == m.blank.json
}

// about are the rules that warn of an element beside those that it is named in.
func about(e cpcds.Element) []string {
	switch e {
	case cpcds.LineAmountPaidByPatientHealthAccount:
		return []string{"health-account-unknown"}
	case cpcds.ClaimPayee, cpcds.ClaimPayeeName, cpcds.ClaimPayeeRelationship:
		return []string{"payee-without-type"}
	}
	switch e.Info().Level {
	case cpcds.LineLevel:
		return []string{"fill-facts-differ", "ingredient-facts"}
	case cpcds.DiagnosisLevel, cpcds.ProcedureLevel, cpcds.CareTeamLevel:
		return []string{"entry-without-code"}
	}
	return nil
}

// warned counts what mutants of one claim and column add to the account, warnings and
// older records, and the warnings about the column that the claim has too.
func (c *mutantCase) warned(t *testing.T, list []*mutant) (n int64) {
	t.Helper()
	of := map[string]bool{}
	if list[0].element != cpcds.NoElement {
		for _, rule := range about(list[0].element) {
			of[rule] = true
		}
	}
	for _, r := range carin.NewChecker(c.version).Rules() {
		of[r.ID] = of[r.ID] || r.Severity == carin.Warning && r.Element == list[0].element
	}
	got := c.alone(t, list)
	for rule, w := range got.Warnings {
		if !of[rule] {
			w = max(0, w-int64(len(list))*list[0].claim.warnings[rule])
		}
		n += w
	}
	return n + got.Skips["superseded-in-extract"]
}

// judgeLoaded holds what came of a mutant against the claim that it was.
func (c *mutantCase) judgeLoaded(t *testing.T, m *mutant) {
	t.Helper()
	switch m.kind {
	case kindTwice:
		if m.json != m.claim.json {
			c.complain(t, m, "the row counts twice")
		}
	case kindDates:
		if c.holds(m.value, m.claim.profile) && c.alone(t, []*mutant{m}).Warnings[m.value] == 0 {
			c.complain(t, m, "no warning %s", m.value)
		}
	case kindBlank:
		// What was blank says nothing; all else must still be said.
		if column := c.lostBeside(m); column != "" && c.warned(t, []*mutant{m}) == 0 {
			c.complain(t, m, "%s is lost with it", column)
		}
	}
}

// lostBeside finds a column whose value the resource of the claim has, and that of the
// mutant, which has it in its rows too, has not.
func (c *mutantCase) lostBeside(m *mutant) string {
	for f, rows := range m.rows {
		for _, row := range rows {
			for x, v := range row {
				if x != c.files[f].key && len(v) > 1 && v != m.was && says(m.claim.json, v) && !says(m.json, v) {
					return c.files[f].header[x]
				}
			}
		}
	}
	return ""
}

// says reports whether a resource has a value, as text or as a number.
func says(data, v string) bool {
	return strings.Contains(data, `"`+v+`"`) || strings.Contains(data, ":"+v+",") || strings.Contains(data, ":"+v+"}")
}

// holds reports whether a rule is one of a profile.
func (c *mutantCase) holds(rule, profile string) bool {
	return slices.ContainsFunc(carin.NewChecker(c.version).Rules(), func(r carin.Rule) bool {
		return r.ID == rule && slices.ContainsFunc(r.Profiles, func(p carin.Profile) bool { return p.String() == profile })
	})
}

// inEOB reports whether the mapping says that the column changes the claim's own
// resource, or nothing at all: a name of a provider stands in another one.
func inEOB(profile string, e cpcds.Element) bool {
	for _, m := range carin.Mapping() {
		if m.Element == e && m.Profile == profile {
			return len(m.Paths) == 0 || slices.ContainsFunc(m.Paths, func(path string) bool { return strings.HasPrefix(path, "ExplanationOfBenefit.") })
		}
	}
	return false
}
