package cpcds

import "testing"

// TestDoubtful tells names from what a row without a header line has.
func TestDoubtful(t *testing.T) {
	f := func(want bool, names ...string) {
		t.Helper()
		fields := make([]Field, len(names))
		for i, n := range names {
			fields[i].Name = n
		}
		if got := Doubtful(fields); got != want {
			t.Errorf("%q: got %v", names, got)
		}
	}
	f(false, "member_id", "Diagnosis Code 1", "ICD10", "2024_total", "q1-2024", "1st name", "dx_25")
	f(true, "a", "b", "a")
	f(true, "a", "")
	for _, value := range []string{"7", "-1.50", "$1,200.00", "1980-01-31", "1/31/80", "31.01.1980", "2024-03-20T00:00:00Z", "10:30", "M00123", "123456789A"} {
		f(true, "a", value)
	}
	fields := []Field{{Name: "a"}, {Name: "column 2", Fault: Unnamed}}
	if !Doubtful(fields) {
		t.Error("a column without a name leaves no doubt")
	}
	if Doubtful([]Field{{Name: "a", Group: "x"}, {Name: "a", Group: "y"}}) {
		t.Error("columns of two lists are taken for one column")
	}
}
