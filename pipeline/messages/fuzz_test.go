package messages

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"
)

// fuzzOne reads a message and checks the rows, or the error. It returns whether it can be read.
func fuzzOne(t *testing.T, c *Collector, f Format, message []byte) bool {
	t.Helper()
	c.Reset()
	p, err := c.Add(t.Context(), f, message, 3)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Rule == RuleDecoderFailed || e.Retriable || e.Offset > len(message) || c.Messages() != 0 {
			t.Fatalf("%v", err)
		}
		return false
	}
	g := c.Group(p.Group)
	if p.From != 0 || p.To != g.Rows.N || len(g.Rows.Whole) != g.Rows.N || len(g.Rows.Numbers) != g.Rows.N || !g.Rows.Whole[0] {
		t.Fatalf("place %v in %d rows", p, g.Rows.N)
	}
	for i := range g.Rows.Columns {
		column := &g.Rows.Columns[i]
		if len(column.Index) != g.Rows.N {
			t.Fatalf("column %d has %d rows instead of %d", i, len(column.Index), g.Rows.N)
		}
		for row := range g.Rows.N {
			if v := column.Value(row); !utf8.ValidString(v) {
				t.Fatalf("a value is not UTF-8")
			}
		}
	}
	return true
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		smallMessage, `{"a":[{"b":1},null,"x",[1,{"c":[]}]],"o":{"p":{"q":"\ud83d\ude00"}}}`, `{"a":1e5,"a":2}`, `[`, `{"a":"\u00`,
	} {
		f.Add([]byte(s))
	}
	var c Collector
	f.Fuzz(func(t *testing.T, message []byte) {
		ok := fuzzOne(t, &c, JSON(), message)
		var v map[string]any
		valid := json.Unmarshal(message, &v) == nil && v != nil
		if ok && !valid {
			t.Fatal("encoding/json does not accept the message")
		}
		if ok || !valid {
			return
		}
		// encoding/json also accepts duplicate names and invalid UTF-8.
		_, err := c.Add(t.Context(), JSON(), message, 0)
		var e *Error
		if errors.As(err, &e) && (e.Rule == RuleNotJSON || e.Rule == RuleTruncated || e.Rule == RuleTrailing || e.Rule == RuleNotAnObject) {
			t.Fatalf("encoding/json accepts the message: %v", err)
		}
	})
}
