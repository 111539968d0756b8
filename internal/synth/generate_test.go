package synth

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// drafts makes the claims of an extract without writing them. The claim that f
// is given holds during the call.
func drafts(opt Options, f func(g *generator, d *draft)) {
	opt.Dir = "none"
	opt, err := opt.complete()
	if err != nil {
		panic(err)
	}
	dir := newDirectory(&opt)
	for _, p := range plan(&opt) {
		g := newGenerator(&opt, dir)
		g.emit = func(d *draft) { f(g, d) }
		claim, left := p.firstClaim, p.claims
		for m := p.firstMember; m < p.firstMember+p.members; m++ {
			n := min(memberClaims(&g.rng, opt.Seed, m), left)
			g.arena.reset()
			g.person(m)
			g.claims(claim, n)
			claim, left = claim+uint64(n), left-n
		}
	}
}

// resolve fills the references of a claim that names nobody unknown.
func resolve(g *generator, d *draft) {
	filled := func(ok bool) string {
		if ok {
			return "x"
		}
		return ""
	}
	d.Refs.Patient = filled(d.Get(cpcds.MemberID) == g.who.row.Get(cpcds.MembersMemberID))
	for i := range g.who.primary {
		if s := &g.who.primary[i]; d.Get(cpcds.CoverageID) == s.row.Get(cpcds.CoveragesCoverageID) && d.from >= s.from && d.from <= s.thru {
			d.Refs.Coverage = "x"
			d.Refs.Insurer = filled(d.Get(cpcds.ClaimPayerIdentifier) == s.payer.payer)
		}
	}
	d.Refs.Providers[cpcds.Billing] = filled(d.Get(cpcds.BillingProviderNPI) != "" || d.Get(cpcds.BillingProviderID) != "")
	d.Refs.OtherCoverage = filled(d.Get(cpcds.OtherCoverageID) != "")
	d.Refs.Payee = filled(d.Get(cpcds.ClaimPayee) != "" || d.Get(cpcds.ClaimPayeeName) != "")
}

func TestClaimsPassTheRules(t *testing.T) {
	rules := carin.NewChecker(carin.V220)
	var amounts carin.AmountTable
	var verdict carin.Verdict
	broken := map[string]int{}
	drafts(Options{Claims: 20000, Seed: 7}, func(g *generator, d *draft) {
		p, ok := carin.ProfileOf(&d.Claim)
		if !ok {
			t.Fatalf("claim %d: no profile", d.ordinal)
		}
		resolve(g, d)
		verdict.Reset()
		amounts.Fill(&d.Claim, p)
		rules.Claim(&d.Claim, &amounts, p, &verdict)
		for _, x := range slices.Concat(verdict.Errors, verdict.Warnings) {
			broken[x.Rule]++
		}
	})
	for rule, n := range broken {
		t.Errorf("%d claims break %s", n, rule)
	}
}

func TestFaultyClaimsBreakRules(t *testing.T) {
	rules := carin.NewChecker(carin.V220)
	var amounts carin.AmountTable
	var verdict carin.Verdict
	faulty, caught := 0, 0
	drafts(Options{Claims: 20000, Seed: 7, Faults: 0.2}, func(g *generator, d *draft) {
		if d.fault < 0 {
			return
		}
		faulty++
		verdict.Reset()
		resolve(g, d)
		if p, ok := carin.ProfileOf(&d.Claim); ok {
			amounts.Fill(&d.Claim, p)
			rules.Claim(&d.Claim, &amounts, p, &verdict)
		}
		if !verdict.OK() {
			caught++
		}
	})
	if faulty < 3600 || faulty > 4400 {
		t.Errorf("%d of 20000 claims have a fault, want about 4000", faulty)
	}
	// The rest are faults of the form of a value, or of the rows of a claim: the
	// reader and the assembler see them, not the rules.
	if caught < faulty/3 {
		t.Errorf("the rules see %d of %d faults", caught, faulty)
	}
}

func TestEveryFaultHappens(t *testing.T) {
	var seen [len(faults)]int
	drafts(Options{Claims: 10000, Seed: 1, Faults: 1}, func(_ *generator, d *draft) {
		if d.fault < 0 {
			t.Fatalf("claim %d has no fault", d.ordinal)
		}
		seen[d.fault]++
	})
	for i, n := range seen {
		if n == 0 {
			t.Errorf("fault %s happens nowhere", faults[i].name)
		}
	}
}

func TestFaultsLeaveOtherClaimsAlone(t *testing.T) {
	clean := map[uint64]string{}
	text := func(d *draft) string {
		var b strings.Builder
		b.WriteString(strings.Join(d.Header[:], "|"))
		for i := range d.Lines {
			b.WriteString(strings.Join(d.Lines[i][:], "|"))
		}
		return b.String()
	}
	drafts(Options{Claims: 3000, Seed: 3}, func(_ *generator, d *draft) { clean[d.ordinal] = text(d) })
	same := 0
	drafts(Options{Claims: 3000, Seed: 3, Faults: 0.1}, func(_ *generator, d *draft) {
		if d.fault < 0 {
			same++
			if text(d) != clean[d.ordinal] {
				t.Fatalf("claim %d has no fault and is not as it was", d.ordinal)
			}
		}
	})
	if same < 2000 || same > 2900 {
		t.Errorf("%d of 3000 claims have no fault, want about 2700", same)
	}
}

