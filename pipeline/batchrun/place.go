package batchrun

import (
	"context"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// place cuts the inputs into lanes.
func (l *load) place(ctx context.Context) error {
	spans := map[pipeline.File][]pipeline.Span{} // a file of several tables is cut once
	var files []pipeline.File
	for _, in := range l.Inputs {
		if _, ok := spans[in.File]; !ok {
			spans[in.File] = nil
			files = append(files, in.File)
		}
	}
	cut := make([][]pipeline.Span, len(files))
	err := pipeline.Parallel(ctx, l.Workers, len(files), func(ctx context.Context, i int) (err error) {
		cut[i], err = files[i].Spans(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for i, f := range files {
		spans[f] = cut[i]
	}
	rows := make([]int64, len(l.Inputs))
	claims := l.claimSpans(spans)
	for i, in := range l.Inputs {
		own := spans[in.File]
		// A lane that loads into a server waits for the last answers to each batch, while the server has little to
		// do. Two lanes fill each other's gaps, so an odd one is cut in two. Like any cut, that depends on the files
		// alone.
		if l.refuses && in.Table == cpcds.Claims && claims%2 == 1 {
			if more := halved(own); more != nil {
				own, claims = more, claims+1
			}
		}
		in.Place(i, own)
		for _, s := range own {
			rows[i] += s.Rows
		}
	}
	l.Events.Begin(rows)
	return nil
}

// claimSpans counts the spans of the claims.
func (l *load) claimSpans(spans map[pipeline.File][]pipeline.Span) (n int) {
	for _, in := range l.Inputs {
		if in.Table == cpcds.Claims {
			n += len(spans[in.File])
		}
	}
	return n
}

// halvedRows is from how many rows on a span is worth two lanes.
const halvedRows = 4096

// halved cuts the longest span in two; nil if it is too short for that.
func halved(spans []pipeline.Span) []pipeline.Span {
	longest := -1
	for i, s := range spans {
		if s.Rows >= halvedRows && (longest < 0 || s.Rows > spans[longest].Rows) {
			longest = i
		}
	}
	if longest < 0 {
		return nil
	}
	s := spans[longest]
	first := s.Rows / 2
	return slices.Concat(spans[:longest], []pipeline.Span{{First: s.First, Rows: first}, {First: s.First + first, Rows: s.Rows - first}}, spans[longest+1:])
}
