package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"
)

func digest(t *testing.T, text string, ignore ...string) Digest {
	t.Helper()
	d, err := DigestOf([]byte(text), ignore, nil)
	if err != nil {
		t.Fatalf("digest of %s: %v", text, err)
	}
	return d
}

func TestDigestEqual(t *testing.T) { // V45
	f := func(a, b string, ignore ...string) {
		t.Helper()
		if digest(t, a, ignore...) != digest(t, b, ignore...) {
			t.Errorf("other digests of\n%s\n%s", a, b)
		}
	}
	f(`{"a":1,"b":[1,2]}`, ` { "b" : [ 1 , 2 ] , "a" : 1 } `)
	f(`{"a":"é\"\\/\n"}`, `{"a":"\u00e9\u0022\u005C\/\u000a"}`)
	f(`{"a":"🏥"}`, `{"a":"\ud83c\udfe5"}`)
	f(`{"a":1}`, `{"a":1,"meta":{}}`)
	f(`{"a":1}`, `{"a":1,"id":"x","meta":{"versionId":"1","lastUpdated":"2020-01-01","source":"#1"}}`)
	f(`{"meta":{"profile":["p"]}}`, `{"meta":{"source":"#1","profile":["p"],"versionId":"7"}}`)
	f(`{"meta":{"profile":["p"]}}`, `{"meta":{"tag":[{"code":"x"}],"profile":["p"]}}`, "meta.tag")
	f(`{"a":1}`, `{"a":1,"text":{"div":"<div/>"}}`, "text")
	f(`{"a":[1.10,0.00,10,-2.50]}`, `{"a":[1.1,0,10,-2.5]}`, trailingZeros) // V44
	f(`{"x":[{"a":1}]}`, `{"x":[{"a":1,"b":2}]}`, "x.b")
	f(`{"a":1}`, `{"a":1,"identifier":[{"system":"urn:cpcds2fhir:id","value":"pabc"}]}`)
	f(`{"identifier":[{"value":"1"}]}`, `{"identifier":[{"value":"pabc","system":"urn:cpcds2fhir:id"},{"value":"1"}]}`)
}

func TestDigestDiffers(t *testing.T) { // V44, V45
	f := func(a, b string) {
		t.Helper()
		if digest(t, a) == digest(t, b) {
			t.Errorf("the same digest of\n%s\n%s", a, b)
		}
	}
	f(`{"a":1.0}`, `{"a":1.00}`)
	f(`{"a":123456789012345678}`, `{"a":123456789012345679}`)
	f(`{"a":1}`, `{"a":"1"}`)
	f(`{"a":[1,2]}`, `{"a":[2,1]}`)
	f(`{"a":[1]}`, `{"a":1}`)
	f(`{"a":[[1],2]}`, `{"a":[1,[2]]}`)
	f(`{"a":[]}`, `{"a":{}}`)
	f(`{"a":[]}`, `{}`)
	f(`{"a":{"b":1}}`, `{"a":1,"b":1}`)
	f(`{"a":"b","c":"d"}`, `{"a":"d","c":"b"}`)
	f(`{"a":"b"}`, `{"b":"a"}`)
	f(`{"a":"true"}`, `{"a":true}`)
	f(`{"x":{"id":"1"}}`, `{"x":{"id":"2"}}`)
	f(`{"x":{"meta":{"versionId":"1"}}}`, `{"x":{"meta":{"versionId":"2"}}}`)
	f(`{"meta":{"tag":[{"code":"x"}]}}`, `{}`)
	f(`{"a":["x","x"]}`, `{"a":["x"]}`)
}

func TestDigestTranslates(t *testing.T) {
	own := func(r string) string {
		if r == "Patient/17" {
			return "Patient/p"
		}
		return ""
	}
	f := func(there, ours string, same bool) {
		t.Helper()
		d, err := DigestOf([]byte(there), nil, own)
		if err != nil {
			t.Fatal(err)
		}
		if got := d == digest(t, ours); got != same {
			t.Errorf("%s and %s: same is %v, want %v", there, ours, got, same)
		}
	}
	f(`{"id":"5","a":[{"reference":"Patient/17"}]}`, `{"id":"x","a":[{"reference":"Patient/p"}]}`, true)
	f(`{"a":{"reference":"Patient/18"}}`, `{"a":{"reference":"Patient/p"}}`, false)
	f(`{"a":{"reference":"#c"}}`, `{"a":{"reference":"#c"}}`, true)
	f(`{"a":{"value":"Patient/17"}}`, `{"a":{"value":"Patient/p"}}`, false)
}

