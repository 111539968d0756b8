package pipeline

// Reject is input that could not become valid resources: one claim, of which some or all parts are
// at fault, or one row of a small table. It holds all raw rows of the claim as the source wrote
// them, so that a replay after a fix gives the same result as a load; only the owner can read its
// file.
type Reject struct {
	ID        string          `json:"id"`    // lane and number within the lane
	Table     string          `json:"table"` // claims, members, …
	Claim     string          `json:"claim,omitempty"`
	Resources []string        `json:"resources,omitempty"`      // what it would have become: Type/id
	Loaded    []string        `json:"loaded,omitempty"`         // what the other parts of the claim became
	Version   string          `json:"source_version,omitempty"` // of the record
	Kind      string          `json:"kind,omitempty"`           // of a claim: inpatient, pharmacy, …; "" if unknown
	Month     string          `json:"month,omitempty"`          // of the services of a claim, YYYY-MM
	Problems  []RejectProblem `json:"problems"`
	Input     string          `json:"input"`            // of the first row
	Row       int64           `json:"row"`              // the first row of it, from 1
	RowCount  int             `json:"row_count"`        // how many there are
	Inputs    []string        `json:"inputs,omitempty"` // of the rows, if they come from several
	Rows      []RejectRow     `json:"rows,omitempty"`
}

// RejectProblem is one reason. Columns are the source's own. Input and row are where the value at
// fault is, or should be; without a row it is the claim as a whole.
type RejectProblem struct {
	Rule    string   `json:"rule"`
	Element string   `json:"element,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Part    string   `json:"part,omitempty"` // the fill, where a claim was split
	Input   string   `json:"input,omitempty"`
	Row     int64    `json:"row,omitempty"` // row of the input, from 1

	// What a target said that refused a resource: see Refusal. Text may hold values.
	Resource  string   `json:"resource,omitempty"` // Type/id
	Status    int      `json:"status,omitempty"`
	Codes     []string `json:"codes,omitempty"`
	Locations []string `json:"locations,omitempty"`
	Text      string   `json:"text,omitempty"`
}

// RejectRow is one raw row. Fields parallel the values; absent values are left out.
type RejectRow struct {
	Input  string            `json:"input"`
	Form   string            `json:"form,omitempty"` // of the table, if it has forms
	Row    int64             `json:"row"`            // row of the input, from 1
	Begin  bool              `json:"begin"`          // false: a further row unfolded from the same input row
	Values map[string]string `json:"values"`
}

// RejectField is the column of a replayed file that says which reject a row belongs to. Layouts
// leave out unknown columns, so it never becomes an element.
const RejectField = "_reject"

// Problem is the problem of a reject whose resource was refused.
func (r *Refusal) Problem(resource string) RejectProblem {
	return RejectProblem{Rule: r.Rule, Resource: resource, Status: r.Status, Codes: r.Codes, Locations: r.Locations, Text: r.Text}
}
