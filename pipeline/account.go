package pipeline

import (
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Account counts what became of rows, claims and resources. Accounts of lanes
// add up to the account of a run. The zero value is an empty account.
type Account struct {
	Rows      [cpcds.NumTables]RowCount    `json:"rows"`
	Claims    ClaimCount                   `json:"claims"`
	Resources [fhir.NumTypes]ResourceCount `json:"resources"`
	Rejects   map[string]int64             `json:"rejects,omitempty"` // records by rule: a claim or row is counted once per rule
	Repairs   map[string]int64             `json:"repairs,omitempty"` // applications by repair
	Skips     map[string]int64             `json:"skips,omitempty"`   // rows by the rule that skipped them
	Warnings  map[string]int64             `json:"warnings,omitempty"`
}

// RowCount counts the rows of one table. Read is the sum of the others.
type RowCount struct {
	Read     int64 `json:"read"`
	InClaims int64 `json:"in_claims"` // in the small tables: rows that are in a resource
	Rejected int64 `json:"rejected"`
	Skipped  int64 `json:"skipped"`
}

// ClaimCount counts distinct claim keys. Seen is the sum of the next five.
// PartlyRejected counts claims, among the loaded, unchanged and stale, of which
// some part (one fill of several) was rejected.
type ClaimCount struct {
	Seen           int64 `json:"seen"`
	Loaded         int64 `json:"loaded"`
	Unchanged      int64 `json:"unchanged"`
	Stale          int64 `json:"stale"`
	Rejected       int64 `json:"rejected"`
	Skipped        int64 `json:"skipped"`
	PartlyRejected int64 `json:"partly_rejected"`
}

// ResourceCount counts what the target did with the resources of one type.
type ResourceCount struct {
	Created   int64 `json:"created"`
	Updated   int64 `json:"updated"`
	Unchanged int64 `json:"unchanged"`
	Stale     int64 `json:"stale"`
	Rejected  int64 `json:"rejected"`
}

// Add adds o to a.
func (a *Account) Add(o *Account) {
	for t := range a.Rows {
		x, y := &a.Rows[t], &o.Rows[t]
		x.Read += y.Read
		x.InClaims += y.InClaims
		x.Rejected += y.Rejected
		x.Skipped += y.Skipped
	}
	c, d := &a.Claims, &o.Claims
	c.Seen += d.Seen
	c.Loaded += d.Loaded
	c.Unchanged += d.Unchanged
	c.Stale += d.Stale
	c.Rejected += d.Rejected
	c.Skipped += d.Skipped
	c.PartlyRejected += d.PartlyRejected
	for t := range a.Resources {
		x, y := &a.Resources[t], &o.Resources[t]
		x.Created += y.Created
		x.Updated += y.Updated
		x.Unchanged += y.Unchanged
		x.Stale += y.Stale
		x.Rejected += y.Rejected
	}
	addMap(&a.Rejects, o.Rejects)
	addMap(&a.Repairs, o.Repairs)
	addMap(&a.Skips, o.Skips)
	addMap(&a.Warnings, o.Warnings)
}

func addMap(to *map[string]int64, from map[string]int64) {
	for k, n := range from {
		Count(to, k, n)
	}
}

// Count adds n to a counter of a map that may still be nil.
func Count(m *map[string]int64, key string, n int64) {
	if *m == nil {
		*m = map[string]int64{}
	}
	(*m)[key] += n
}

// Balanced reports whether the equations hold: rows read = rows in claims +
// rejected + skipped, for every table; claims seen = loaded + unchanged + stale +
// rejected + skipped.
func (a *Account) Balanced() bool {
	for _, r := range a.Rows {
		if r.Read != r.InClaims+r.Rejected+r.Skipped {
			return false
		}
	}
	c := a.Claims
	return c.Seen == c.Loaded+c.Unchanged+c.Stale+c.Rejected+c.Skipped
}
