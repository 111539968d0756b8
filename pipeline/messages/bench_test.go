package messages

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const smallMessage = `{"member_id":"M000123","first_name":"Ada","last_name":"Example","gender":"female","birth_date":"1962-04-17","zip":"02139","state":"MA","race":"2106-3","deceased":null,"updated":"2025-06-30T12:00:00Z"}`

// claimMessage is a claim with 40 fields and 12 lines of 15 fields.
func claimMessage() string {
	var b strings.Builder
	b.WriteString(`{"claim_unique_identifier":"C000000017"`)
	for i := range 39 {
		fmt.Fprintf(&b, `,"claim_column_number_%d":"value %d"`, i, i*7919)
	}
	b.WriteString(`,"lines":[`)
	for l := range 12 {
		fmt.Fprintf(&b, `{"line_number":"%d"`, l+1)
		for i := range 14 {
			fmt.Fprintf(&b, `,"line_column_%d":%d.%02d`, i, i*37+l, i*13%100)
		}
		b.WriteString("},")
	}
	return strings.TrimSuffix(b.String(), ",") + "]}"
}

func BenchmarkJSON(b *testing.B) {
	for _, m := range []struct{ name, text string }{{"small", smallMessage}, {"claim", claimMessage()}} {
		value := []byte(m.text)
		b.Run(m.name+"/collector", func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			var c Collector
			f := JSON()
			for i := 0; b.Loop(); i++ {
				if _, err := c.Add(b.Context(), f, value, int64(i)); err != nil {
					b.Fatal(err)
				}
				if i%1000 == 999 {
					c.Reset()
				}
			}
		})
		b.Run(m.name+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				var v map[string]any
				if err := json.Unmarshal(value, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
