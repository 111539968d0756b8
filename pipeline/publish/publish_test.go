package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func TestFamilies(t *testing.T) {
	links := []Links{{"a", "", "b"}, {"b", "a", "c"}, {"c", "b", ""}, {"d", "", ""}, {"e", "e", "e"}, {"f", "x", ""}, {"g", "x", ""}, {"h", "", "g"}, {"i", "h", "i"}}
	want := [][]string{{"a", "b", "c"}, {"d"}, {"e"}, {"f", "g", "h", "i", "x"}}
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		r.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
		var f Families
		for _, l := range links {
			f.Add(l)
		}
		families := map[string][]string{}
		for _, k := range strings.Split("a b c d e f g h i x", " ") {
			of := f.Of(k)
			if of > k {
				t.Errorf("%s stands for %s", of, k) // it depends on the order of the claims otherwise
			}
			families[of] = append(families[of], k)
		}
		got := slices.SortedFunc(maps.Values(families), slices.Compare)
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// TestLongFamily has a claim that was adjusted very often.
func TestLongFamily(t *testing.T) {
	const n = 20_000
	var f Families
	name := func(i int) string { return fmt.Sprintf("%06d", n-i) }
	for i := range n - 1 {
		f.Add(Links{Key: name(i), To: name(i + 1)})
	}
	for _, i := range []int{0, n / 2, n - 1} {
		if got := f.Of(name(i)); got != name(n-1) {
			t.Errorf("%s stands for %s", got, name(i))
		}
	}
}

const (
	members = "member_id,member_family_name,member_last_updated_date\nm1,One,2020-01-01\nm2,Two,2020-01-01\n"
	header  = "claim_unique_identifier,member_id,claim_payer_name,claim_adjusted_to_identifier,line_number,procedure_code\n"
	// c2's rows are scattered, and c3's disagree about the payer.
	claims = header + "c1,m1,P,,1,A\nc1,m1,P,,2,B\nc2,m2,P,c3,1,C\nc3,m2,P,,1,D\nc3,m2,Q,,2,\nc2,m2,P,c3,2,E\n"
)

func extract(t *testing.T) *Extract {
	t.Helper()
	dir := t.TempDir()
	layout, err := layouts.Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	x := &Extract{Layout: layout, Scratch: filepath.Join(dir, "scratch"), Workers: 2}
	for table, text := range map[cpcds.Table]string{cpcds.Claims: claims, cpcds.Members: members} {
		path := filepath.Join(dir, table.String()+".csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := csvio.Open(path, csvio.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		binding, err := layout.Bind(table, f.Fields(), layouts.Options{})
		if err != nil {
			t.Fatal(err)
		}
		x.Inputs = append(x.Inputs, &rowbatch.Input{Path: path, Table: table, File: f, Binding: binding})
	}
	return x
}

func describe(m *Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s of %s:", m.Table, m.Key, m.Member)
	for i, f := range m.Fields {
		if m.Values[i] != "" {
			fmt.Fprintf(&b, " %s=%s", f, m.Values[i])
		}
	}
	for _, r := range m.Rows {
		b.WriteString(" [")
		for i, l := range m.Lines {
			if r[i] != "" {
				fmt.Fprintf(&b, " %s=%s", l, r[i])
			}
		}
		b.WriteString(" ]")
	}
	return b.String()
}

func TestEach(t *testing.T) {
	const two = "members m1 of m1: member_family_name=One member_id=m1 member_last_updated_date=2020-01-01\n" +
		"members m2 of m2: member_family_name=Two member_id=m2 member_last_updated_date=2020-01-01\n"
	const want = two +
		"claims c1 of m1: claim_payer_name=P claim_unique_identifier=c1 member_id=m1 [ line_number=1 procedure_code=A ] [ line_number=2 procedure_code=B ]\n" +
		"claims c2 of m2: claim_adjusted_to_identifier=c3 claim_payer_name=P claim_unique_identifier=c2 member_id=m2 [ line_number=1 procedure_code=C ] [ line_number=2 procedure_code=E ]\n" +
		"claims c3 of m2: claim_unique_identifier=c3 member_id=m2 [ line_number=1 procedure_code=D claim_payer_name=P ] [ line_number=2 claim_payer_name=Q ]\n"
	x := extract(t)
	var small, list []string
	links := map[string]Links{}
	err := x.Each(t.Context(), func(m *Message) error {
		if m.Table == cpcds.Claims {
			list = append(list, describe(m))
			l := m.Claims
			links[strings.Clone(l.Key)] = Links{strings.Clone(l.Key), strings.Clone(l.From), strings.Clone(l.To)}
		} else {
			small = append(small, describe(m))
			if len(list) > 0 {
				t.Error("a member comes after a claim")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list) // a claim whose rows are scattered comes late
	if got := strings.Join(append(small, list...), "\n") + "\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if links["c2"].To != "c3" || links["c1"].To != "" {
		t.Errorf("the claims name %v", links)
	}
	left, err := filepath.Glob(filepath.Join(x.Scratch, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("there are temporary files left: %v %v", left, err)
	}
}

// TestEachTwice: 'publish --key family' reads the extract twice.
func TestEachTwice(t *testing.T) {
	x := extract(t)
	var n [2]int
	for i := range n {
		if err := x.Each(t.Context(), func(*Message) error { n[i]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n[0] != 5 || n[1] != 5 {
		t.Errorf("read %v messages", n)
	}
}

func TestEachStops(t *testing.T) {
	stop := errors.New("stop")
	for at := range 5 {
		n := 0
		err := extract(t).Each(t.Context(), func(*Message) error {
			if n++; n > at {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || n != at+1 {
			t.Errorf("after %d messages: %v, %d calls", at, err, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := extract(t).Each(ctx, func(*Message) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestColumns(t *testing.T) {
	x := extract(t)
	if err := x.Place(t.Context()); err != nil {
		t.Fatal(err)
	}
	fields, lines := Columns(x.Inputs, cpcds.Claims)
	if got := strings.Join(fields, " ") + " | " + strings.Join(lines, " "); got != "claim_adjusted_to_identifier claim_payer_name claim_unique_identifier member_id | line_number procedure_code" {
		t.Error(got)
	}
	if fields, lines := Columns(x.Inputs, cpcds.Coverages); len(fields)+len(lines) > 0 {
		t.Error(fields, lines)
	}
}
