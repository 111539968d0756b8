package fhirtest

import (
	"fmt"
	"strings"
	"testing"
)

func TestTransactionIsAtomic(t *testing.T) {
	s := Start(t, nil)
	must(t, s, 201, "PUT", "Patient/old", patient("old"))
	before := len(s.Writes())
	bad := []string{put("Patient/a_b", patient("a_b")), put("Patient/z", patient("z", `,"birthDate":"never"`)), put("Coverage/c", `{"resourceType":"Coverage","id":"c","beneficiary":{"reference":"Organization/o"}}`), put("Nope/a", `{"resourceType":"Nope"}`)}
	for _, b := range bad {
		for at := range 3 {
			entries := []string{put("Patient/new", patient("new")), entryOf("DELETE", "Patient/old"), put("Patient/old2", patient("old2"))}
			entries[at] = b
			r, err := ask(s, "POST", "", bundleOf("transaction", entries...))
			if err != nil || r.status/100 != 4 {
				t.Fatalf("%v %v", r, err)
			}
			if len(s.Resources()) != 1 || len(s.Versions("Patient/old")) != 1 || len(s.Writes()) != before {
				t.Fatalf("a failed transaction with %s at %d leaves %v", b, at, s.Resources())
			}
		}
	}
	r := must(t, s, 200, "POST", "", bundleOf("transaction", put("Patient/new", patient("new")), entryOf("DELETE", "Patient/old"), entryOf("GET", "Patient/new"), entryOf("GET", "Patient/none")))
	wantStatuses(t, r, "201 204 200 404")
	wantText(t, r, "transaction-response", `"etag":"1"`, `"location":"Patient/new/_history/1"`, "SUCCESSFUL_UPDATE_AS_CREATE", "SUCCESSFUL_DELETE")
	wantText(t, must(t, s, 400, "POST", "", bundleOf("transaction", put("Patient/a", patient("a")), put("Patient/a", patient("a")))), "HAPI-0535")
}

func TestBatch(t *testing.T) {
	s := Start(t, nil)
	r := must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/a", patient("a")), put("Patient/a_b", patient("a_b")), put("Patient/a", patient("a", `,"active":true`)), put("Patient/a", patient("a", `,"active":true`)),
		entryOf("GET", "Patient/a"), entryOf("GET", "Patient/none"), entryOf("DELETE", "Patient/a"), entryOf("GET", "Patient/a"), put("Patient/b", patient("other"))))
	wantStatuses(t, r, "201 400 200 200 200 404 204 410 201")
	wantText(t, r, "batch-response", "SUCCESSFUL_UPDATE_NO_CHANGE", `"code":"exception"`, `"201 Created"`)
	must(t, s, 200, "GET", "Patient/b", "") // under the id of the URL
	must(t, s, 404, "GET", "Patient/other", "")

	// What a parser cannot read fails a batch as a whole.
	for _, bad := range []string{put("Patient/x", patient("x", `,"birthDate":"x"`)), put("Nope/x", `{"resourceType":"Nope"}`), put("Patient/x", `{"resourceType":"Coverage"}`)} {
		must(t, s, 400, "POST", "", bundleOf("batch", put("Patient/ok", patient("ok")), bad))
	}
	must(t, s, 500, "POST", "", bundleOf("batch", put("Patient/ok", patient("ok")), `{"resource":{"resourceType":"Patient"},"request":{"url":"Patient/x"}}`))
	must(t, s, 400, "POST", "", bundleOf("collection"))
	wantText(t, must(t, s, 400, "POST", "", patient("a")), "HAPI-1814")
	wantText(t, must(t, s, 400, "POST", "", bundleOf("batch"), "Content-Type", "application/xml"), "HAPI-0449")
	wantText(t, must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/rep", patient("rep"))), "Prefer", "return=representation"), `"resource":{"id":"rep"`)
}

func TestBatchThatFailsAfterCommitsOfItsEntries(t *testing.T) {
	s := Start(t, &Options{BatchFailsWhole: true})
	must(t, s, 400, "POST", "", bundleOf("batch", put("Patient/ok", patient("ok")), put("Patient/a_b", patient("a_b")), put("Patient/c", patient("c"))))
	if n := len(s.Resources()); n != 0 {
		t.Errorf("%d resources are there", n)
	}
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/ok", patient("ok")), put("Patient/c", patient("c")))), "201 201")
}

func TestKindsOfBundle(t *testing.T) {
	s := Start(t, &Options{TransactionAsBatch: true, MaxEntries: 2, MaxBytes: 400})
	r := must(t, s, 200, "POST", "", bundleOf("transaction", put("Patient/ok", patient("ok")), put("Patient/a_b", patient("a_b"))))
	wantStatuses(t, r, "201 400")
	must(t, s, 413, "POST", "", bundleOf("batch", entryOf("GET", "Patient/a"), entryOf("GET", "Patient/a"), entryOf("GET", "Patient/a")))
	must(t, s, 413, "POST", "", bundleOf("batch", put("Patient/l", patient("l", `,"language":"`, strings.Repeat("x", 400), `"`))))
	s.Set(func(o *Options) { o.NoTransaction = true })
	must(t, s, 400, "POST", "", bundleOf("transaction"))
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch")), "")
}

