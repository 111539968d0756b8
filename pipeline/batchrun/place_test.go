package batchrun

import (
	"slices"
	"testing"

	"cpcds2fhir/pipeline"
)

func TestHalved(t *testing.T) {
	for name, x := range map[string]struct{ spans, want []pipeline.Span }{
		"nothing":   {nil, nil},
		"too short": {[]pipeline.Span{{First: 0, Rows: halvedRows - 1}}, nil},
		"one":       {[]pipeline.Span{{First: 0, Rows: 5001}}, []pipeline.Span{{First: 0, Rows: 2500}, {First: 2500, Rows: 2501}}},
		"the longest": {
			[]pipeline.Span{{First: 0, Rows: 5000}, {First: 5000, Rows: 9000}, {First: 14000, Rows: 9000}},
			[]pipeline.Span{{First: 0, Rows: 5000}, {First: 5000, Rows: 4500}, {First: 9500, Rows: 4500}, {First: 14000, Rows: 9000}},
		},
	} {
		before := slices.Clone(x.spans)
		if got := halved(x.spans); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
		if !slices.Equal(x.spans, before) {
			t.Errorf("%s: the spans of the file are changed", name)
		}
	}
}
