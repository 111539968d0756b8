package messages

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// show returns the rows of a group as text: "list.name=value" for each value, in order of the
// columns. fields are those that the columns belong to.
func show(fields []cpcds.Field, rows *cpcds.Rows, from, to int) (out []string) {
	for i := from; i < to; i++ {
		var cells []string
		for c := range rows.Columns {
			if v := rows.Columns[c].Value(i); v != "" {
				cells = append(cells, joined(fields[c].Group, fields[c].Name)+"="+v)
			}
		}
		row := strings.Join(cells, " ")
		if rows.Whole[i] {
			row = "* " + row
		}
		out = append(out, row)
	}
	return out
}

func showPlace(c *Collector, p Place) []string {
	g := c.Group(p.Group)
	return show(g.Fields, g.Rows, p.From, p.To)
}

func names(fields []cpcds.Field) (out []string) {
	for _, f := range fields {
		s := joined(f.Group, f.Name)
		if f.Fault != "" {
			s += " (" + f.Fault + ")"
		}
		out = append(out, s)
	}
	return out
}

func add(t testing.TB, c *Collector, f Format, message string, number int64) Place {
	t.Helper()
	p, err := c.Add(t.Context(), f, []byte(message), number)
	if err != nil {
		t.Fatalf("%v in %q", err, cut(message))
	}
	return p
}

func TestJSONValues(t *testing.T) {
	check := func(message string, want ...string) {
		t.Helper()
		var c Collector
		got := showPlace(&c, add(t, &c, JSON(), message, 7))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", message, diff)
		}
	}
	check(`{}`, "* ")
	check(" {\t\"a\" :\r\n\"x\" } \n", "* a=x")
	check(`{"a":"x","b":null,"c":"","d":true,"e":false}`, "* a=x d=true e=false")
	check(`{"a":0,"b":-0,"c":1.50,"d":-12e+05,"e":1E-2,"f":123456789012345678901234567890}`,
		"* a=0 b=-0 c=1.50 d=-12e+05 e=1E-2 f=123456789012345678901234567890")
	check(`{"a":"\"\\\/\b\f\n\r\t","b":"\u00e4\u20AC\ud83d\ude00"}`, "* a=\"\\/\b\f\n\r\t b=ä€😀")
	check(`{"\u0061":"x","ä":"ö","a\"b":"y"}`, "* a=x a\"b=y ä=ö")
	check(`{"a":"before\u0041after, which is longer than eight bytes"}`, "* a=beforeAafter, which is longer than eight bytes")
	check(`{"a":"\u0000"}`, "* a=\x00") // refused by the layout, as in a file
	check(`{"":"x"}`, "* =x")
	check("{\"a\":\"\u007f\ufeff\u2028\"}", "* a=\u007f\ufeff\u2028")

	check(`{"id":"1","lines":[{"n":"1"},{"n":"2","x":5}]}`, "* id=1 lines.n=1", "id=1 lines.n=2 lines.x=5")
	check(`{"id":"1","lines":[]}`, "* id=1")
	check(`{"id":"1","lines":[{},{"n":"2"}]}`, "* id=1", "id=1 lines.n=2")
	check(`{"id":"1","lines":[null,{"n":"2"}]}`, "* id=1", "id=1 lines.n=2")
	check(`{"z":[{"a":1},{"a":2}],"id":"1","b":[{"a":3}]}`, "* id=1 b.a=3", "id=1 z.a=1", "id=1 z.a=2")
	check(`{"id":"1","codes":["x","",null,"y"]}`, "* id=1 codes.codes=x", "id=1", "id=1", "id=1 codes.codes=y")

	check(`{"member":{"id":"1","name":{"family":"F"}}}`, "* family=F id=1")
	check(`{"doctor":{"npi":"1"},"billing":{"npi":"2"},"npi":"3"}`, "* billing.npi=2 doctor.npi=1 npi=3")
	check(`{"lines":[{"doctor":{"npi":"1"},"billing":{"npi":"2"}}],"npi":"3"}`, "* npi=3 lines.billing.npi=2 lines.doctor.npi=1")
	check(`{"claim":{"lines":[{"n":1}]},"id":"1"}`, "* id=1 lines.n=1")

	check(`{"":[["x"],["y"]],"id":"1"}`, "* id=1")
	check(`{"id":"1","deep":[["x"],[{"a":[1]}]]}`, "* id=1")
	check(`{"id":"1","lines":[{"n":"1","codes":["x",{"a":null,"b":[true,-1.5,"\n"]}]}]}`, "* id=1 lines.n=1")
}

