package pipeline

// Events report what a run does, so that cmd can turn it into a progress bar, logs and metrics.
// Every field may be nil. The functions are called from several goroutines at once and must be
// fast; they get names and numbers, never values.
type Events struct {
	// Start says what will be read: rows by input, in the order of the run's inputs.
	Start func(rows []int64)
	// Progress says that a batch is durable: how many rows of an input it accounts
	// for, and the claims and rejects among them.
	Progress func(input int, rows, claims, rejects int64)
	// Survey says that so many rows more were surveyed: read before anything that refers to others
	// is loaded. Progress counts them again.
	Survey func(rows int64)
	// Phase names the current phase of the run: "survey", "tables", "claims", "shuffle",
	// "referenced", "finish", "rejects".
	Phase func(name string)
	// Warn reports something that the user should know but that does not stop the run.
	Warn func(message string)
}

// Begin calls Start.
func (e *Events) Begin(rows []int64) {
	if e.Start != nil {
		e.Start(rows)
	}
}

// Advance calls Progress, unless nothing has moved.
func (e *Events) Advance(input int, rows, claims, rejects int64) {
	if e.Progress != nil && (rows != 0 || claims != 0) {
		e.Progress(input, rows, claims, rejects)
	}
}

// Surveyed calls Survey, unless nothing has moved.
func (e *Events) Surveyed(rows int64) {
	if e.Survey != nil && rows != 0 {
		e.Survey(rows)
	}
}

// EnterPhase calls Phase.
func (e *Events) EnterPhase(name string) {
	if e.Phase != nil {
		e.Phase(name)
	}
}
