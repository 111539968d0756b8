package api

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

// FuzzCursors reads arbitrary cursors: only what was written for a search is read for it, and as it was.
func FuzzCursors(f *testing.F) {
	c := cursors{bytes.Repeat([]byte("k"), 32)}
	for _, at := range []place{{id: "p0001"}, {keys: []int64{-1, 1 << 62}, id: "e"}, {keys: []int64{0}}, {}} {
		f.Add(c.write(&at, "search"), "search", int64(7), at.id)
	}
	f.Add("AQAx", "", int64(0), "")
	f.Add("____", "x", int64(-1), "\x00")
	f.Fuzz(func(t *testing.T, text, of string, key int64, id string) {
		if at, err := c.read(text, of); err == nil {
			again, err := c.read(c.write(at, of), of)
			if err != nil || !slices.Equal(again.keys, at.keys) || again.id != at.id {
				t.Errorf("%q is %+v, and written again %+v (%v)", text, at, again, err)
			}
		}
		want := place{keys: []int64{key, -key}, id: id}
		written := c.write(&want, of)
		got, err := c.read(written, of)
		if err != nil || !slices.Equal(got.keys, want.keys) || got.id != want.id {
			t.Errorf("%+v is read as %+v (%v)", want, got, err)
		}
		if strings.Trim(written, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("%q does not fit into a URL", written)
		}
		if _, err := c.read(written, of+"x"); err == nil {
			t.Error("a cursor is good for another search")
		}
		other := cursors{bytes.Repeat([]byte("o"), 32)}
		if _, err := other.read(written, of); err == nil {
			t.Error("a cursor is good with another key")
		}
	})
}

// FuzzQuery parses arbitrary searches: what is accepted is the same search when the self link is followed,
// with the same conditions and the same page.
func FuzzQuery(f *testing.F) {
	const base = "http://api.example/fhir"
	for _, q := range []string{"patient=Patient/p0001,p0002&service-date=ge2024&service-date=lt2025", "_id=a,b&_count=0&_sort=-service-date", "identifier=a%5C%2Cb%7Cc&type=%7Coral", "patient:Patient=" + base + "/Patient/x",
		"_include=*&_include:iterate=Coverage:payor&_elements=total", "birthdate=1970&_lastUpdated=ap2024-01-01T10:00+05:30", "a;b", "%zz=1", "_count=1&_count=2", "_cursor=AQAx&_total=none&_pretty=true"} {
		f.Add(uint8(0), q, false)
		f.Add(uint8(1), q, true)
	}
	f.Fuzz(func(t *testing.T, kind uint8, text string, lenient bool) {
		p := parser{base, lenient}
		typ := &types[int(kind)%len(types)]
		parse := func(text string) (*query, error) {
			pairs, err := parsePairs(text)
			if err != nil {
				return nil, err
			}
			return p.parse(typ, pairs)
		}
		q, err := parse(text)
		if err != nil {
			if e := asError(err); e.Status != 400 {
				t.Errorf("%q: %d %v", text, e.Status, e)
			}
			return
		}
		path, link, _ := strings.Cut(q.link(base, typ.typ.String(), ""), "?")
		again, err := parse(link)
		if err != nil || path != base+"/"+typ.typ.String() {
			t.Fatalf("%q has the self link %s?%s: %v", text, path, link, err)
		}
		if again.signed("p") != q.signed("p") || again.count != q.count || again.counts != q.counts || len(again.filters) != len(q.filters) || !slices.Equal(again.ids, q.ids) ||
			!slices.Equal(again.patients, q.patients) || len(again.sort) != len(q.sort) || len(again.includes)+len(again.reverses) != len(q.includes)+len(q.reverses) || again.total != q.total {
			t.Errorf("%q has the self link %s, which is another search", text, link)
		}
		if typ.member != fhir.ParamPatient && q.patients != nil {
			t.Errorf("%q is limited to patients", text)
		}
	})
}
