package fhirclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBundleText(t *testing.T) {
	got := appendWrites(nil, "batch", []Write{
		{Reference: Reference{"Patient", "a"}, JSON: []byte(`{"id":"a","n":1.00}`), IfMatch: "3"},
		{Reference: Reference{"Coverage", ""}, Search: `identifier=urn:x|"b"`, JSON: []byte(`{}`)},
		{Reference: Reference{"Patient", "c"}},
	}, true)
	want := `{"resourceType":"Bundle","type":"batch","entry":[` +
		`{"resource":{"id":"a","n":1.00},"request":{"method":"PUT","url":"Patient/a","ifMatch":"W/\"3\""}},` +
		`{"resource":{},"request":{"method":"PUT","url":"Coverage?identifier=urn:x%7C\"b\""}},` +
		`{"request":{"method":"DELETE","url":"Patient/c"}}]}`
	if string(got) != want || !json.Valid(got) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := appendWrites(nil, "batch", []Write{{Reference: Reference{"Patient", "a"}, JSON: []byte(`{}`), IfMatch: "3"}}, false); strings.Contains(string(got), "ifMatch") {
		t.Errorf("%s for a server that does not compare", got)
	}
}

// V14: every form in which servers write what they have done.
func TestAnswerForms(t *testing.T) {
	modified := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, c := range []struct {
		entry string
		want  Answer
	}{
		{`{"response":{"status":"201 Created","location":"Patient/a/_history/1","etag":"1","lastModified":"2026-03-04T05:06:07Z"}}`,
			Answer{Status: 201, Location: Reference{"Patient", "a"}, Version: "1", Modified: modified}},
		{`{"response":{"status":"201","location":"https://example.org/fhir/Patient/a/_history/7","etag":"W/\"7\""}}`,
			Answer{Status: 201, Location: Reference{"Patient", "a"}, Version: "7"}},
		{`{"response":{"status":200,"location":"/fhir/Patient/a"}}`, Answer{Status: 200, Location: Reference{"Patient", "a"}}},
		{`{"response":{"status":"200 OK","etag":"\"9\""}}`, Answer{Status: 200, Version: "9"}},
		{`{"response":{"status":"200","location":"Patient/a/_history/MTY"}}`, Answer{Status: 200, Location: Reference{"Patient", "a"}, Version: "MTY"}},
		{`{"response":{"status":"304"}}`, Answer{Status: 304}},
		{`{"resource":{"resourceType":"Patient","id":"a","meta":{"versionId":"2","lastUpdated":"2026-03-04T05:06:07Z"}},"response":{"status":"200"}}`,
			Answer{Status: 200, Location: Reference{"Patient", "a"}, Version: "2", Modified: modified, JSON: []byte(`{"resourceType":"Patient","id":"a","meta":{"versionId":"2","lastUpdated":"2026-03-04T05:06:07Z"}}`)}},
		{`{"response":{"status":"400 Bad Request","outcome":{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","details":{"text":"t"},"expression":["Patient.name[3].where(family='Doe').given"]}]}}}`,
			Answer{Status: 400, Meaning: Refused, Outcome: &Outcome{Codes: []string{"value"}, Locations: []string{"Patient.name.where.given"}, Text: "t"}}},
		{`{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"conflict"}]},"response":{"status":"409"}}`,
			Answer{Status: 409, Meaning: Conflict, Outcome: &Outcome{Codes: []string{"conflict"}}}},
		{`{"response":{"status":""}}`, Answer{Meaning: Unclear}},
		{`{"response":{"status":"ok"}}`, Answer{Meaning: Unclear}},
		{`{"response":{"status":"99"}}`, Answer{Meaning: Unclear}},
		{`{"response":{}}`, Answer{Meaning: Unclear}},
		{`{"response":null}`, Answer{Meaning: Unclear}},
		{`{}`, Answer{Meaning: Unclear}},
		{`{"response":{"status":"200","location":"nonsense","lastModified":"yesterday"}}`, Answer{Status: 200}},
	} {
		b, err := readBundle([]byte(`{"resourceType":"Bundle","entry":[` + c.entry + `]}`))
		if err != nil {
			t.Errorf("%s: %v", c.entry, err)
			continue
		}
		if d := cmp.Diff(c.want, profiles()[generic].answer(&b.Entry[0])); d != "" {
			t.Errorf("%s: -want +got\n%s", c.entry, d)
		}
	}
	for _, text := range []string{"", "{}", "[]", "<html>", `{"resourceType":"Patient"}`} {
		if _, err := readBundle([]byte(text)); err == nil || strings.Contains(err.Error(), "html") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// V11: what is put off within a 200 is sent again, and nothing else.
func TestEntriesPutOff(t *testing.T) {
	for _, software := range []string{sameVersion, newVersion} {
		var first, second time.Time
		s := script(t, software, func(w http.ResponseWriter, _ *http.Request, n int) {
			switch n {
			case 1:
				first = time.Now()
				w.Header().Set("Retry-After", "0.2")
				respond(w, "201", "429", "400", "429 Too Many Requests", "503")
			case 2:
				second = time.Now()
				respond(w, "201", "424", "201")
			default:
				respond(w, "200")
			}
		})
		c := open(t, s, nil)
		lowest := 99
		c.limiter.changed = func(now int) { lowest = min(lowest, now) }
		got, err := c.Send(t.Context(), "batch", patients(5))
		if err != nil {
			t.Fatal(err)
		}
		var statuses []int
		for _, a := range got {
			statuses = append(statuses, a.Status)
		}
		if want := []int{201, 201, 400, 200, 201}; !slices.Equal(statuses, want) {
			t.Errorf("%s: %v, want %v", software, statuses, want)
		}
		asked := s.requests()
		if len(asked) != 3 || !slices.Equal(ids(t, asked[1].body), []string{"Patient/p1", "Patient/p3", "Patient/p4"}) || !slices.Equal(ids(t, asked[2].body), []string{"Patient/p3"}) {
			t.Errorf("%s: %d requests: %+v", software, len(asked), asked)
		}
		if second.Sub(first) < 190*time.Millisecond {
			t.Errorf("%s: sent again after %v", software, second.Sub(first))
		}
		if lowest != 1 {
			t.Errorf("%s: never less than %d at once after 429", software, lowest)
		}
	}
}

// A missing entry is unknown, and not done.
func TestShortAnswer(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { respond(w, "201") })
	got, err := open(t, s, nil).Send(t.Context(), "", patients(3))
	if err != nil || got[0].Status != 201 || got[1].Status != 0 || got[1].Meaning != Unclear || got[1].Stored() || got[2].Status != 0 || len(s.requests()) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	// Where equal content makes no version, they are simply sent again.
	s = script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { respond(w, "201") })
	got, err = open(t, s, nil).Send(t.Context(), "", patients(3))
	if err != nil || !got[0].Stored() || !got[1].Stored() || !got[2].Stored() || len(s.requests()) != 3 {
		t.Errorf("%+v, %v after %d requests", got, err, len(s.requests()))
	}
}