func TestJSONFaults(t *testing.T) {
	check := func(message string, want ...string) {
		t.Helper()
		var c Collector
		g := c.Group(add(t, &c, JSON(), message, 0).Group)
		if diff := cmp.Diff(want, names(g.Fields)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", message, diff)
		}
		if len(g.Rows.Columns) != len(g.Fields) {
			t.Errorf("%d columns for %d fields", len(g.Rows.Columns), len(g.Fields))
		}
	}
	check(`{"a":[["x"]],"b":1}`, "b", "a.a (is a list within a list)")
	check(`{"lines":[{"n":1,"codes":["x"]}]}`, "lines.codes (is a list within a list)", "lines.n")
	check(`{"a":[],"o":{},"n":null}`, "n")
}

// rejected is a message with the rule that it breaks, the field and the offset.
type rejected struct {
	message, rule, field string
	offset               int
}

func checkRejected(t *testing.T, c *Collector, f Format, cases []rejected) {
	t.Helper()
	for _, x := range cases {
		messages := c.Messages()
		_, err := c.Add(t.Context(), f, []byte(x.message), 1)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v instead of %s", cut(x.message), err, x.rule)
			continue
		}
		got := rejected{x.message, e.Rule, e.Field, e.Offset}
		if got != x || e.Retriable || c.Messages() != messages {
			t.Errorf("%q:\ngot  %s, field %q, offset %d\nwant %s, field %q, offset %d", cut(x.message), e.Rule, e.Field, e.Offset, x.rule, x.field, x.offset)
		}
	}
}