func TestDigestOfWhatIsNotJSON(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `"a"`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1}x`, `{"a":[1,]}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"`, `{"a":"\`,
		`{"a":nul}`, "{\"a\":\"\n\"}", `{a:1}`, `{"a" 1}`, `{"a":1 "b":2}`, strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), strings.Repeat(`[`, 100000)} {
		if _, err := DigestOf([]byte(text), nil, nil); err == nil {
			t.Errorf("%.20s has a digest", text)
		}
	}
}

// normal is the slow reference: a text that is the same for resources that must have the same digest, and
// another one for others.
func normal(t *testing.T, text []byte, ignore []string) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v map[string]any
	if d.Decode(&v) != nil || v == nil {
		return "", false
	}
	if _, err := d.Token(); err == nil || d.More() {
		return "", false
	}
	leaveOut := slices.Concat([]string{"id", "meta.versionId", "meta.lastUpdated", "meta.source"}, ignore)
	var write func(v any, path string) string
	write = func(v any, path string) string {
		switch v := v.(type) {
		case map[string]any:
			var members []string
			for name, value := range v {
				p := strings.TrimPrefix(path+"."+name, ".")
				if path != "nowhere" && slices.Contains(leaveOut, p) {
					continue
				}
				if path == "nowhere" || strings.ContainsAny(name, ".") {
					p = "nowhere"
				}
				if m, ok := value.(map[string]any); ok && p == "meta" && write(m, p) == "{}" {
					continue
				}
				members = append(members, fmt.Sprintf("%q:%s", name, write(value, p)))
			}
			sort.Strings(members)
			return "{" + strings.Join(members, ",") + "}"
		case []any:
			var items []string
			for _, value := range v {
				items = append(items, write(value, path))
			}
			return "[" + strings.Join(items, ",") + "]"
		case string:
			return fmt.Sprintf("%q", v)
		}
		return fmt.Sprint(v)
	}
	return write(v, ""), true
}

// twice reports whether an object has two members of one name.
func twice(d *json.Decoder) bool {
	type level struct {
		object bool
		name   bool
		names  map[string]bool
	}
	var stack []*level
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		var top *level
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		if top != nil && top.object && !top.name {
			if name, ok := token.(string); ok {
				if top.names[name] {
					return true
				}
				top.names[name], top.name = true, true
				continue
			}
		}
		if top != nil {
			top.name = false
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			stack = append(stack, &level{object: token == json.Delim('{'), names: map[string]bool{}})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
			if len(stack) > 0 {
				stack[len(stack)-1].name = false
			}
		}
	}
}

// FuzzDigest compares two texts with each other as the slow reference does.
func FuzzDigest(f *testing.F) {
	seeds := []string{`{"a":1,"b":[1,2.50,{"c":null}]}`, `{"b":[1,2.50,{"c":null}],"a":1}`, `{"id":"x","meta":{"versionId":"1","tag":[]}}`, `{"meta":{}}`, `{}`,
		`{"a":"\ud83c\udfe5\u00e9\ud800"}`, `{"a":"🏥é\ufffd"}`, `{"identifier":[{"value":"1"}]}`, `{"reference":"Patient/1"}`}
	for _, a := range seeds {
		for _, b := range seeds {
			f.Add([]byte(a), []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ignore := []string{"meta.tag", "text"}
		if !utf8.Valid(a) || !utf8.Valid(b) || bytes.Contains(append(a, b...), []byte("cpcds2fhir")) {
			return
		}
		slowA, okA := normal(t, a, ignore)
		slowB, okB := normal(t, b, ignore)
		fastA, errA := DigestOf(a, ignore, nil)
		fastB, errB := DigestOf(b, ignore, nil)
		if okA && errA != nil && !bytes.Contains(a, bytes.Repeat([]byte("["), maxDepth)) && !bytes.Contains(a, bytes.Repeat([]byte(`{"`), maxDepth/2)) {
			t.Errorf("%q has no digest: %v", a, errA)
		}
		if !okA || !okB || errA != nil || errB != nil || twice(json.NewDecoder(bytes.NewReader(a))) || twice(json.NewDecoder(bytes.NewReader(b))) {
			return
		}
		if (slowA == slowB) != (fastA == fastB) {
			t.Errorf("%q and %q: the same digest is %v", a, b, fastA == fastB)
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(`{"resourceType":"ExplanationOfBenefit","id":"e","meta":{"lastUpdated":"2024-05-06T07:08:09Z","profile":["http://hl7.org/fhir/us/carin-bb"]},"item":[`)
	for i := 0; text.Len() < 16<<10; i++ {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, `{"sequence":%d,"productOrService":{"coding":[{"system":"http://www.ama-assn.org/go/cpt","code":"99213"}]},"adjudication":[{"category":{"coding":[{"system":"http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication","code":"paidtoprovider"}]},"amount":{"value":%d.50,"currency":"USD"}}]}`, i, i)
	}
	text.WriteString(`],"patient":{"reference":"Patient/a"}}`)
	d := newDigester([]string{"meta.tag"})
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.of(text.Bytes(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
