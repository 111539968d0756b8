package spill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// rows returns n rows of two columns; every third value of the second column is missing.
func rows(first int64, n int) *cpcds.Rows {
	r := &cpcds.Rows{First: first, N: n, Columns: make([]cpcds.Column, 2)}
	for i := range n {
		r.Columns[0].AppendPlain(fmt.Sprintf("key-%d", first+int64(i)))
		v := ""
		if i%3 != 0 {
			v = fmt.Sprintf("value \u00e9 %d", i)
		}
		r.Columns[1].AppendPlain(v)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	for _, limit := range []int{1, 500, 1 << 20} {
		dir := t.TempDir()
		s := NewSet(dir, "rows-00", 2, 3)
		w, err := NewWriter(limit)
		if err != nil {
			t.Fatal(err)
		}
		want := make([][]string, 3)
		for batch := range 5 {
			r := rows(int64(batch*100), 40)
			for i := range 40 {
				p := i % 2 // partition 2 stays empty
				if err := w.Append(s, p, r, i, i+1, int32(batch)); err != nil {
					t.Fatal(err)
				}
				want[p] = append(want[p], fmt.Sprint(batch, r.InputRow(i), r.Columns[0].Value(i), r.Columns[1].Value(i)))
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for p := range want {
			got, err := readAll(s, p)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want[p]) {
				t.Errorf("limit %d, partition %d: got %d rows %v, want %d rows %v", limit, p, len(got), got, len(want[p]), want[p])
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Fatalf("%d files, want 2 (%v)", len(entries), err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, want 0600 (%v)", e.Name(), info.Mode(), err)
			}
		}
		s.Remove()
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%d files remain after Remove", len(entries))
		}
	}
}

func readAll(s *Set, p int) ([]string, error) {
	r, err := s.Open(p)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []string
	for {
		err := r.Next(func(tag int32, number int64, whole bool, values []string) {
			out = append(out, fmt.Sprint(tag, number, values[0], values[1]))
			if !whole {
				out = append(out, "does not begin its input row")
			}
		})
		if errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
	}
}

func TestDamagedFileIsAnError(t *testing.T) {
	s := NewSet(t.TempDir(), "rows-00", 2, 1)
	w, err := NewWriter(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Append(s, 0, rows(0, 3), 0, 3, 0), w.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{5, 100, len(data) / 2} {
		if err := os.WriteFile(s.path(0), data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(s, 0); err == nil && len(got) == 3 {
			t.Errorf("a file cut to %d of %d bytes was read whole", n, len(data))
		}
	}
}

// TestSetsShareAWriter appends rows of two sets to a writer in turn: buffered rows of one set must
// not end up in the other.
func TestSetsShareAWriter(t *testing.T) {
	dir := t.TempDir()
	sets := []*Set{NewSet(dir, "a", 2, 4), NewSet(dir, "b", 2, 4)}
	w, err := NewWriter(3000)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for batch := range 60 {
		n := batch / 7 % 2
		r := rows(int64(batch*100), 30)
		for i := range 30 {
			p := (i*i + batch) % 4
			if err := w.Append(sets[n], p, r, i, i+1, int32(batch)); err != nil {
				t.Fatal(err)
			}
			k := fmt.Sprint(n, p)
			want[k] = append(want[k], fmt.Sprint(batch, r.InputRow(i), r.Columns[0].Value(i), r.Columns[1].Value(i)))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for n, s := range sets {
		for p := range 4 {
			got, err := readAll(s, p)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want[fmt.Sprint(n, p)]) {
				t.Errorf("set %d, partition %d: got %d rows, want %d", n, p, len(got), len(want[fmt.Sprint(n, p)]))
			}
		}
	}
}

// TestNumbers reads back the numbers of unfolded rows and of gathered rows.
func TestNumbers(t *testing.T) {
	unfolded := rows(50, 6)
	unfolded.Whole = []bool{true, false, true, true, false, false}
	gathered := rows(0, 3)
	gathered.Numbers = []int64{7, 3, 3}
	for name, x := range map[string]struct {
		rows *cpcds.Rows
		from int
		want string
	}{
		"unfolded":              {unfolded, 0, "[50 50 51 52 52 52]"},
		"unfolded, from inside": {unfolded, 1, "[50 51 52 52 52]"},
		"gathered":              {gathered, 0, "[7 3 3]"},
	} {
		var k chunk
		n := x.rows.N - x.from
		b := k.columns(packRows(nil, x.rows, x.from, x.rows.N, 0), n, 2)
		var got []int64
		if err := rowsOf(b, n, 2, func(_ int32, number int64, _ bool, _ []string) { got = append(got, number) }); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != x.want {
			t.Errorf("%s: numbers %v, want %s", name, got, x.want)
		}
	}
}

func FuzzRowsOf(f *testing.F) {
	var k chunk
	var packed []byte
	r := rows(7, 5)
	packed = packRows(packed, r, 0, 5, 3)
	f.Add(k.columns(packed, 5, 2), 5, 2)
	f.Fuzz(func(t *testing.T, b []byte, n, columns int) {
		if columns < 0 || columns > 300 {
			return
		}
		got := 0
		err := rowsOf(b, n, columns, func(_ int32, _ int64, _ bool, values []string) {
			got++
			for _, v := range values {
				_ = len(v)
			}
		})
		if err == nil && got != n {
			t.Errorf("%d rows of %d", got, n)
		}
	})
}