func TestJSONRules(t *testing.T) {
	c := Collector{Limits: Limits{Bytes: 3000, Text: 40, Depth: 4, Fields: 5, Rows: 3}}
	add(t, &c, JSON(), `{"a":"before"}`, 0)
	checkRejected(t, &c, JSON(), []rejected{
		{"", RuleEmpty, "", -1},
		{strings.Repeat(" ", 3001), RuleTooLarge, "", -1},
		{"  ", RuleTruncated, "", 2},
		{"{", RuleTruncated, "", 1},
		{`{"a`, RuleTruncated, "", 3},
		{`{"a"`, RuleTruncated, "", 4},
		{`{"a":`, RuleTruncated, "a", 5},
		{`{"a":"x`, RuleTruncated, "a", 7},
		{`{"a":"\`, RuleTruncated, "a", 7},
		{`{"a":"\u12`, RuleTruncated, "a", 10},
		{`{"a":1`, RuleTruncated, "", 6},
		{`{"a":tru`, RuleTruncated, "a", 8},
		{`{"a":-`, RuleTruncated, "a", 6},
		{`{"a":[`, RuleTruncated, "a", 6},
		{`{"a":[1,`, RuleTruncated, "a", 8},
		{`{"a":1}x`, RuleTrailing, "", 7},
		{`{"a":1}{"a":2}`, RuleTrailing, "", 7},
		{`[{"a":1}]`, RuleNotAnObject, "", 0},
		{`"text"`, RuleNotAnObject, "", 0},
		{` null`, RuleNotAnObject, "", 1},
		{`-1`, RuleNotAnObject, "", 0},
		{"\x00\x00\x00\x00\x01{}", RuleNotJSON, "", 0},
		{"\ufeff{}", RuleNotJSON, "", 0},
		{`{a:1}`, RuleNotJSON, "", 1},
		{`{"a" 1}`, RuleNotJSON, "", 5},
		{`{"a":1,}`, RuleNotJSON, "", 7},
		{`{"a":1 "b":2}`, RuleNotJSON, "", 7},
		{`{"a":[1,]}`, RuleNotJSON, "a", 8},
		{`{"a":[1 2]}`, RuleNotJSON, "a", 8},
		{`{"a":01}`, RuleNotJSON, "", 6},
		{`{"a":1.}`, RuleNotJSON, "a", 7},
		{`{"a":.5}`, RuleNotJSON, "a", 5},
		{`{"a":+1}`, RuleNotJSON, "a", 5},
		{`{"a":1e}`, RuleNotJSON, "a", 7},
		{`{"a":NaN}`, RuleNotJSON, "a", 5},
		{`{"a":True}`, RuleNotJSON, "a", 5},
		{`{"a":nul1}`, RuleNotJSON, "a", 8},
		{`{'a':1}`, RuleNotJSON, "", 1},
		{`{"a":"\x"}`, RuleNotJSON, "a", 7},
		{`{"a":"\u12g4"}`, RuleNotJSON, "a", 10},
		{"{\"a\":\"\n\"}", RuleNotJSON, "a", 6},
		{"{\"a\":\"12345678\x1f\"}", RuleNotJSON, "a", 14},
		{"{\"a\":\"\\n\t\"}", RuleNotJSON, "a", 8},
		{"{\"a\":\"123\n5678901234567890\"}", RuleNotJSON, "a", 9},
		{"{\"a\":\"123\xff5678901234567890\"}", RuleNotUTF8, "a", 6},
		{"{\"a\":\"\xff\"}", RuleNotUTF8, "a", 6},
		{"{\"a\":\"\xed\xa0\x80\"}", RuleNotUTF8, "a", 6},
		{"{\"a\":\"\\n\xc3\"}", RuleNotUTF8, "a", 6},
		{"{\"a\xff\":1}", RuleNotUTF8, "", 2},
		{`{"a":"\ud800"}`, RuleNotUTF8, "a", 6},
		{`{"a":"\ud800\u0041"}`, RuleNotUTF8, "a", 6},
		{`{"a":"\udc00\ud800"}`, RuleNotUTF8, "a", 6},
		{`{"a":1,"a":2}`, RuleDuplicateField, "a", 8},
		{`{"a":1,"\u0061":2}`, RuleDuplicateField, "a", 8},
		{`{"lines":[{"n":1},{"n":2,"n":3}]}`, RuleDuplicateField, "lines.n", 26},
		{`{"o":{"n":2,"n":3}}`, RuleDuplicateField, "o.n", 13},
		{`{"a":{"b":{"c":{"d":{"e":1}}}}}`, RuleTooDeep, "a.b.c.d", 21},
		{`{"a":[{"b":[[1]]}]}`, RuleTooDeep, "a.b", 12},
		{`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}`, RuleTooManyFields, "f", 36},
		{`{"a":[1,2,3,4]}`, RuleTooManyRows, "a", 12},
		{`{"a":"` + strings.Repeat("x", 41) + `"}`, RuleTextTooLong, "a", 6},
		{`{"a":` + strings.Repeat("1", 41) + `}`, RuleTextTooLong, "a", 5},
		{`{"` + strings.Repeat("x", 1025) + `":1}`, RuleNameTooLong, "", 2},
		{`{"a":[["\ud800"]]}`, RuleNotUTF8, "a", 8},
		{`{"a":[[1,]]}`, RuleNotJSON, "a", 9},
		{`{"a":[[{"b" 1}]]}`, RuleNotJSON, "a", 12},
	})
	add(t, &c, JSON(), `{"x\"y":1}`, 0)
	checkRejected(t, &c, JSON(), []rejected{{`{"x"y":1}`, RuleNotJSON, "", 4}}) // is not the name before
	if got := showPlace(&c, Place{0, 0, 1}); c.Groups() != 2 || got[0] != "* a=before" {
		t.Errorf("after rejected messages: %d groups, %q", c.Groups(), got)
	}
	add(t, &c, JSON(), `{"a":"after"}`, 0)
}

// TestManyCells refuses a message whose rows would take far more memory than itself.
func TestManyCells(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 300 {
		fmt.Fprintf(&b, `"f%d":1,`, i)
	}
	b.WriteString(`"lines":[{"x":1}` + strings.Repeat(",{}", 60_000) + "]}")
	var c Collector
	checkRejected(t, &c, JSON(), []rejected{{b.String(), RuleTooManyRows, "", -1}})
	c.Select = func(uint64, []cpcds.Field) pipeline.Columns { return pipeline.Columns{Bound: []int{0}} }
	c.plans.reset()
	if p := add(t, &c, JSON(), b.String(), 0); p.To != 1 {
		t.Errorf("%d rows of a list that is not read", p.To)
	}
}

// TestManyNames refuses a message with more names than fields are allowed, though none has a value.
func TestManyNames(t *testing.T) {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, `,"f%02d":[]`, i)
	}
	c := Collector{Limits: Limits{Fields: 5}}
	checkRejected(t, &c, JSON(), []rejected{{"{" + b.String()[1:] + "}", RuleTooManyFields, "", 92}})
}

