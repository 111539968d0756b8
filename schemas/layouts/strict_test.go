package layouts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// findingsOf compiles a text and returns its findings without the file name.
func findingsOf(yaml string, files map[string]string) []string {
	l, findings := parseText(yaml, files)
	var out []string
	for _, f := range findings {
		out = append(out, strings.TrimPrefix(f.String(), "test.yaml:"))
	}
	if l != nil {
		out = append(out, "compiled")
	}
	return out
}

// TestFindings proves that all faults are found, each at its place.
func TestFindings(t *testing.T) {
	f := func(yaml string, want ...string) {
		t.Helper()
		files := map[string]string{
			"twice.csv": "from,to\na,b\na,c\n,d\n",
			"other.csv": "code,target\na,b\n",
			"towns.csv": "from,to\na,b\n",
		}
		if d := cmp.Diff(want, findingsOf(strings.TrimPrefix(yaml, "\n"), files)); d != "" {
			t.Errorf("%s\n-want +got\n%s", yaml, d)
		}
	}
	const head = "layout: x\ntables:\n  members:\n    key: [member_id]\n    columns:\n      member_id: Id\n"

	f(head, "compiled")
	f("", " the file is empty")
	f("layout: x\nlayout: y\n", `2:1: mapping key "layout" already defined at [1:1]`)
	f("layout: X y\ntabels: {}\n",
		"1:1: a layout needs tables",
		"1:9: layout must be a name of lower-case letters, digits, hyphens and dots",
		`2:1: unknown key "tabels" in the layout; did you mean "tables"?`)
	f(head+"      gendr_code: Sex\n", `7:7: unknown element "gendr_code" in table members; did you mean "gender_code"?`)
	f(head+"      gender_code: {form: [Sex]}\n",
		`7:7: gender_code needs one of from, all, each or const`,
		`7:21: unknown key "form" in gender_code; did you mean "from"?`)
	f(head+"      gender_code: {from: Sex, const: male}\n", "7:7: gender_code must have only one of from, all, each or const")
	f(head+"      date_of_birth: {from: D, formats: [DD.Xon.YYYY, YYYYMM], decimals: 2}\n",
		`7:42: date format "DD.Xon.YYYY" has "X"; use YYYY, MM, Mon, M, DD, D, hh, mm and ss`,
		`7:55: date format "YYYYMM" must have a year, a month and a day`,
		"7:64: date_of_birth is a date, but decimals is only for money and quantity")
	f(head+"      date_of_birth: {const: yesterday}\n", "7:30: date_of_birth must be a valid date")
	f(head+"      deceased: {from: Dead, map: {X: true, Y: maybe}}\n", "7:48: deceased must be a valid flag")
	f(head+"      state: {from: State, formats: [YYYYMMDD], invalid: drop, sign: up}\n",
		"7:28: state is a code, so it has no date formats",
		"7:58: invalid must be null or reject",
		"7:64: state is a code, but sign is only for money and quantity",
		"7:70: sign must be leading or trailing")
	f(head+"      city: {from: City, expr: 'value + 1'}\n",
		"7:32: expression, line 1, character 7: found no matching overload for '_+_' applied to '(string, int)'")
	f(head+"      city: {from: City, expr: 'size(value)'}\n", "7:32: the expression returns a int; it must return a string")
	f(head+"      city: {from: City, expr: 'values[0]'}\n", "7:32: expression, line 1, character 1: undeclared reference to 'values' (did you mean 'value'?)")
	f(head+"      city: {all: [A, B]}\n", "7:7: city reads several columns, so it needs an expr")
	f(head+"      city: {each: [A, B]}\n", "7:14: city is of level member: only diagnosis, procedure and care_team elements repeat in a row")
	f(head+"      city: {from: City, lenient: {map: {a: b}}}\n", "7:26: lenient of city needs the name of its repair")
	f(head+"      city: {from: City, lenient: {repair: Fix It}}\n",
		"7:26: lenient of city is empty: it needs from, expr, map or code_map",
		"7:44: repair must be lower-case words joined by hyphens")
	f(head+"      city: {from: City, code_map: none}\ncode_maps: {none: none.csv}\n", "8:19: open code map: file does not exist")
	f(head+"      city: {from: City, code_map: twice}\ncode_maps: {twice: twice.csv}\n",
		"twice.csv:3: the code is already in line 2", "twice.csv:4: column from is empty")
	f(head+"      city: {from: City, code_map: other}\ncode_maps: {other: other.csv}\n", "other.csv:1: a code map needs the columns from and to")
	f(head+"      city: {from: City, code_map: townes}\ncode_maps: {towns: towns.csv}\n",
		`7:36: unknown code map "townes" in the layout; declare it with its file under code_maps; did you mean "towns"?`,
		"8:13: no column uses code map towns")
	f(head+"      city: ~\n", "7:7: city needs one of from, all, each or const", "7:13: city must be a mapping of keys to values")
	f(head+"    ignore: {Id: double, Code: \"\", \"*\": all}\n",
		`3:3: header "Id" of member_id is also under ignore`,
		`7:26: give a reason why "Code" is ignored`, "7:36: ignore must name headers")
	f(head+"    split: {element: drg_code}\n", "7:5: split is not allowed in table members",
		"7:5: split needs element, claim_type and repair",
		"7:22: claims are split by a line element, but drg_code is of level header")
	f(head+"    required: [city]\n", "3:3: table members has no column for city")
	f(head+"claims: {ids: new, first_diagnosis_principal: {}, malformed_npi: {repair: x, rule: y}}\n",
		"7:15: ids must be per_version or reused",
		"7:20: first_diagnosis_principal needs the name of its repair",
		`7:78: unknown key "rule" in malformed_npi; use one of repair`)
	f(head+"claims: {reclassify: [{repair: r, when: {line_number: 1}, set: {drg_code: [a]}}], skip_payers: {rule: r}}\n",
		"7:23: reclassify needs repair, when and set",
		"7:42: line_number is not a header element: it may occur more than once in a claim",
		"7:75: drg_code must be a single text",
		"7:83: skip_payers needs rule and payers")
	f(head+"csv: {delimiter: ';;', quote: '', encoding: ebcdic, short_rows: 1}\n",
		"7:18: delimiter must be one character",
		"7:45: encoding must be one of utf-8, windows-1252, iso-8859-1, utf-16, utf-16le, utf-16be",
		"7:65: short_rows must be true or false")
	f(head+"csv: {escape: '\\', trim: true, excel_guards: true, encoding: UTF-16}\n", "compiled")
	f(head+"csv: {quote: \"'\", escape: \"'\", encoding: utf-16be}\n", "compiled")
	f(head+"csv: {delimiter: '§', encoding: iso-8859-1}\n", "compiled")
	f(head+"csv: {escape: '\\\\', trim: 1, excel_guards: maybe, excel_guard: true}\n",
		"7:15: escape must be one character",
		"7:27: trim must be true or false",
		"7:44: excel_guards must be true or false",
		`7:51: unknown key "excel_guard" in csv; did you mean "excel_guards"?`)
	f(head+"csv: {escape: '^'}\n", `7:15: escape must be \, or the quote character if quotes are only doubled`)
	f(head+"csv: {quote: '', escape: '\"'}\n", "compiled")
	f(head+"csv: {quote: '', escape: \"'\"}\n", `7:26: escape must be \, or the quote character if quotes are only doubled`)
	f(head+"csv: {escape: '\\', delimiter: '\\'}\n", `7:15: an escaping \ cannot be the delimiter or the quote`)
	f(head+"csv: {delimiter: '\"'}\n", "7:18: delimiter and quote are the same character")
	f(head+"csv: {delimiter: §, quote: '”'}\n", "7:18: delimiter must be an ASCII character", "7:28: quote must be an ASCII character")
	f(head+"csv: {delimiter: \"\\n\"}\n", "7:18: delimiter cannot be a line end or NUL")
	f(head+"systems: {claim: here, provder: 'urn:x'}\n",
		"7:18: claim must be a URI", `7:24: unknown key "provder" in systems; did you mean "provider"?`)
	f(head+"constants: {claims: [], organizations: [{organization_name: [a]}]}\n",
		`7:13: unknown table "claims" in constants; use one of members, coverages, providers, organizations`,
		"7:61: organization_name must be a single text")
	f(head+"      city: *home\n", "7:13: the alias *home has no anchor before it")
	f(head+"---\nlayout: y\n", "8:1: a layout must be one document, this is a second one")
	f(strings.ReplaceAll(head, "Id", "[Id"), "6:18: sequence end token ']' not found")
}

// TestCheckReadsFiles proves that positions bear the path of the file.
func TestCheckReadsFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("layout: x\ntables: {members: {colums: {}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, findings := Check(file)
	if l != nil || len(findings) == 0 || !strings.HasPrefix(findings[len(findings)-1].String(), file+":2:20: unknown key") {
		t.Errorf("got %v", findings)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file+":2:20") {
		t.Errorf("open: %v", err)
	}
}
