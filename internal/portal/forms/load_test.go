package forms

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder is an agency's folder with these files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOverride(t *testing.T) {
	dir := folder(t, map[string]string{
		"contact.yaml": `form: contact
version: 7
title: {en: Write to us, es: Escríbanos}
sections:
  - id: only
    title: {en: Message, es: Mensaje}
    questions:
      - {id: subject, kind: text, required: true, label: {en: Subject, es: Asunto}}
      - {id: message, kind: paragraph, label: {en: Message, es: Mensaje}}
`,
		"questionnaire.add.yaml": `form: questionnaire
sections:
  - id: project
    title: {en: ignored, es: ignorado}
    questions:
      - id: county
        kind: choice
        required: true
        when: {timeline: [months_3, months_12]}
        label: {en: Which county?, es: ¿Qué condado?}
        options:
          - {value: wake, en: Wake, es: Wake (condado)}
          - {value: other, en: Another, es: Otro}
  - id: state
    title: {en: The state, es: El estado}
    questions:
      - {id: vendor_number, kind: text, label: {en: Vendor number, es: Número de proveedor}}
checks:
  - id: county_learning
    if: {county: other, experience: none}
    text: {en: A text., es: Un texto.}
`,
		"words.yaml": `words:
  problem.length: {en: "No more than %d letters, please.", es: "No más de %d letras, por favor."}
`,
		".gitkeep": "",
	})
	s, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f := s.Form(Contact); f.Version != 7 || len(f.Questions()) != 2 {
		t.Errorf("contact is version %d with %d questions", f.Version, len(f.Questions()))
	}
	f, old := s.Form(Questionnaire), builtIn(t).Form(Questionnaire)
	if n := len(f.Questions()) - len(old.Questions()); n != 2 {
		t.Errorf("%d questions were added", n)
	}
	if f.Digest() == old.Digest() {
		t.Error("more is asked, and the digest is the same")
	}
	if f.SectionOf("county").Title.EN == "ignored" || f.SectionOf("vendor_number").ID != "state" {
		t.Error("the questions are in other sections")
	}
	if got := f.Contradictions(Answers{"county": {"other"}, "timeline": {"months_3"}, "experience": {"none"}}); !slices.ContainsFunc(got, func(c Contradiction) bool { return c.Rule == "county_learning" }) {
		t.Errorf("the check that was added finds nothing: %+v", got)
	}
	long := f.Check(Answers{"vendor_number": {strings.Repeat("x", 201)}}, false)
	if len(long) != 1 || long[0].Text.EN != "No more than 200 letters, please." || long[0].Text.ES != "No más de 200 letras, por favor." {
		t.Errorf("%+v", long)
	}
	if other := s.Form(App); other.Digest() != builtIn(t).Form(App).Digest() {
		t.Error("a form that nobody touched has another digest")
	}
}

