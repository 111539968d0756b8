package layouts

import (
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cpcds2fhir/schemas/cpcds"
)

// kinds are all kinds of elements.
var kinds = []cpcds.Kind{cpcds.IDKind, cpcds.CodeKind, cpcds.CodesKind, cpcds.DateKind, cpcds.InstantKind,
	cpcds.MoneyKind, cpcds.QuantityKind, cpcds.NPIKind, cpcds.TextKind, cpcds.FlagKind}

// FuzzRead holds for every text: it is bad and empty, or it is JSON as it stands,
// without control characters or space at its ends, and reading it again changes
// nothing. Only space is absent, and of a list of codes what separates them. What plain calls canonical, read leaves alone.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"", " ", "a b", `a"b\`, "2024-02-29", "2024-02-30", "31690708-07-05", "2024-01-01T00:00:00Z",
		"-0.00", "1e5", "17.489999999999995", "1,234.50", "12.", ".5", "0000000000000001", "\x00", "\u0085x", "é\n\tb", "\xff", "true", "Y", "|", "A||B ;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c := conversion{plain: &reading{}, simple: true}
		for _, k := range kinds {
			for _, round := range []int{-1, 2} {
				c.form = &form{kind: k, round: round}
				r := c.value(raw)
				if r.bad != "" {
					if r.text != "" {
						t.Fatalf("%s: a bad value has a text", k)
					}
					continue
				}
				if r.text == "" {
					nothing := strings.TrimSpace(raw) == "" || k == cpcds.CodesKind && strings.TrimFunc(raw, separatesCodes) == ""
					if !nothing {
						t.Fatalf("%s: %q became absent", k, raw)
					}
					continue
				}
				var back string
				if err := json.Unmarshal([]byte(`"`+r.text+`"`), &back); err != nil || !utf8.ValidString(r.text) {
					t.Fatalf("%s: %q became %q, which is not JSON: %v", k, raw, r.text, err)
				}
				if back != strings.TrimSpace(back) {
					t.Fatalf("%s: %q has space at its ends", k, r.text)
				}
				if again := c.value(back); again != r {
					t.Fatalf("%s: %q became %q and then %+v", k, raw, r.text, again)
				}
				if c.form.plain(raw) && r.text != raw {
					t.Fatalf("%s: %q is plain but became %q", k, raw, r.text)
				}
			}
		}
	})
}

// FuzzFormats proves that a pattern reads nothing but days of the calendar.
func FuzzFormats(f *testing.F) {
	f.Add("DD-Mon-YYYY", "29-FEB-2023")
	f.Add("M/D/YYYY hh:mm", "1/2/2024 10:00")
	f.Add("YYYYMMDD", "20240131")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		p, err := parseFormat(pattern)
		if err != nil {
			return
		}
		day, c, ok := p.parse(s)
		if !ok {
			return
		}
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			t.Fatalf("%q by %q is %q: %v", s, pattern, day, err)
		}
		if _, err := time.Parse(time.RFC3339, instant(nil, day, c)); err != nil {
			t.Fatalf("%q by %q: %v", s, pattern, err)
		}
	})
}

// TestRounding compares with exact arithmetic.
func TestRounding(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	half := big.NewRat(1, 2)
	for range 20_000 {
		s := strconv.FormatFloat((rng.Float64()-0.5)*float64(rng.IntN(2_000_000)), 'g', 1+rng.IntN(17), 64)
		f := form{kind: cpcds.MoneyKind, round: 2}
		got, rule := f.read(s)
		exact, ok := new(big.Rat).SetString(s)
		if rule != "" || !ok {
			t.Fatalf("%q: %s", s, rule)
		}
		cents := new(big.Rat).Mul(exact, big.NewRat(100, 1))
		neg := cents.Sign() < 0
		cents.Abs(cents).Add(cents, half)
		whole := new(big.Int).Quo(cents.Num(), cents.Denom())
		want := new(big.Rat).SetFrac(whole, big.NewInt(100))
		if neg {
			want.Neg(want)
		}
		if w := want.FloatString(2); got != w {
			t.Fatalf("%q: got %s, want %s", s, got, w)
		}
	}
}

func TestCalendar(t *testing.T) {
	for d := time.Date(1896, 1, 1, 0, 0, 0, 0, time.UTC); d.Year() < 1906; d = d.AddDate(0, 0, 1) {
		if !plainDate(d.Format(time.DateOnly)) {
			t.Fatalf("%s is no day", d.Format(time.DateOnly))
		}
	}
	for _, s := range []string{"1900-02-29", "2023-02-29", "2024-04-31", "2024-13-01", "0000-01-01", "2024-1-01", "2024-01-01 ", "+024-01-01"} {
		if plainDate(s) {
			t.Errorf("%s is a day", s)
		}
	}
}
