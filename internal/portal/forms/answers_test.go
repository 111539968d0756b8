package forms

import (
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	s := builtIn(t)
	production, questionnaire, support := s.Form(Production), s.Form(Questionnaire), s.Form(Support)
	for _, c := range []struct {
		form *Form
		id   string
		sent []string
		want []string
	}{
		{support, "subject", []string{"  A \t short\nsubject "}, []string{"A short subject"}},
		{support, "subject", []string{"", " "}, nil},
		{support, "subject", []string{"one", "two"}, []string{"one"}},
		{support, "subject", []string{"a\x00b\x1bc"}, []string{"a\ufffdb\ufffdc"}},
		{support, "subject", []string{"a\xffb"}, []string{"a\ufffdb"}},
		{support, "subject", []string{"a\u202eb\u200bc\ufeff"}, []string{"abc"}},
		{support, "subject", []string{"cafe\u0301"}, []string{"café"}},
		{support, "message", []string{"\r\none  \r\n\r\n  two\rthree\u2028four\v"}, []string{"one\n\n  two\nthree\nfour"}},
		{support, "message", []string{"a\tb\x00"}, []string{"a\tb\ufffd"}},
		{support, "screenshot", []string{"somebody-elses-file"}, nil},
		{support, "surprise", []string{"x"}, nil},
		{production, "users_year", []string{"1,200,000"}, []string{"1200000"}},
		{production, "users_year", []string{"1.200"}, []string{"1200"}},
		{production, "users_year", []string{"12.5"}, []string{"12.5"}},
		{production, "policy_url", []string{"example.org/privacy"}, []string{"https://example.org/privacy"}},
		{production, "policy_url", []string{"javascript:alert(1)"}, []string{"javascript:alert(1)"}},
		{production, "security_email", []string{"mailto:a@example.org"}, []string{"a@example.org"}},
		{questionnaire, "platforms", []string{"android", "web_server", "android"}, []string{"web_server", "android"}},
		{questionnaire, "platforms", []string{"none", "ios"}, []string{"ios", "none"}},
	} {
		got := c.form.Parse(url.Values{c.id: c.sent})[c.id]
		if !slices.Equal(got, c.want) {
			t.Errorf("%s of %q is %q, want %q", c.id, c.sent, got, c.want)
		}
	}
	many := url.Values{}
	for i := range 10_000 {
		many.Add("platforms", "p"+strconv.Itoa(i))
	}
	if got := questionnaire.Parse(many)["platforms"]; len(got) > 7 {
		t.Errorf("%d values were kept", len(got))
	}
	if got := questionnaire.Parse(nil); got == nil || len(got) > 0 {
		t.Errorf("nothing is %v", got)
	}
}