// TestNoValuesInErrors puts a secret into every place of a message where a value can be.
func TestNoValuesInErrors(t *testing.T) {
	secret := "SECRET"
	for _, m := range []string{
		`{"a":"SECRET`, `{"a":"SECRET"SECRET`, `{"a":SECRET}`, `{"a":"SECRET","a":"SECRET"}`, `{"a":["SECRET" "SECRET"]}`,
		"{\"a\":\"SECRET\xff\"}", `{"a":"SECRET"} SECRET`, `"SECRET"`, `SECRET`, `{"a":"SECRET\ud800"}`,
	} {
		var c Collector
		if _, err := c.Add(t.Context(), JSON(), []byte(m), 0); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", m, err)
		}
	}
}

func TestShapes(t *testing.T) {
	var c Collector
	first := add(t, &c, JSON(), `{"a":"1","b":"2","lines":[{"x":1,"y":2}]}`, 10)
	other := add(t, &c, JSON(), `{"lines":[{"y":4},{"x":3}],"b":"4","a":"3"}`, 11)
	more := add(t, &c, JSON(), `{"a":"5","b":"6","c":"7","lines":[{"x":1,"y":2}]}`, 12)
	number := add(t, &c, JSON(), `{"a":5,"b":null,"lines":[{"x":true,"y":""}]}`, 13)
	if first.Group != 0 || other.Group != 0 || number.Group != 0 || more.Group != 1 || c.Groups() != 2 {
		t.Fatalf("groups %d, %d, %d, %d", first.Group, other.Group, more.Group, number.Group)
	}
	g := c.Group(0)
	want := []string{"* a=1 b=2 lines.x=1 lines.y=2", "* a=3 b=4 lines.y=4", "a=3 b=4 lines.x=3", "* a=5 lines.x=true"}
	if diff := cmp.Diff(want, show(g.Fields, g.Rows, 0, g.Rows.N)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{10, 11, 11, 13}, g.Rows.Numbers); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
	if other != (Place{0, 1, 3}) {
		t.Errorf("place %v", other)
	}
	ids := []uint64{c.Group(0).ID, c.Group(1).ID}
	c.Reset()
	if c.Groups() != 0 || c.Messages() != 0 {
		t.Errorf("%d groups after Reset", c.Groups())
	}
	more = add(t, &c, JSON(), `{"c":"7","a":"5","b":"6","lines":[{"x":1,"y":2}]}`, 20)
	first = add(t, &c, JSON(), `{"b":"1","a":"2","lines":[{"x":1,"y":2}]}`, 21)
	if more.Group != 0 || first.Group != 1 || c.Group(0).ID != ids[1] || c.Group(1).ID != ids[0] {
		t.Errorf("groups %d, %d with other IDs", more.Group, first.Group)
	}
	var another Collector
	add(t, &another, JSON(), `{"b":"1","a":"2","lines":[{"x":1,"y":2}]}`, 21)
	if another.Group(0).ID != ids[0] {
		t.Error("another collector gives the shape another ID")
	}
}