func TestAdjustmentChains(t *testing.T) {
	type link struct{ from, to, status, version string }
	claims := map[string]link{}
	var before []string // the identifiers, in order
	drafts(Options{Claims: 20000, Seed: 5}, func(_ *generator, d *draft) {
		id := strings.Clone(d.Get(cpcds.ClaimUniqueIdentifier))
		if _, twice := claims[id]; twice {
			t.Fatalf("claim %d: identifier used twice", d.ordinal)
		}
		claims[id] = link{strings.Clone(d.Get(cpcds.ClaimAdjustedFromIdentifier)), strings.Clone(d.Get(cpcds.ClaimAdjustedToIdentifier)),
			d.Get(cpcds.ClaimProcessingStatusCode), d.Get(cpcds.ClaimSourceVersion)}
		before = append(before, id)
		if bill := d.Get(cpcds.ClaimTypeOfBillCode); bill != "" && (bill[3] == '8') != d.has(voided) {
			t.Errorf("claim %d: type of bill and void disagree", d.ordinal)
		}
	})
	chains, middles := 0, 0
	for i, id := range before {
		c := claims[id]
		if c.to != "" {
			chains++
			if claims[c.to].from != id || before[i+1] != c.to {
				t.Errorf("claim %d does not lead to its successor", i)
			}
			if c.from != "" {
				middles++
			}
		}
		if c.from != "" && claims[c.from].to != id {
			t.Errorf("claim %d does not lead back to its predecessor", i)
		}
		if c.version == "" {
			t.Errorf("claim %d has no version", i)
		}
	}
	if chains < 800 || middles < 50 {
		t.Errorf("%d adjusted claims, %d of them adjustments, in 20000: want more", chains, middles)
	}
}

func TestAmountIdentities(t *testing.T) {
	cents := func(s string) int {
		if s == "" {
			return 0
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(f*100 + 0.5)
	}
	check := func(what string, get func(cpcds.Element) string, c *amountColumns) {
		eligible, liability := cents(get(c.eligible)), cents(get(c.deductible))+cents(get(c.coinsurance))+cents(get(c.copay))
		if eligible != cents(get(c.submitted))-cents(get(c.noncovered))-cents(get(c.discount)) {
			t.Errorf("%s: eligible is not submitted less noncovered less discount", what)
		}
		if cents(get(c.payment)) != eligible-liability-cents(get(c.other)) {
			t.Errorf("%s: paid is not eligible less liability less what others paid", what)
		}
		if cents(get(c.payment)) != cents(get(c.provider))+cents(get(c.member)) {
			t.Errorf("%s: paid did not go to provider or member", what)
		}
		if s := get(c.liability); s != "" && cents(s) != liability {
			t.Errorf("%s: liability is not its parts", what)
		}
	}
	var amounts carin.AmountTable
	drafts(Options{Claims: 5000, Seed: 2}, func(_ *generator, d *draft) {
		check("claim "+strconv.Itoa(int(d.ordinal)), d.Header.Get, &headerAmounts)
		sum := 0
		for i := range d.Lines {
			l := &d.Lines[i]
			sum += cents(l.Get(cpcds.LineSubmittedAmount))
			if l.Get(cpcds.LineSubmittedAmount) != "" {
				check("line of claim "+strconv.Itoa(int(d.ordinal)), l.Get, &lineAmounts)
			}
		}
		amounts.Fill(&d.Claim, carin.Professional)
		if d.headerPriced != !slices.ContainsFunc(amounts.Lines, func(x carin.AmountRecord) bool { return x.Filled != 0 }) {
			t.Errorf("claim %d: lines have amounts and should not, or the reverse", d.ordinal)
		}
		if !d.headerPriced && sum != cents(d.Get(cpcds.ClaimTotalSubmittedAmount)) {
			t.Errorf("claim %d: the lines do not add up to the header", d.ordinal)
		}
	})
}

func TestPopulation(t *testing.T) {
	kinds, units := map[kind]int{}, map[string]bool{}
	lines := 0
	drafts(Options{Claims: 10000, Seed: 1}, func(_ *generator, d *draft) {
		kinds[d.kind]++
		lines += len(d.Lines)
		for i := range d.Lines {
			if unit := d.Lines[i].Get(cpcds.QuantityQualifierCode); unit != "" {
				units[strings.Clone(unit)] = true
			}
		}
	})
	for k, share := range kindShares {
		if n := kinds[kind(k)]; n < share*10*8/10 || n > share*10*12/10 {
			t.Errorf("%d of 10000 claims are %s, want about %d", n, kindNames[k], share*10)
		}
	}
	if lines < 55000 || lines > 70000 {
		t.Errorf("10000 claims have %d lines, want about 62000", lines)
	}
	for _, unit := range []string{"GR", "ML", "UN"} {
		if !units[unit] {
			t.Errorf("no quantity is in %s", unit)
		}
	}
}
