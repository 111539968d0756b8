package forms

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// builtIn is the set without an agency's folder.
func builtIn(t testing.TB) *Set {
	t.Helper()
	s, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// filled are answers to all that a form asks, so that it may be sent.
func filled(f *Form) Answers {
	a := Answers{}
	for {
		n := len(a)
		for _, q := range f.Visible(a) {
			if len(a[q.ID]) == 0 {
				a[q.ID] = []string{good(q)}
			}
		}
		if len(a) == n {
			return a
		}
	}
}

// good is an answer to a question that nothing is wrong with.
func good(q *Question) string {
	switch q.Kind {
	case Choice, Choices:
		return q.Options[0].Value
	case YesNo, Attest:
		return "yes"
	case URL:
		return "https://app.example.org/" + q.ID
	case Email:
		return "help@example.org"
	case Phone:
		return "+1 (555) 010-0123 ext. 4"
	case Date:
		return "2026-05-17"
	case Number:
		return "7"
	case Document:
		return "u-1_2"
	default:
		return "words about " + q.ID
	}
}

// TestForms holds every form to what it is there for: it can be filled in and sent, every question can come up, and what
// is asked must be answered.
func TestForms(t *testing.T) {
	s := builtIn(t)
	for _, name := range names {
		f := s.Form(name)
		a := filled(f)
		if got := f.Check(a, true); len(got) > 0 {
			t.Errorf("%s: a form that is filled in has problems: %+v", name, got)
		}
		required := 0
		for _, q := range f.Questions() {
			if f.Question(q.ID) != q || f.SectionOf(q.ID) == nil {
				t.Errorf("%s: %s is not found", name, q.ID)
			}
			lead := f.lead(q, Answers{})
			if !slices.Contains(f.Visible(lead), q) {
				t.Errorf("%s: nothing leads to %s", name, q.ID)
			}
			if !q.Required {
				continue
			}
			required++
			delete(lead, q.ID)
			if !slices.ContainsFunc(f.Check(lead, true), func(p Problem) bool { return p.Question == q.ID && strings.HasPrefix(p.Key, "required") }) {
				t.Errorf("%s: %s may be left out", name, q.ID)
			}
		}
		if got := f.Check(Answers{}, false); len(got) > 0 {
			t.Errorf("%s: an empty draft has problems: %+v", name, got)
		}
		if required < 3 {
			t.Errorf("%s demands only %d answers", name, required)
		}
		if len(f.Digest()) != 64 {
			t.Errorf("%s has the digest %q", name, f.Digest())
		}
	}
	if s.Form("other") != nil || s.Form(App).Question("other") != nil || s.Form(App).SectionOf("other") != nil || s.Criterion("X-99") != nil {
		t.Error("something is found that there is not")
	}
}

// texts are all texts of a set with where they stand.
func texts(s *Set) map[string]Text {
	all := map[string]Text{}
	put := func(where string, t Text) {
		if !t.Empty() {
			all[where] = t
		}
	}
	for key, t := range s.words.Words {
		put(key, t)
	}
	for _, c := range s.criteria {
		put(c.Code, c.Text)
		put(c.Code+" member", c.Member)
	}
	for name, f := range s.forms {
		put(name+" title", f.Title)
		put(name+" intro", f.Intro)
		for _, sec := range f.Sections {
			put(name+"/"+sec.ID+" title", sec.Title)
			put(name+"/"+sec.ID+" intro", sec.Intro)
		}
		for _, q := range f.questions {
			put(name+"."+q.ID+" label", q.Label)
			put(name+"."+q.ID+" hint", q.Hint)
			put(name+"."+q.ID+" help", q.Help)
			for _, o := range q.Options {
				put(name+"."+q.ID+" option "+o.Value, o.Text)
			}
		}
		for _, r := range f.Checks {
			put(name+" check "+r.ID, r.Text)
		}
	}
	return all
}

// TestLanguages holds the two languages together.
func TestLanguages(t *testing.T) {
	all := texts(builtIn(t))
	if len(all) < 700 {
		t.Fatalf("only %d texts", len(all))
	}
	address := regexp.MustCompile(`(?i)(^|[^a-záéíóúñ])(tú|tu|tus|ti|puedes|tienes|quieres|haz|escribe|elige)([^a-záéíóúñ]|$)`)
	end := func(s string) string {
		return strings.Trim(s[len(s)-1:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789)")
	}
	for where, text := range all {
		en, es := text.EN, text.ES
		if strings.TrimSpace(en) == "" || strings.TrimSpace(es) == "" {
			t.Errorf("%s lacks a language", where)
			continue
		}
		if en == es && en != "No" {
			t.Errorf("%s is the same in both languages: %s", where, en)
		}
		if !slices.Equal(verb.FindAllString(en, -1), verb.FindAllString(es, -1)) {
			t.Errorf("%s has other places in Spanish", where)
		}
		if m := address.FindString(es); m != "" {
			t.Errorf("%s says tú: %q", where, m)
		}
		if strings.Contains(es, "?") != strings.Contains(es, "¿") || strings.HasSuffix(en, "?") != strings.HasSuffix(es, "?") {
			t.Errorf("%s asks in one language only, or without ¿: %q, %q", where, en, es)
		}
		if a, b := end(en), end(es); (a == ".") != (b == ".") {
			t.Errorf("%s ends as a sentence in one language only: %q, %q", where, en, es)
		}
		if strings.ContainsFunc(strings.ReplaceAll(en+es, string(refused), ""), forbidden) || strings.ContainsAny(en+es, "'\t") || strings.Contains(en+es, "  ") {
			t.Errorf("%s has characters that are not meant to be read: %q, %q", where, en, es)
		}
		if strings.ContainsFunc(en, func(r rune) bool {
			return r > unicode.MaxASCII && !strings.ContainsRune("’“”–"+string(refused), r)
		}) {
			t.Errorf("%s has letters in it that English has not: %q", where, en)
		}
	}
	if got := (Text{EN: "Hello"}).In("es"); got != "Hello" {
		t.Errorf("without Spanish it says %q", got)
	}
	if got := (Text{EN: "Hello", ES: "Hola"}).In("fr"); got != "Hello" {
		t.Errorf("French says %q", got)
	}
}

// TestCriteria keeps the walls: a gate is authenticity, contact or security and can be checked by the reviewer; the
// topics of a privacy policy are disclosures, each with the place in the policy.
func TestCriteria(t *testing.T) {
	s := builtIn(t)
	used := map[string][]string{}
	for _, name := range names {
		for _, q := range s.Form(name).questions {
			if q.Criterion != "" && !slices.Contains(used[q.Criterion], name) {
				used[q.Criterion] = append(used[q.Criterion], name)
			}
		}
	}
	for _, c := range s.Criteria() {
		if strings.HasPrefix(c.Code, "P-") != (c.Group == Disclosure) {
			t.Errorf("%s is a %s", c.Code, c.Group)
		}
		if len(used[c.Code]) == 0 {
			t.Errorf("nothing asks for %s", c.Code)
		}
		if c.Group == Gate && !slices.Contains(used[c.Code], Review) {
			t.Errorf("no reviewer checks %s", c.Code)
		}
	}
	f := s.Form(Production)
	for _, code := range []string{"P-01", "P-02", "P-03", "P-04", "P-05", "P-06", "P-07", "P-08", "P-09", "P-10", "P-11", "P-12"} {
		i := slices.IndexFunc(f.questions, func(q *Question) bool { return q.Criterion == code && q.Kind == YesNo })
		if i < 0 {
			t.Errorf("production does not ask for %s", code)
			continue
		}
		if where := f.Question(f.questions[i].ID + "_where"); where == nil || !where.Required || !slices.Equal(where.When[f.questions[i].ID], Values{"yes"}) {
			t.Errorf("production does not ask where %s is in the policy", code)
		}
	}
	for _, code := range []string{"P-01", "P-02", "P-03", "P-04", "P-05", "P-06", "P-18"} {
		if !slices.Contains(used[code], Review) {
			t.Errorf("the reviewer has no item for %s", code)
		}
	}
}

// TestRestore reads the form of an old snapshot.
func TestRestore(t *testing.T) {
	s := builtIn(t)
	for _, name := range names {
		f := s.Form(name)
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		g, err := s.Restore(text)
		if err != nil {
			t.Fatal(err)
		}
		a := filled(f)
		if g.Digest() != f.Digest() || len(g.Check(a, true)) > 0 || len(Diff(g, a, a)) > 0 {
			t.Errorf("%s is another form after it was stored", name)
		}
		if name == Review && g.Question("identity_note").Item != "identity" {
			t.Error("the parts of an item are not known as such")
		}
	}
	for _, bad := range []string{"", "{}", `{"form":"x"}`, "[]"} {
		if _, err := s.Restore([]byte(bad)); err == nil {
			t.Errorf("%q is a form", bad)
		}
	}
}

// TestReview shows what an item of the checklist asks.
func TestReview(t *testing.T) {
	f := builtIn(t).Form(Review)
	visible := func(a Answers) []string {
		var ids []string
		for _, q := range f.Visible(a) {
			if q.Item == "identity" {
				ids = append(ids, q.ID)
			}
		}
		return ids
	}
	for result, want := range map[string][]string{
		"":               {"identity"},
		"met":            {"identity", "identity_evidence"},
		"not_met":        {"identity", "identity_note", "identity_evidence"},
		"not_applicable": {"identity", "identity_note"},
	} {
		a := Answers{}
		if result != "" {
			a["identity"] = []string{result}
		}
		if got := visible(a); !slices.Equal(got, want) {
			t.Errorf("with %q it asks %v, want %v", result, got, want)
		}
	}
	gates, items := 0, map[string]bool{}
	for _, q := range f.Questions() {
		if q.Item != "" {
			items[q.Item] = true
		}
		if q.Group == Gate {
			gates++
		}
	}
	if len(items) < 40 || gates < 15 {
		t.Errorf("there are %d items and %d gates", len(items), gates)
	}
	var grounds []string
	for _, q := range f.Unmet(Answers{"identity": {"not_met"}, "transit": {"met"}, "keys": {"not_applicable"}, "policy_breach": {"not_met"}, "intuitive": {"not_met"}, "pkce": {"not_met"}}) {
		if q.Group == Gate {
			grounds = append(grounds, q.Criterion)
		}
	}
	if !slices.Equal(grounds, []string{"A-01", "S-03"}) {
		t.Errorf("the grounds are %v", grounds)
	}
}

func TestAccepts(t *testing.T) {
	f := builtIn(t).Form(Production)
	for _, c := range []struct {
		id, media string
		size      int64
		want      string
	}{
		{"policy_document", "application/pdf", 1000, ""},
		{"policy_document", "application/pdf", 10 << 20, ""},
		{"policy_document", "application/pdf", 10<<20 + 1, "file_large"},
		{"policy_document", "application/pdf", 0, "file_empty"},
		{"policy_document", "text/html", 10, "file_type"},
		{"policy_document", "image/png", 10, "file_type"},
		{"security_documents", "image/png", 10, ""},
		{"security_documents", "image/svg+xml", 10, "file_type"},
		{"policy_url", "application/pdf", 10, "file"},
		{"nothing", "application/pdf", 10, "file"},
	} {
		got := ""
		if p := f.Accepts(c.id, c.media, c.size); p != nil {
			got = p.Key
			if p.Text.Empty() || strings.Contains(p.Text.EN+p.Text.ES, "%!") {
				t.Errorf("%s says %q", got, p.Text)
			}
		}
		if got != c.want {
			t.Errorf("%s of %s with %d bytes: %q, want %q", c.media, c.id, c.size, got, c.want)
		}
	}
	if p := f.Accepts("policy_document", "image/png", 10); p.Text.EN != "Choose a file of one of these kinds: PDF." {
		t.Error(p.Text.EN)
	}
}

func TestShow(t *testing.T) {
	f := builtIn(t).Form(Questionnaire)
	for _, c := range []struct {
		id         string
		values     []string
		lang, want string
	}{
		{"platforms", []string{"android", "ios"}, "en", "Android, iPhone and iPad"},
		{"platforms", []string{"ios"}, "es", "iPhone y iPad"},
		{"mock_only", []string{"yes"}, "es", "Sí"},
		{"use_case", []string{"yes"}, "es", "yes"},
		{"platforms", []string{"gone"}, "en", "gone"},
		{"nothing", []string{"x"}, "en", "x"},
	} {
		if got := strings.Join(f.Show(c.id, c.values, c.lang), ", "); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.values, c.id, got, c.want)
		}
	}
}

// TestWords keeps a text for every problem that the code knows, and no other.
func TestWords(t *testing.T) {
	s := builtIn(t)
	var code strings.Builder
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.words.Words)) {
		group, name, _ := strings.Cut(key, ".")
		if group != "show" && !strings.Contains(code.String(), `"`+name+`"`) && !strings.HasPrefix(name, "required_") {
			t.Errorf("nothing says %s", key)
		}
	}
	for _, kind := range []string{Secret, PrivateKey, SSN, Medicare, MemberID, BirthDate} {
		if s.words.text("scan." + kind).Empty() {
			t.Errorf("there is no text for %s", kind)
		}
	}
}
