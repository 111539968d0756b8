package pipeline

import "cpcds2fhir/pipeline/sorted"

// Unchecked has a run judge no claim by the rules of the guide, to measure what they
// cost.
func (r *Run) Unchecked() { r.unchecked = true }

// LookUpInFiles has the directory keep its tables in files, as if they were large,
// until the function that it returns is called. No load may be under way.
func LookUpInFiles() (restore func()) {
	formats := []*sorted.Format{&memberRecords, &coverageRecords, &periodRecords, &winnerRecords}
	for _, f := range formats {
		f.Memory = 1
	}
	return func() {
		for _, f := range formats {
			f.Memory = 0
		}
	}
}

// SmallPieces has batches have pieces of so many bytes.
func (r *Run) SmallPieces(bytes int) { r.pieceLimit = bytes }

// SpreadMentions has the run put its mentions together in files, as if they were many.
func (r *Run) SpreadMentions() { r.mentionLimit = 1 }