// TestStable keeps the JSON of answers the same, whatever the order in which they come.
func TestStable(t *testing.T) {
	f := builtIn(t).Form(Questionnaire)
	a, err := json.Marshal(f.Parse(url.Values{"platforms": {"ios", "android"}, "app_name": {"x"}, "users": {"members"}}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(f.Parse(url.Values{"users": {"members"}, "app_name": {"x"}, "platforms": {"android", "ios"}}))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"app_name":["x"],"platforms":["ios","android"],"users":["members"]}`; string(a) != want || string(b) != want {
		t.Errorf("%s and %s, want %s", a, b, want)
	}
}

func FuzzParse(f *testing.F) {
	s := builtIn(f)
	for _, seed := range []string{"subject=a%00b", "message=%E2%80%AE&message=x", "platforms=ios&platforms=web&name=%ff", "policy_url=http://[::1]&users_year=1,0", "email=mailto:mailto:x@y", "attest_true=yes&launch=2027-02-30", "a=%zz", "topic=security&leaked=no"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		sent, _ := url.ParseQuery(query) // what is wrong with it is left out
		for _, name := range names {
			form := s.Form(name)
			a := form.Parse(sent)
			for id, values := range a {
				q := form.Question(id)
				if q == nil || q.Kind == Document || len(values) == 0 || q.Kind != Choices && len(values) != 1 {
					t.Fatalf("%s keeps %d values of %s", name, len(values), id)
				}
				for _, v := range values {
					if v == "" || strings.ContainsFunc(v, func(r rune) bool { return forbidden(r) && r != refused && r != '\n' && r != '\t' }) {
						t.Fatalf("%s keeps %q", id, v)
					}
					if strings.ContainsRune(v, refused) && slices.Contains(form.Visible(a), q) && !slices.ContainsFunc(form.Check(a, false), func(p Problem) bool { return p.Question == id }) {
						t.Fatalf("%s may be %q", id, v)
					}
				}
			}
			if again := form.Parse(url.Values(a)); !reflect.DeepEqual(again, a) {
				t.Fatalf("%q becomes %q", a, again)
			}
			text, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			var back Answers
			if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, a) {
				t.Fatalf("%q is %q after it was stored: %v", a, back, err)
			}
			form.Check(a, true)
			form.Contradictions(a)
			form.Warnings(a)
			form.Disclosures(a)
			if d := Diff(form, a, a); len(d) > 0 {
				t.Fatalf("the same answers differ: %v", d)
			}
		}
	})
}

func TestMerge(t *testing.T) {
	f := builtIn(t).Form(Production)
	stored := Answers{"value": {"old"}, "marketing": {"old"}, "policy_url": {"https://example.org/p"}, "policy_document": {"u1"}, "gone": {"x"}}
	sent := Answers{"value": {"new"}, "policy_url": {"https://example.org/q"}, "policy_document": {"forged"}}
	got := f.Merge(stored, sent, "business")
	want := Answers{"value": {"new"}, "policy_url": {"https://example.org/p"}, "policy_document": {"u1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("one section: %v, want %v", got, want)
	}
	if got := f.Merge(stored, sent); !reflect.DeepEqual(got, Answers{"value": {"new"}, "policy_url": {"https://example.org/q"}, "policy_document": {"u1"}}) {
		t.Errorf("all sections: %v", got)
	}
	got["value"][0] = "changed"
	if sent["value"][0] != "new" {
		t.Error("merged answers share memory with those that were sent")
	}
}

// TestVisible follows conditions, and conditions on questions that are conditional themselves.
func TestVisible(t *testing.T) {
	f := builtIn(t).Form(Production)
	asked := func(a Answers, id string) bool { return slices.Contains(f.Visible(a), f.Question(id)) }
	for _, c := range []struct {
		a    Answers
		id   string
		want bool
	}{
		{Answers{}, "monetise_text", false},
		{Answers{"monetise": {"no"}}, "monetise_text", false},
		{Answers{"monetise": {"yes"}}, "monetise_text", true},
		{Answers{"stores_data": {"server"}}, "at_rest", true},
		{Answers{"stores_data": {"none"}}, "at_rest", false},
		{Answers{"stores_data": {"server"}, "at_rest": {"yes"}}, "at_rest_how", true},
		{Answers{"stores_data": {"none"}, "at_rest": {"yes"}}, "at_rest_how", false}, // the answer is left over
		{Answers{"data": {"patient", "claims"}}, "why_claims", true},
		{Answers{"data": {"patient"}}, "why_claims", false},
	} {
		if got := asked(c.a, c.id); got != c.want {
			t.Errorf("%v asks for %s: %t, want %t", c.a, c.id, got, c.want)
		}
	}
	got := f.Asked(Answers{"stores_data": {"none"}, "at_rest": {"yes"}, "at_rest_how": {"AES"}, "other": {"x"}})
	if want := (Answers{"stores_data": {"none"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("asked are %v, want %v", got, want)
	}
}

func TestDiff(t *testing.T) {
	f := builtIn(t).Form(Production)
	was := Answers{"value": {"a"}, "data": {"patient", "claims"}, "stores_data": {"server"}, "at_rest": {"yes"}, "marketing": {"m"}, "old_question": {"x"}, "security_documents": {"u1", "u2"}}
	is := Answers{"value": {"b"}, "data": {"claims", "patient"}, "stores_data": {"none"}, "at_rest": {"yes"}, "monetise": {"no"}, "security_documents": {"u2", "u1"}}
	got := Diff(f, was, is)
	want := []Change{
		{"value", []string{"a"}, []string{"b"}},
		{"monetise", nil, []string{"no"}},
		{"marketing", []string{"m"}, nil},
		{"stores_data", []string{"server"}, []string{"none"}},
		{"at_rest", []string{"yes"}, nil}, // it is not asked any more
		{"old_question", []string{"x"}, nil},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestDisclosures(t *testing.T) {
	f := builtIn(t).Form(Production)
	a := Answers{
		"monetise": {"no"}, "topic_sharing": {"yes"}, "topic_breach": {"no"}, "children": {"no_children"}, "offshore": {"access"}, "carin": {"listed"}, "consent_marketing": {"separate"},
		"stores_data": {"none"}, "attest_changes": {"yes"}, "pkce": {"no"},
	}
	got := f.Disclosures(a)
	for code, want := range map[string]string{
		"P-01": "attested", "P-06": "not_attested", "P-14": "attested", "P-16": "attested", "P-19": "attested", "P-20": "attested", "P-22": "not_attested", "P-31": "attested",
		"P-02": "not_attested", // nobody has answered
		"P-21": "",             // nothing is stored, so it is not asked
		"P-28": "",             // nothing is sold, so it is not asked
		"S-03": "",             // a gate is nothing for members
	} {
		if got[code] != want {
			t.Errorf("%s is %q, want %q", code, got[code], want)
		}
	}
	var unmet []string
	for _, q := range f.Unmet(a) {
		unmet = append(unmet, q.ID)
	}
	if want := []string{"topic_breach", "pkce", "offshore"}; !slices.Equal(unmet, want) {
		t.Errorf("unmet are %v, want %v", unmet, want)
	}
	// Two questions of one criterion: both must attest it.
	s := builtIn(t)
	two := &Form{Name: "two", Sections: []*Section{{ID: "s", Questions: []*Question{
		{ID: "a", Kind: YesNo, Group: Disclosure, Criterion: "P-01"}, {ID: "b", Kind: Attest, Group: Disclosure, Criterion: "P-01"},
	}}}, words: s.words}
	if err := two.index(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a    Answers
		want string
	}{{Answers{"a": {"yes"}, "b": {"yes"}}, "attested"}, {Answers{"a": {"yes"}}, "not_attested"}, {Answers{"b": {"yes"}, "a": {"no"}}, "not_attested"}} {
		if got := two.Disclosures(c.a); !maps.Equal(got, map[string]string{"P-01": c.want}) {
			t.Errorf("%v attests %v", c.a, got)
		}
	}
}