// TestFaults says where a file is wrong.
func TestFaults(t *testing.T) {
	head := "form: contact\nversion: 1\ntitle: {en: A, es: B}\nsections:\n  - id: s\n    title: {en: A, es: B}\n    questions:\n" +
		"      - {id: subject, kind: text, label: {en: A, es: B}}\n      - {id: message, kind: paragraph, label: {en: A, es: B}}\n"
	q := func(s string) string { return head + "      - " + strings.ReplaceAll(s, "\n", "\n        ") + "\n" }
	label := "label: {en: A, es: B}\n"
	for _, c := range []struct{ name, file, text, want string }{
		{"a key that there is not", "contact.yaml", q("id: x\nkind: text\nlabels: {en: A}"), "contact.yaml:12:9: unknown field"},
		{"no YAML", "contact.yaml", "form: [", "contact.yaml:1:"},
		{"a wrong type", "contact.yaml", q("id: x\nkind: text\nrequired: perhaps"), "contact.yaml:12:19: cannot unmarshal"},
		{"a key that occurs twice", "contact.yaml", q("id: x\nid: y"), "contact.yaml:11:9: mapping key"},
		{"nothing", "contact.yaml", "# nothing\n", "one document"},
		{"two documents", "contact.yaml", "a: b\n---\na: b\n", "one document"},
		{"an empty question", "contact.yaml", head + "      -\n", "a question is empty"},
		{"an empty section", "contact.yaml", head + "  -\n", "a section is empty"},
		{"a kind that there is not", "contact.yaml", q("id: x\nkind: colour\n" + label), `contact.yaml:11:9: there is no kind "colour"`},
		{"one language", "contact.yaml", q("id: x\nkind: text\nlabel: {en: A}"), "contact.yaml:12:9: label needs en and es"},
		{"a bad id", "contact.yaml", q("id: X y\nkind: text\n" + label), "contact.yaml:10:9: an id begins"},
		{"the same id", "contact.yaml", q("id: subject\nkind: text\n" + label), "contact.yaml:10:9: the question subject occurs twice"},
		{"no options", "contact.yaml", q("id: x\nkind: choice\n" + label), "contact.yaml:10:9: a choice needs two options"},
		{"options of a text", "contact.yaml", q("id: x\nkind: text\n" + label + "options: [{value: a, en: A, es: B}]"), "contact.yaml:13:9: a question of kind text has no options"},
		{"a condition on a later question", "contact.yaml", q("id: x\nkind: text\n" + label + "when: {y: z}"), "contact.yaml:13:9: there is no question y before this one"},
		{"a condition on free text", "contact.yaml", q("id: x\nkind: text\n" + label + "when: {subject: z}"), "contact.yaml:13:9: subject is answered freely"},
		{"a limit of another kind", "contact.yaml", q("id: x\nkind: text\n" + label + "limits: {bytes: 5}"), "contact.yaml:13:9: a question of kind text has no limit bytes"},
		{"a document without limits", "contact.yaml", q("id: x\nkind: document\n" + label), "contact.yaml:10:9: a document needs the limits"},
		{"a document that browsers run", "contact.yaml", q("id: x\nkind: document\n" + label + "limits: {bytes: 5, count: 1, types: [image/svg+xml]}"), "and not image/svg+xml"},
		{"a gate without a criterion", "contact.yaml", q("id: x\nkind: yes_no\n" + label + "group: gate"), "contact.yaml:13:9: a gate needs a criterion"},
		{"a criterion that there is not", "contact.yaml", q("id: x\nkind: yes_no\n" + label + "group: gate\ncriterion: S-99"), "contact.yaml:14:9: there is no criterion S-99"},
		{"privacy as a gate", "contact.yaml", q("id: x\nkind: yes_no\n" + label + "group: gate\ncriterion: P-01"), "contact.yaml:13:9: P-01 is a criterion of the group disclosure"},
		{"an answer that attests and is none", "contact.yaml", q("id: x\nkind: yes_no\n" + label + "group: gate\ncriterion: S-01\nattests: maybe"), "contact.yaml:15:9: maybe is not an answer to x"},
		{"what nobody reaches", "contact.yaml", q("id: x\nkind: yes_no\n"+label) + "      - {id: y, kind: text, when: {x: \"yes\"}, label: {en: A, es: B}}\n      - {id: z, kind: yes_no, when: {x: \"no\"}, label: {en: A, es: B}}\n" +
			"      - {id: w, kind: text, when: {z: \"yes\", x: \"yes\"}, label: {en: A, es: B}}\n", "contact.yaml:16:29: no answers lead to the question w"},
		{"a check of nothing", "contact.yaml", head + "checks:\n  - {id: c, text: {en: A, es: B}}\n", "contact.yaml:11:6: check c has no condition"},
		{"a check of one", "contact.yaml", head + "checks:\n  - {id: c, same: [subject], text: {en: A, es: B}}\n", "contact.yaml:11:13: same compares two"},
		{"a check of a question that there is not", "contact.yaml", head + "checks:\n  - {id: c, same: [subject, y], text: {en: A, es: B}}\n", "there is no question y"},
		{"numbers of texts", "contact.yaml", head + "checks:\n  - {id: c, more: [subject, message], text: {en: A, es: B}}\n", "subject cannot be compared so"},
		{"what the program needs", "contact.yaml", strings.ReplaceAll(head, "id: message", "id: letter"), "contact.yaml: the program needs the question message"},
		{"another kind of what the program needs", "contact.yaml", strings.ReplaceAll(head, "kind: paragraph", "kind: text"), "contact.yaml:9:23: the program needs message to be of kind paragraph"},
		{"another name", "contact.yaml", strings.ReplaceAll(head, "form: contact", "form: support"), "contact.yaml: form must be contact"},
		{"no version", "contact.yaml", strings.ReplaceAll(head, "version: 1", "version: 0"), "version must be 1 or more"},
		{"an addition", "app.add.yaml", "form: app\nsections:\n  - id: about\n    title: {en: A, es: B}\n    questions:\n      - {id: name, kind: text, label: {en: A, es: B}}\n", "app.add.yaml:6:10: the question name occurs twice"},
		{"a criterion without a code", "criteria.yaml", "criteria:\n  - {code: one, group: gate, text: {en: A, es: B}}\n", "criteria.yaml:2:6: a code is letters"},
		{"a disclosure that members cannot read", "criteria.yaml", "criteria:\n  - {code: P-01, group: disclosure, text: {en: A, es: B}}\n", "member needs en and es"},
		{"words that there are not", "words.yaml", "words:\n  problem.none: {en: A, es: B}\n", "words.yaml:2:3: there is no text problem.none"},
		{"words without their places", "words.yaml", "words:\n  problem.length: {en: Too long, es: Muy largo}\n", "words.yaml:2:3: problem.length must have the places"},
		{"words in one language", "words.yaml", "words:\n  problem.length: {en: \"%d\"}\n", "words.yaml:2:3: problem.length needs en and es"},
		{"a form that there is not", "contakt.yaml", head, "contakt.yaml: no form has this name"},
		{"too much", "contact.yaml", strings.Repeat("# padding\n", largest/10+1), "at most"},
	} {
		_, err := Load(folder(t, map[string]string{c.file: c.text}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that there is not was read")
	}
	// All faults of all files at once.
	_, err := Load(folder(t, map[string]string{"contact.yaml": "form: [", "app.yaml": "form: {"}))
	if err == nil || !strings.Contains(err.Error(), "contact.yaml") || !strings.Contains(err.Error(), "app.yaml") {
		t.Errorf("not all faults are reported: %v", err)
	}
}
