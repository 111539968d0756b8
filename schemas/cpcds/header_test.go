package cpcds

import "testing"

func TestFoldHeader(t *testing.T) {
	for _, s := range []string{"Home_Zip code", "home zip-code", "HOME__ZIP_CODE ", "\ufeffhome zip code"} {
		if got := FoldHeader(s); got != "home_zip_code" {
			t.Errorf("FoldHeader(%q) is %q", s, got)
		}
	}
	if FoldHeader("Diagnosis code - 1") != "diagnosis_code_1" || FoldHeader("ab") == FoldHeader("a b") {
		t.Error("folding joins or parts words")
	}
}