func TestExpect(t *testing.T) {
	c := Collector{Expect: []cpcds.Field{
		{Name: "a", Type: "string"}, {Name: "b"}, {Name: "x", Group: "lines"}, {Name: "y", Group: "lines"},
		{Name: "doctor.npi", Group: "lines"},
	}}
	f := JSON()
	check := func(message string, group int, want ...string) {
		t.Helper()
		p := add(t, &c, f, message, 0)
		if p.Group != group {
			t.Errorf("%s: group %d instead of %d", message, p.Group, group)
		}
		if diff := cmp.Diff(want, showPlace(&c, p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", message, diff)
		}
	}
	check(`{}`, 0, "* ")
	check(`{"b":"1"}`, 0, "* b=1")
	check(`{"a":"1","b":null,"z":null}`, 0, "* a=1")
	check(`{"lines":[{},{"y":"2"}]}`, 0, "* ", "lines.y=2")
	check(`{"lines":[{"x":"1"}],"a":"3"}`, 0, "* a=3 lines.x=1")
	check(`{"lines":null,"a":"3"}`, 0, "* a=3")
	check(`{"a":"3","new":"4"}`, 1, "* a=3 new=4")
	check(`{"new":"4","b":"3"}`, 1, "* b=3 new=4")
	check(`{"lines":[{"doctor":{"npi":"1"}}]}`, 0, "* lines.doctor.npi=1")
	check(`{"lines":[{"doctor":{"npi":"1"},"billing":{"npi":"2"},"x":"3"}],"a":"1"}`, 2, "* a=1 lines.doctor.npi=1 lines.npi=2 lines.x=3")
	check(`{"member":{"a":"1"}}`, 0, "* a=1")
	check(`{"a":"2","member":{"a":"1"}}`, 3, "* a=2 member.a=1")
	check(`{"a":"2"}`, 0, "* a=2")
	check(`{"member":{"a":"1"},"other":{"a":"3"}}`, 4, "* member.a=1 other.a=3")
	check(`{"p":{"lines":[{"x":"1"}]},"q":{"lines":[{"x":"2"}]}}`, 5, "* lines.x=1", "lines.x=2")
	want := []string{"a", "b", "lines.doctor.npi", "lines.x", "lines.y"}
	if diff := cmp.Diff(want, names(c.Group(0).Fields)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestSelect(t *testing.T) {
	calls := 0
	c := Collector{Select: func(id uint64, fields []cpcds.Field) pipeline.Columns {
		calls++
		at := func(name string) int { return slices.Index(names(fields), name) }
		return pipeline.Columns{Bound: []int{at("lines.n"), at("id")}, Kept: []int{at("notes.text"), at("other")}}
	}}
	for range 2 {
		p := add(t, &c, JSON(), `{"id":"1","other":"2","unused":"3","lines":[{"n":1},{"n":2}],"notes":[{"text":"x"}]}`, 5)
		fields := []cpcds.Field{{Name: "n", Group: "lines"}, {Name: "id"}, {Name: "text", Group: "notes"}, {Name: "other"}}
		want := []string{"* lines.n=1 id=1 other=2", "lines.n=2 id=1 other=2"}
		if diff := cmp.Diff(want, show(fields, c.Group(0).Rows, p.From, p.To)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		c.Reset()
	}
	if calls != 1 {
		t.Errorf("Select was called %d times", calls)
	}
}

// TestManyShapes reads more fields and more combinations of them than a collector remembers.
func TestManyShapes(t *testing.T) {
	var c Collector
	for i := range maxLeaves / 2 {
		message := fmt.Sprintf(`{"f%d":"x%d","g%d":[{"h":"y"}]}`, i, i, i)
		p := add(t, &c, JSON(), message, int64(i))
		want := fmt.Sprintf("* f%d=x%d g%d.h=y", i, i, i)
		if got := showPlace(&c, p); len(got) != 1 || got[0] != want {
			t.Fatalf("message %d: %q", i, got)
		}
		if i%100 == 99 {
			c.Reset()
		}
		if n := len(c.sink.json.leaves); n > maxLeaves+10 || c.plans.size > maxPlans || len(c.plans.shapes) > maxPlans {
			t.Fatalf("%d leaves, %d plans, %d shapes", n, c.plans.size, len(c.plans.shapes))
		}
	}
}

// TestBrokenMessages checks that messages that cannot be read take no memory.
func TestBrokenMessages(t *testing.T) {
	var c Collector
	message := []byte(`{"a":"\n` + strings.Repeat("x", 300_000) + `","b"}`)
	for range 100 {
		if _, err := c.Add(t.Context(), JSON(), message, 0); err == nil {
			t.Fatal("a broken message is accepted")
		}
	}
	if n := len(c.sink.text.chunks); n > 4 {
		t.Errorf("%d chunks of memory", n)
	}
}

// TestReuse checks that memory is neither shared by messages nor overwritten before Reset.
func TestReuse(t *testing.T) {
	var c Collector
	for round := range 3 {
		var places []Place
		var want [][]string
		for i := range 5000 {
			message := []byte(fmt.Sprintf(`{"id":"%d-%d","long":"%s","e":"\n%d"}`, round, i, strings.Repeat("x", i%700), i))
			p, err := c.Add(t.Context(), JSON(), message, int64(i))
			if err != nil {
				t.Fatal(err)
			}
			places, want = append(places, p), append(want, showPlace(&c, p))
			want[i][0] = strings.Clone(want[i][0])
			for k := range message {
				message[k] = '!'
			}
			c.Add(t.Context(), JSON(), []byte(`{"id":"broken","e":"\nbroken`), 0)
		}
		for i, p := range places {
			if got := showPlace(&c, p); !slices.Equal(got, want[i]) {
				t.Fatalf("message %d is %q instead of %q", i, got, want[i])
			}
		}
		c.Reset()
	}
}
