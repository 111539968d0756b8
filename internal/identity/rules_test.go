package identity_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/identity"
)

// byName is the rule of people without a member id.
var byName = identity.Rule{Name: "name and four digits", Require: map[string]any{"email_verified": true},
	Find: identity.Find{Family: "{family_name}", Given: "{given_name}", BirthDate: "{birthdate}", IdentifierEnds: identity.Ends{System: memberSystem, Value: "{last4}"}}}

// TestRules has claims and members, and which member it is or why none.
func TestRules(t *testing.T) {
	family := func(names ...string) map[string]any {
		return map[string]any{"sub": "s", "email_verified": true, "family_name": names[0], "given_name": names[1], "birthdate": names[2], "last4": names[3]}
	}
	members := []identity.Member{
		member("decoy", "9990000", "1990-09-09", "Decoy", "Dee"),
		member("ana", "12341111", "1980-02-03", "García-López", "Ana", "María"),
		member("twin1", "55550001", "2001-01-01", "Smith", "John"),
		member("twin2", "55550002", "2001-01-01", "Smith", "Jane"),
		member("same1", "77774444", "1975-05-05", "Jones", "Mary"),
		member("same2", "88884444", "1975-05-05", "Jones", "Mary"),
		member("obrien", "33332222", "1960-06-06", "O'Brien", "Seán"),
		member("comma", "A,B|C$D\\E", "1961-01-01", "Comma", "Cy"),
		member("nameless", "12349876", "1962-02-02", ""),
		{Patient: "dead", Birth: "1930-01-01", Deceased: true, Names: []identity.Name{{Family: "Gone", Given: []string{"Gus"}}}, Identifiers: []identity.Identifier{{System: memberSystem, Value: "10106666"}}},
		{Patient: "married", Birth: "1985-05-05", Names: []identity.Name{{Family: "New", Given: []string{"Nell"}}, {Family: "Old", Given: []string{"Nelly"}}},
			Identifiers: []identity.Identifier{{System: memberSystem, Value: "20207777"}}},
	}
	rules := []identity.Rule{byID[0], byName}
	for name, x := range map[string]struct {
		claims map[string]any
		want   string // the member, or the code and rule
	}{
		"member id":                {map[string]any{"member_id": "55550001"}, "twin1"},
		"member id, a number":      {map[string]any{"member_id": 55550002}, "twin2"},
		"blanks around it":         {map[string]any{"member_id": " 55550002 "}, "twin2"},
		"unknown member id":        {map[string]any{"member_id": "404"}, "none by the rule member id"},
		"id of another system":     {map[string]any{"member_id": "X55550001"}, "none by the rule member id"},
		"special characters":       {map[string]any{"member_id": `A,B|C$D\E`}, "comma"},
		"a list of values":         {map[string]any{"member_id": "55550001,55550002"}, "none by the rule member id"},
		"another system":           {map[string]any{"member_id": "1,https://other.example|X55550001"}, "none by the rule member id"},
		"any code":                 {map[string]any{"member_id": "|"}, "none by the rule member id"},
		"backslash at the end":     {map[string]any{"member_id": `55550001\`}, "none by the rule member id"},
		"an array":                 {map[string]any{"member_id": []string{"55550001"}}, "claims"},
		"empty":                    {map[string]any{"member_id": ""}, "claims"},
		"control characters":       {map[string]any{"member_id": "55550001\n"}, "twin1"}, // a blank at the end
		"two lines":                {map[string]any{"member_id": "5555\n0001"}, "claims"},
		"long":                     {map[string]any{"member_id": strings.Repeat("5", 300)}, "claims"},
		"no claims":                {map[string]any{}, "claims"},
		"name":                     {family("García-López", "Ana María", "1980-02-03", "1111"), "ana"},
		"name without accents":     {family("GARCIA LOPEZ", "ANA", "1980-02-03", "1111"), "ana"},
		"decomposed accents":       {family("Garci\u0301a Lo\u0301pez", "Ana Mari\u0301a", "1980-02-03", "1111"), "ana"},
		"half of a double name":    {family("García", "Ana", "1980-02-03", "1111"), "none by the rule name and four digits"},
		"second given name":        {family("García López", "María", "1980-02-03", "1111"), "none by the rule name and four digits"},
		"apostrophe":               {family("OBrien", "Sean", "1960-06-06", "2222"), "obrien"},
		"curly apostrophe":         {family("O’Brien", "Seán", "1960-06-06", "2222"), "obrien"},
		"one twin":                 {family("Smith", "John", "2001-01-01", "0001"), "twin1"},
		"the other":                {family("Smith", "Jane", "2001-01-01", "0002"), "twin2"},
		"a twin, wrong digits":     {family("Smith", "Jane", "2001-01-01", "0001"), "none by the rule name and four digits"},
		"two who are alike":        {family("Jones", "Mary", "1975-05-05", "4444"), "ambiguous by the rule name and four digits"},
		"three digits":             {family("Smith", "John", "2001-01-01", "001"), "claims"},
		"another birth date":       {family("Smith", "John", "2001-01-02", "0001"), "none by the rule name and four digits"},
		"no birth date":            {family("Smith", "John", "2001-13-01", "0001"), "claims"},
		"part of a birth date":     {family("Smith", "John", "2001", "0001"), "claims"},
		"names of dots":            {family("...", "John", "2001-01-01", "0001"), "claims"},
		"nobody's name":            {family("-", "-", "1962-02-02", "9876"), "claims"},
		"a new name":               {family("New", "Nell", "1985-05-05", "7777"), "married"},
		"a former name":            {family("Old", "Nelly", "1985-05-05", "7777"), "married"},
		"of two names each a part": {family("New", "Nelly", "1985-05-05", "7777"), "none by the rule name and four digits"},
		"deceased":                 {family("Gone", "Gus", "1930-01-01", "6666"), "none by the rule name and four digits"},
		"not verified":             {with(family("Smith", "John", "2001-01-01", "0001"), "email_verified", false), "claims"},
		"verified is missing":      {with(family("Smith", "John", "2001-01-01", "0001"), "email_verified", nil), "claims"},
		"verified as text":         {with(family("Smith", "John", "2001-01-01", "0001"), "email_verified", "true"), "twin1"},
		"second rule after none":   {with(family("Smith", "John", "2001-01-01", "0001"), "member_id", "404"), "twin1"},
		"first rule counts":        {with(family("Smith", "John", "2001-01-01", "0001"), "member_id", "12341111"), "ana"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *identity.Config) { c.Rules = rules })
			w.people.list = members
			w.claims = x.claims
			w.claims["sub"] = "s"
			got := w.signIn(t)
			if got.code(t) == "" {
				if links := w.links(t, got.user.ID); links != x.want+" self rule" {
					t.Errorf("%s, not %s", links, x.want)
				}
				return
			}
			if text := strings.TrimPrefix(got.err.Error(), "the login is refused: "); text != x.want {
				t.Errorf("%s, not %s", text, x.want)
			}
			if r := got.err.(interface{ Reason() string }).Reason(); r != "none" {
				t.Errorf("the page would say %s", r)
			}
			if r, _ := errors.AsType[*identity.RefusedError](got.err); r.User == "" {
				t.Error("the help desk could not link the person")
			}
		})
	}
}

func with(claims map[string]any, name string, value any) map[string]any {
	if claims[name] = value; value == nil {
		delete(claims, name)
	}
	return claims
}

// TestRelinked signs in again after something has changed.
func TestRelinked(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	user := w.signIn(t).user
	if err := w.accounts.AddClient(ctx, &accounts.Client{ID: "app", Status: accounts.Active, Auth: "none"}); err != nil {
		t.Fatal(err)
	}
	grants := func() (n int) {
		list, err := w.accounts.Grants(ctx, accounts.GrantFilter{User: user.ID})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	allow := func(request, patient string) {
		t.Helper()
		soon := w.clock.now().Add(1e12)
		err := w.accounts.AddRequest(ctx, &accounts.Request{ID: request, Client: "app", Created: w.clock.now(), Expires: soon})
		if err == nil {
			err = w.accounts.Approve(ctx, request, &accounts.Grant{ID: "g-" + request, Client: "app", User: user.ID, Patient: patient, Scopes: []string{"patient/*.read"}, Created: w.clock.now(), Expires: soon},
				&accounts.Code{Secret: "c-" + request, Grant: "g-" + request, Client: "app", Expires: soon})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	allow("r1", "p1")

	// A fault is no reason to forget anybody.
	w.people.failed = errors.New("the store is away")
	if got := w.signIn(t); got.err == nil || got.request != "request-1" {
		t.Errorf("%+v", got)
	} else if _, ok := errors.AsType[*identity.RefusedError](got.err); ok {
		t.Error("a fault refused a person")
	}
	w.people.failed = nil
	// Nor is a token that is not valid, too low a level, or a provider that sends no claims.
	for _, change := range []func(w *world){token("nonce", "x"), token("acr", "low"), token("member_id", nil)} {
		w.set(func() { change(w) })
		if got := w.signIn(t); got.code(t) == "" {
			t.Error("it is not refused")
		}
	}
	w.set(func() { w.token = nil })
	if got := w.links(t, user.ID); got != "p1 self rule" || grants() != 1 {
		t.Fatalf("links: %s; %d grants", got, grants())
	}

	// The number is of another member now.
	w.people.list[1].Patient = "p2"
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user.ID) != "p2 self rule" || grants() != 0 {
		t.Errorf("%v, links: %s; %d grants", got.err, w.links(t, user.ID), grants())
	}
	allow("r2", "p2")
	// And then of two, and of none.
	w.people.list = append(w.people.list, member("p3", "M-1", "1999-01-01", "Other", "Olga"))
	if got := w.signIn(t); got.code(t) != "ambiguous" || w.links(t, user.ID) != "" || grants() != 0 {
		t.Errorf("%v, links: %s; %d grants", got.err, w.links(t, user.ID), grants())
	}
	w.people.list = w.people.list[:1]
	if got := w.signIn(t); got.code(t) != "none" {
		t.Errorf("%v", got.err)
	}

	// What people link by hand counts, whatever the rules say.
	link := func(patient, role string) {
		t.Helper()
		if err := w.accounts.AddLink(ctx, &accounts.Link{User: user.ID, Patient: patient, Role: role, Source: "operator"}); err != nil {
			t.Fatal(err)
		}
	}
	link("child", "representative")
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user.ID) != "child representative operator" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user.ID))
	}
	w.people.list = append(w.people.list, member("p1", "M-1", "1980-02-03", "Winterbourne", "Ada"))
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user.ID) != "p1 self rule, child representative operator" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user.ID))
	}
	link("hand", "self")
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user.ID) != "hand self operator, child representative operator" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user.ID))
	}
	link("p1", "representative") // the rules do not overwrite it
	if got := w.signIn(t); got.code(t) != "" || !strings.Contains(w.links(t, user.ID), "p1 representative operator") {
		t.Errorf("%v, links: %s", got.err, w.links(t, user.ID))
	}
}

// TestRepresentatives has a parent whose provider lists the children.
func TestRepresentatives(t *testing.T) {
	rules := []identity.Rule{{Name: "children", Role: "representative", Each: "dependents", Find: identity.Find{Identifier: memberSystem + "|{each.id}", BirthDate: "{each.born}"}},
		{Name: "ward", Role: "representative", Require: map[string]any{"guardian": "court"}, Find: identity.Find{Identifier: memberSystem + "|{ward}"}}, byID[0]}
	w := newWorld(t, func(c *identity.Config) { c.Rules = rules })
	w.people.list = append(w.people.list, member("kid1", "K-1", "2015-01-01", "Winterbourne", "Kit"), member("kid2", "K-2", "2017-01-01", "Winterbourne", "Kay"),
		member("double1", "K-3", "2018-01-01", "W", "A"), member("double2", "K-3", "2018-01-01", "W", "B"), member("ward", "W-1", "1940-01-01", "Ward", "Will"))
	kid := func(id, born string) map[string]any { return map[string]any{"id": id, "born": born} }
	w.claims["dependents"] = []any{kid("K-1", "2015-01-01"), kid("K-2", "2016-01-01"), kid("K-3", "2018-01-01"), kid("K-9", "2018-01-01"), "K-1", nil, kid("M-1", "1980-02-03")}
	w.claims["ward"] = "W-1"
	got := w.signIn(t)
	if got.code(t) != "" || w.links(t, got.user.ID) != "p1 self rule, kid1 representative rule" {
		t.Fatalf("%v, links: %s", got.err, w.links(t, got.user.ID))
	}
	passed := 0
	for _, e := range w.events {
		if e == "passed none children" || e == "passed ambiguous children" {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d entries were passed over: %q", passed, w.events)
	}
	// A child that is no longer listed, and a ward that the court has given. The person is no member now.
	w.claims["dependents"] = kid("K-2", "2017-01-01")
	w.claims["guardian"], w.claims["member_id"] = "court", "404"
	if got := w.signIn(t); got.code(t) != "" || w.links(t, got.user.ID) != "kid2 representative rule, ward representative rule" {
		t.Errorf("%v, links: %s", got.err, w.links(t, got.user.ID))
	}
	// A provider that leaves a claim out once: what its rules had linked stays, and so it does for somebody who is
	// linked by hand to themselves. An empty list, and a guardian who is none any more, are claims.
	user := got.user.ID
	delete(w.claims, "dependents")
	delete(w.claims, "guardian")
	if got := w.signIn(t); got.code(t) != "none" || w.links(t, user) != "kid2 representative rule, ward representative rule" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user))
	}
	if err := w.accounts.AddLink(t.Context(), &accounts.Link{User: user, Patient: "p1", Role: "self", Source: "operator"}); err != nil {
		t.Fatal(err)
	}
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user) != "p1 self operator, kid2 representative rule, ward representative rule" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user))
	}
	w.claims["dependents"] = []any{}
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user) != "p1 self operator" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user))
	}
	w.claims["guardian"] = "court"
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user) != "p1 self operator, ward representative rule" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user))
	}
	delete(w.claims, "dependents")
	w.claims["guardian"] = "ended-by-court"
	if got := w.signIn(t); got.code(t) != "" || w.links(t, user) != "p1 self operator" {
		t.Errorf("%v, links: %s", got.err, w.links(t, user))
	}
	many := make([]any, 60)
	for i := range many {
		id := fmt.Sprintf("N-%d", i)
		many[i] = kid(id, "2015-05-05")
		w.people.list = append(w.people.list, member(id, id, "2015-05-05", "Many", "Max"))
	}
	w.claims["dependents"] = many
	if got := w.signIn(t); got.code(t) != "" || strings.Count(w.links(t, got.user.ID), "representative") != 50 {
		t.Errorf("%v, %d", got.err, strings.Count(w.links(t, got.user.ID), "representative"))
	}
}

func TestRuleErrors(t *testing.T) {
	id := memberSystem + "|{member_id}"
	for want, r := range map[string]identity.Rule{
		`rule 1: name`:         {Find: identity.Find{Identifier: id}},
		`rule "a": role`:       {Name: "a", Role: "parent", Find: identity.Find{Identifier: id}},
		`rule "a": each: only`: {Name: "a", Each: "x", Find: identity.Find{Identifier: id}},
		`rule "a": require`:    {Name: "a", Require: map[string]any{"x": []any{"1"}}, Find: identity.Find{Identifier: id}},
		`rule "a": find.identifier: write it as SYS`: {Name: "a", Find: identity.Find{Identifier: "{member_id}"}},
		`rule "a": find.identifier: it has no value`: {Name: "a", Find: identity.Find{Identifier: memberSystem + "|"}},
		`rule "a": find.identifier: it has no claim`: {Name: "a", Find: identity.Find{Identifier: memberSystem + "|12"}},
		`rule "a": find.identifier: write claims`:    {Name: "a", Find: identity.Find{Identifier: memberSystem + "|{}"}},
		`rule "a": find.identifier: it has }`:        {Name: "a", Find: identity.Find{Identifier: memberSystem + "|}{a}"}},
		`rule "a": find.identifier: {each} needs`:    {Name: "a", Find: identity.Find{Identifier: memberSystem + "|{each}"}},
		`rule "a": find: use an identifier`:          {Name: "a", Find: identity.Find{Family: "{family_name}", Given: "{given_name}", BirthDate: "{birthdate}"}},
		`rule "a": find: use {each}`:                 {Name: "a", Role: "representative", Each: "x", Find: identity.Find{Identifier: id}},
		`rule "a": find.identifier_ends: it needs`:   {Name: "a", Find: identity.Find{Identifier: id, IdentifierEnds: identity.Ends{Value: "{x}"}}},
	} {
		if err := identity.CheckRules([]identity.Rule{r}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := identity.CheckRules([]identity.Rule{byID[0], byID[0]}); err == nil || !strings.Contains(err.Error(), "another rule has it") {
		t.Errorf("two rules with a name: %v", err)
	}
}

// TestQueries looks at how values are written in searches.
func TestQueries(t *testing.T) {
	w := newWorld(t, nil)
	w.claims["member_id"] = `a,b|c$d\e`
	w.signIn(t)
	want := url.Values{"identifier": {memberSystem + `|a\,b\|c\$d\\e`}}
	if got := w.people.asked[0]; got.Encode() != want.Encode() {
		t.Errorf("%v", got)
	}
}

// FuzzRules has claims of any kind: a member is found by exactly the member's number, and never another one.
func FuzzRules(f *testing.F) {
	for _, s := range []string{"M-1", "M-1,M-2", "|", `\`, "{member_id}", "M-1\x00", "Ḿ-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		people := &people{list: []identity.Member{member("p0", "M-0", "", ""), member("p1", "M-1", "", ""), member("p2", value, "", "")}}
		got, err := identity.Self(t.Context(), byID, people, map[string]any{"member_id": value})
		if err != nil {
			t.Fatal("a fault")
		}
		for _, p := range got {
			if want := map[string]string{"M-0": "p0", "M-1": "p1"}[strings.TrimSpace(value)]; p != want && p != "p2" {
				t.Errorf("%q finds %s", value, p)
			}
		}
	})
}