func TestConditional(t *testing.T) {
	s := Start(t, nil)
	body := func(value string, more ...string) string {
		return fmt.Sprintf(`{"resourceType":"Patient","id":"mine","identifier":[{"system":"u","value":%q}]%s}`, value, strings.Join(more, ""))
	}
	must(t, s, 201, "PUT", "Patient?identifier=u%7C1", body("1"))
	must(t, s, 200, "PUT", "Patient?identifier=u%7C1", body("1"))
	must(t, s, 200, "PUT", "Patient?identifier=u|1", body("1", `,"active":true`))
	found := s.Find("Patient", "u", "1")
	if len(found) != 1 || found[0].Version != "2" || found[0].ID == "mine" {
		t.Fatalf("found %v", found)
	}
	wantText(t, must(t, s, 400, "PUT", "Patient?identifier=u|9", body("1")), "HAPI-0929")
	s.Put(`{"resourceType":"Patient","id":"twin","identifier":[{"system":"u","value":"1"}]}`)
	wantText(t, must(t, s, 412, "PUT", "Patient?identifier=u|1", body("1")), "HAPI-0988")
	s.Delete("Patient/twin")

	// In a transaction references to entries and to searches become ids.
	urn := "urn:uuid:6b4a1a9e-6d3d-4c36-9a6e-3a1a5c2f1a11"
	r := must(t, s, 200, "POST", "", bundleOf("transaction",
		`{"resource":{"resourceType":"Coverage","id":"c","beneficiary":{"reference":"`+urn+`"},"payor":[{"reference":"Patient?identifier=u|1"}]},"request":{"method":"PUT","url":"Coverage/c"}}`,
		`{"fullUrl":"`+urn+`","resource":`+body("2")+`,"request":{"method":"PUT","url":"Patient?identifier=u|2"}}`,
		`{"resource":`+body("2")+`,"request":{"method":"PUT","url":"Patient?identifier=u|2"}}`))
	wantStatuses(t, r, "201 201 201")
	two := s.Find("Patient", "u", "2")
	if len(two) != 1 {
		t.Fatalf("one identity twice in a transaction makes %d resources", len(two))
	}
	c := s.Resources()["Coverage/c"]
	for _, ref := range []string{two[0].Ref(), found[0].Ref()} {
		if !strings.Contains(c.JSON, ref) {
			t.Errorf("the coverage does not refer to %s: %s", ref, c.JSON)
		}
	}
	must(t, s, 404, "POST", "", bundleOf("transaction", `{"resource":{"resourceType":"Coverage","id":"d","payor":[{"reference":"Patient?identifier=u|none"}]},"request":{"method":"PUT","url":"Coverage/d"}}`))

	// POST makes an id, or finds what is there.
	must(t, s, 201, "POST", "Patient", body("3"))
	must(t, s, 200, "POST", "Patient", body("3"), "If-None-Exist", "identifier=u|3")
	if n := len(s.Find("Patient", "u", "3")); n != 1 {
		t.Errorf("%d resources", n)
	}
}

func TestAssignedIDs(t *testing.T) {
	s := Start(t, &Options{AssignIDs: true, Software: "Medplum"})
	must(t, s, 404, "PUT", "Patient/a", patient("a"))
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/a", patient("a")), put("Patient?identifier=u|1", `{"resourceType":"Patient","identifier":[{"system":"u","value":"1"}]}`))), "404 201")
	ref := s.Find("Patient", "u", "1")[0]
	must(t, s, 200, "PUT", ref.Ref(), fmt.Sprintf(`{"resourceType":"Patient","id":%q}`, ref.ID))
	wantText(t, must(t, s, 200, "GET", "metadata", ""), `"updateCreate":false`)
}

func TestPathsThatDiffer(t *testing.T) {
	s := Start(t, &Options{AssignAlone: true, RecreateAlone: true})
	must(t, s, 404, "PUT", "Patient/a", patient("a"))
	again := bundleOf("transaction", put("Patient/a", patient("a")), put("Patient/b", patient("b")))
	must(t, s, 200, "POST", "", again)
	must(t, s, 200, "DELETE", "Patient/a", "")
	wantText(t, must(t, s, 409, "POST", "", again), "HAPI-0550")
	must(t, s, 200, "POST", "", bundleOf("transaction", put("Patient/a", patient("a"))))
	must(t, s, 200, "POST", "", again)
}