func TestAnswersThatNeverCome(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, _ int) { respond(w) })
	got, err := open(t, s, nil).Send(t.Context(), "", patients(2))
	if err != nil || got[0].Status != 0 || got[1].Status != 0 || len(s.requests()) != 6 {
		t.Errorf("%+v, %v after %d requests", got, err, len(s.requests()))
	}
}

// An entry that fails again and again is the entry's fault.
func TestEntryThatAlwaysFails(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			respond(w, "201", "500")
			return
		}
		respond(w, "500")
	})
	got, err := open(t, s, nil).Send(t.Context(), "batch", patients(2))
	if err != nil || !got[0].Stored() || got[1].Status != 500 || got[1].Meaning != Split || len(s.requests()) != 4 {
		t.Errorf("%+v, %v after %d requests", got, err, len(s.requests()))
	}
}

// What is left of a bundle is refused as a whole: each is asked about alone, and what was stored before
// is not sent again.
func TestRestIsRefused(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, r *http.Request, n int) {
		switch n {
		case 1:
			respond(w, "201", "429", "429")
		case 2, 4:
			refuse(w, 400)
		default:
			respond(w, "201")
		}
	})
	got, err := open(t, s, nil).Send(t.Context(), "batch", patients(3))
	if err != nil || got[0].Status != 201 || got[1].Status != 201 || got[2].Status != 400 || got[2].Meaning != Refused || len(s.requests()) != 4 {
		t.Errorf("%+v, %v after %d requests", got, err, len(s.requests()))
	}
}

// V11: Medplum's transactions are batches.
func TestTransactionWithBatchSemantics(t *testing.T) {
	s := script(t, "medplum", func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			respond(w, "201", "429", "422")
			return
		}
		respond(w, "304")
	})
	got, err := open(t, s, nil).Send(t.Context(), "transaction", patients(3))
	if err != nil || got[0].Status != 201 || !got[1].Stored() || got[2].Meaning != Refused {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOutcomes(t *testing.T) {
	p := profiles()["hapi"]
	for text, want := range map[string]*Outcome{
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing","diagnostics":"HAPI-0450: HAPI-1821: [element=\"birthDate\"] Invalid attribute value \"19xx\""}]}`: {
			Codes: []string{"processing", "HAPI-0450", "HAPI-1821"}, Text: `HAPI-0450: HAPI-1821: [element="birthDate"] Invalid attribute value "19xx"`},
		// V35: warnings beside errors are not the reason.
		`{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"informational","diagnostics":"w"},{"severity":"fatal","code":"invalid","diagnostics":"e"}]}`: {
			Codes: []string{"invalid"}, Text: "e"},
		`{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational","details":{"coding":[{"code":"SUCCESSFUL_UPDATE_NO_CHANGE"}],"text":"ok"}}]}`: {
			Codes: []string{"informational", "SUCCESSFUL_UPDATE_NO_CHANGE"}, Text: "ok"},
		// Values stay where only the text is.
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"123456789","details":{"coding":[{"code":"Jane Doe"}]},"expression":["Patient.identifier.where(value = '123-45')","Jane Doe","Line[1] Col[30]","/f:Patient/f:name[1]","/f:Patient/f:name[1]"]}]}`: {
			Locations: []string{"Patient.identifier.where", "/f:Patient/f:name"}},
		`{"resourceType":"Patient"}`: nil,
		`<html>`:                     nil,
		``:                           nil,
	} {
		if d := cmp.Diff(want, p.outcome([]byte(text))); d != "" {
			t.Errorf("%s: -want +got\n%s", text, d)
		}
	}
}

func BenchmarkSendText(b *testing.B) {
	list := patients(100)
	for i := range list {
		list[i].JSON = fmt.Appendf(nil, `{"resourceType":"Patient","id":"p","text":%q}`, strings.Repeat("x", 7000))
	}
	b.SetBytes(100 * 7000)
	for b.Loop() {
		appendWrites(make([]byte, 0, sizeOf(list)), "batch", list, true)
	}
}
