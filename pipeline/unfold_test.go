package pipeline

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnfold(t *testing.T) {
	var u Unfold
	for range 2 { // a plan leaves nothing behind for the next
		n := u.Plan(4, [][]int32{{2, 0, 0, 1}, {1, 0, 2, 0}})
		if n != 7 {
			t.Fatalf("got %d rows, want 7", n)
		}
		check := func(name string, got, want any) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		check("whole", u.Whole(nil), []bool{true, false, false, true, true, false, true})
		check("top", u.Repeat(nil, []int32{10, -1, 12, 13}), []int32{10, 10, 10, -1, 12, 12, 13})
		check("first list", u.Spread(nil, 0, []int32{5, 6, 7}), []int32{5, 6, -1, -1, -1, -1, 7})
		check("second list", u.Spread(nil, 1, []int32{-1, 8, 9}), []int32{-1, -1, -1, -1, 8, 9, -1})
	}
	if n := u.Plan(3, nil); n != 3 {
		t.Errorf("without lists: got %d rows, want 3", n)
	}
}
