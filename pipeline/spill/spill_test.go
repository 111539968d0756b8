package spill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// rows makes n rows of two columns; every third value of the second is absent.
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
		w, err := s.Writer(limit)
		if err != nil {
			t.Fatal(err)
		}
		want := make([][]string, 3)
		for batch := range 5 {
			r := rows(int64(batch*100), 40)
			picks := make([][]int32, 3)
			for i := range 40 {
				p := i % 2 // partition 2 stays empty
				picks[p] = append(picks[p], int32(i))
				want[p] = append(want[p], fmt.Sprint(batch, r.InputRow(i), r.Columns[0].Value(i), r.Columns[1].Value(i)))
			}
			if err := w.Append(r, picks, int32(batch)); err != nil {
				t.Fatal(err)
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
			t.Errorf("%d files are left after Remove", len(entries))
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
	w, err := s.Writer(1)
	if err != nil {
		t.Fatal(err)
	}
	pick := [][]int32{{0, 1, 2}}
	if err := errors.Join(w.Append(rows(0, 3), pick, 0), w.Close()); err != nil {
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
