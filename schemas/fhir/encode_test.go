package fhir_test

import (
	"encoding/json"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

func TestFragments(t *testing.T) {
	var (
		name   = fhir.NewStr("name")
		count  = fhir.NewNum("count")
		code   = fhir.NewCoded("code", "urn:s", "")
		pinned = fhir.NewCoded("code", "urn:s", "2")
		item   = fhir.NewCodedItem("urn:s", "")
	)
	for _, test := range []struct{ what, want, got string }{
		{"string", `"name":"x",`, string(name.Put(nil, "x"))},
		{"absent string", ``, string(name.Put(nil, ""))},
		{"number", `"count":-1.50,`, string(count.Put(nil, "-1.50"))},
		{"absent number", ``, string(count.Put(nil, ""))},
		{"code", `"code":{"coding":[{"system":"urn:s","code":"x"}]},`, string(code.Put(nil, "x"))},
		{"absent code", ``, string(code.Put(nil, ""))},
		{"code of a version", `"code":{"coding":[{"system":"urn:s","version":"2","code":"x"}]},`, string(pinned.Put(nil, "x"))},
		{"code in an array", `{"coding":[{"system":"urn:s","code":"x"}]},`, string(item.Put(nil, "x"))},
		{"constant code", `"code":{"coding":[{"system":"urn:s","code":"x"}]},`, code.With("x")},
		{"code with text", `"code":{"coding":[{"system":"urn:s","code":"x"}],"text":"y"},`, string(code.PutText(nil, "x", "y"))},
		{"code without text", `"code":{"coding":[{"system":"urn:s","code":"x"}]},`, string(code.PutText(nil, "x", ""))},
		{"text without code", ``, string(code.PutText(nil, "", "y"))},
		{"object", `{"name":"x"},`, string(fhir.Close(name.Put([]byte("{"), "x")))},
		{"empty object", `{},`, string(fhir.Close([]byte("{")))},
		{"array", `[1],`, string(fhir.CloseArray([]byte("[1,")))},
		{"empty array", `[],`, string(fhir.CloseArray([]byte("[")))},
		{"resource", `{"name":"x"}`, string(fhir.CloseResource(name.Put([]byte("{"), "x")))},
		{"empty resource", `{}`, string(fhir.CloseResource([]byte("{")))},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %s, want %s", test.what, test.got, test.want)
		}
	}
}

func TestCloseArrayOrDrop(t *testing.T) {
	const open = `"list":[`
	empty := append([]byte(`{"a":1,`), open...)
	if got := string(fhir.CloseArrayOrDrop(empty, len(`{"a":1,`), len(open))); got != `{"a":1,` {
		t.Errorf("an empty array left %s", got)
	}
	full := append([]byte(`{"a":1,`+open), `2,`...)
	if got := string(fhir.CloseResource(fhir.CloseArrayOrDrop(full, len(`{"a":1,`), len(open)))); got != `{"a":1,"list":[2]}` {
		t.Errorf("a full array became %s", got)
	}
}

func TestAppendInt(t *testing.T) {
	for _, n := range []int{0, 9, 10, 99, 100, 1 << 40} {
		want, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(fhir.AppendInt(nil, n)); got != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
