package fhirclient

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// FuzzMembers compares members with encoding/json, for texts that are valid.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, ` { "a" : [1,{"b":"}\"]"}] , "c":"\\", "d":null,"e":{} } `, `{"a":"\\\"","b":-1.0e5}`, `[]`, `1`, `{"a"`, `{"a":`, `{"a":1`, `{"a":{"b":1}`, `{"a":,}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := map[string]string{}
		ok := members(text, func(name string, value []byte) bool { got[name] = string(value); return true })
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		if !ok {
			t.Fatalf("%s is an object", text)
		}
		for name, value := range want {
			quoted, err := json.Marshal(name)
			if err != nil || strings.Trim(string(quoted), `"`) != name || strings.ContainsAny(name, "\ufffd\\") || !strings.Contains(string(text), string(quoted)) {
				continue // names with escapes are none that are looked for
			}
			if got[name] != string(value) {
				t.Errorf("%s: %s is %q, want %q", text, name, got[name], value)
			}
		}
	})
}

func TestReadMeta(t *testing.T) {
	m := readMeta([]byte(`{"id":"a","text":{"id":"b","meta":{"versionId":"9"}},"meta":{"versionId":"2","lastUpdated":"2026-01-02T03:04:05.678+01:00","tag":[]},"resourceType":"Patient"}`))
	if m.ResourceType != "Patient" || m.ID != "a" || m.Version != "2" || !m.Updated.Equal(time.Date(2026, 1, 2, 2, 4, 5, 678e6, time.UTC)) {
		t.Errorf("%+v", m)
	}
	m = readMeta([]byte(`{"resourceType":"Patient","id":"a","meta":{"versionId":3,"lastUpdated":"yesterday"}}`))
	if m.ID != "a" || m.Version != "3" || !m.Updated.IsZero() {
		t.Errorf("%+v", m)
	}
	for _, text := range []string{"", "{", "[]", `{"id":5}`, `{"resourceType":"Patient","id":"a"`} {
		if m := readMeta([]byte(text)); m != (meta{}) {
			t.Errorf("%s: %+v", text, m)
		}
	}
}

func BenchmarkReadMeta(b *testing.B) {
	text := []byte(fmt.Sprintf(`{"resourceType":"ExplanationOfBenefit","id":"a","meta":{"versionId":"2"},"item":[%s{}]}`, strings.Repeat(`{"sequence":1,"productOrService":{"coding":[{"system":"urn:x","code":"99213"}]}},`, 190)))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		readMeta(text)
	}
}
