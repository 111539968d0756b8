package where

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	values := map[string]any{"table": "claims", "key": "c1", "offset": 7,
		"record": map[string]string{"claim_type": "pharmacy", "amount": "12.50", "name": "Yazzie"},
		"lines":  []map[string]string{{"line_number": "1", "code": "A"}, {"line_number": "2"}}}
	for _, tt := range []struct {
		expression string
		want       bool
	}{
		{"", true},
		{"  \n", true},
		{`table == "claims"`, true},
		{`table == "claims" && record.claim_type == "pharmacy"`, true},
		{`record["claim_type"] in ["oral", "vision"]`, false},
		{`offset >= 7 && offset < 8`, true},
		{`key.startsWith("c") && key.matches("^c[0-9]+$")`, true},
		{`double(record.amount) > 12.0`, true},
		{`size(lines) == 2`, true},
		{`lines.exists(l, l.line_number == "2")`, true},
		{`lines.exists(l, "code" in l && l.code == "A")`, true},
		{`lines.all(l, has(l.code))`, false},
		{`has(record.member_id)`, false},
		{`record.member_id == "m"`, false}, // what is missing matches nothing
		{`record.member_id != "m"`, false},
		{`!(record.member_id == "m")`, false},
		{`record.member_id == "m" || table == "claims"`, true},
		{`true`, true},
	} {
		f, err := Compile(tt.expression, "table", "key", "offset int", "record map", "lines list")
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		if got, err := f.Match(values); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v; want %v", tt.expression, got, err, tt.want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, expression := range []string{`tabel == "claims"`, `table ==`, `table`, `offset == "7"`, `size(record)`, `record.x.y == "z"`, `nothing(table)`, strings.Repeat("(", 10_000)} {
		if f, err := Compile(expression, "table", "offset int", "record map"); err == nil {
			t.Errorf("%.40s: compiled to %v", expression, f)
		}
	}
	if _, err := Compile("true", "no name"); err == nil {
		// A variable of an unknown type is a text.
		f, err := Compile(`no == "a"`, "no name")
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := f.Match(map[string]any{"no": "a"}); !ok || err != nil {
			t.Error(ok, err)
		}
	}
}

// TestMatchErrors: an error has no value of the record, and no expression takes forever.
func TestMatchErrors(t *testing.T) {
	many := make([]map[string]string, 2000)
	for i := range many {
		many[i] = map[string]string{"code": "hunter2"}
	}
	for _, expression := range []string{`int(record.name) == 3`, `timestamp(record.name) > timestamp("2020-01-01T00:00:00Z")`, `record.name.matches(record.pattern)`,
		`lines.all(a, lines.all(b, lines.all(c, a.code == b.code && b.code == c.code)))`, `lines[5000].code == "x"`} {
		f, err := Compile(expression, "record map", "lines list")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		ok, err := f.Match(map[string]any{"record": map[string]string{"name": "hunter2", "pattern": "hunter2("}, "lines": many})
		if ok || err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", expression, ok, err)
		}
	}
}
