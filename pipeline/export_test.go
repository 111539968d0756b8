package pipeline

// Unchecked has a run judge no claim by the rules of the guide, to measure what they
// cost.
func (r *Run) Unchecked() { r.unchecked = true }
