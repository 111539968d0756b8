package pipeline

// Events tell what a run does, so that cmd can turn it into a progress bar, logs
// and metrics. Every field may be nil. The functions are called from several
// goroutines at once and must be quick; they are given names and numbers, never
// values.
type Events struct {
	// Start says what will be read: rows by input, in the order of Run.Inputs.
	Start func(rows []int64)
	// Progress says that a batch is durable: how many rows of an input it accounts
	// for, and the claims and rejects among them.
	Progress func(input int, rows, claims, rejects int64)
	// Phase names what the run does now: "tables", "claims", "shuffle", "mentions", "finish".
	Phase func(name string)
	// Warn reports something that the user should know but that stops nothing.
	Warn func(message string)
}

func (e *Events) start(rows []int64) {
	if e.Start != nil {
		e.Start(rows)
	}
}

func (e *Events) progress(input int, rows, claims, rejects int64) {
	if e.Progress != nil && (rows != 0 || claims != 0) {
		e.Progress(input, rows, claims, rejects)
	}
}

func (e *Events) phase(name string) {
	if e.Phase != nil {
		e.Phase(name)
	}
}
