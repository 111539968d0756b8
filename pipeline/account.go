package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Account counts the outcomes of rows, claims and resources. Accounts of lanes add up to the
// account of a run. The zero value is an empty account.
type Account struct {
	Rows      [cpcds.NumTables]RowCount
	Claims    ClaimCount
	Resources [fhir.NumTypes]ResourceCount
	Rejects   map[string]int64 // records by rule: a claim or row is counted once per rule
	Repairs   map[string]int64 // applications by repair
	Skips     map[string]int64 // rows by the rule that skipped them
	Warnings  map[string]int64
}

// accountJSON is an account as stored in checkpoints, summaries and journals: tables and types by
// name. Releases before schema 2 of the state folder wrote lists, in the order of accountTables and
// accountTypes.
type accountJSON struct {
	Rows      json.RawMessage  `json:"rows"`
	Claims    ClaimCount       `json:"claims"`
	Resources json.RawMessage  `json:"resources"`
	Rejects   map[string]int64 `json:"rejects,omitempty"`
	Repairs   map[string]int64 `json:"repairs,omitempty"`
	Skips     map[string]int64 `json:"skips,omitempty"`
	Warnings  map[string]int64 `json:"warnings,omitempty"`
}

var (
	accountTables = [...]string{"members", "coverages", "providers", "organizations", "claims"}
	accountTypes  = [...]string{"Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit"}
)

// MarshalJSON implements json.Marshaler.
func (a Account) MarshalJSON() ([]byte, error) {
	rows, resources := map[string]RowCount{}, map[string]ResourceCount{}
	for t, n := range a.Rows {
		if n != (RowCount{}) {
			rows[cpcds.Table(t).String()] = n
		}
	}
	for t, n := range a.Resources {
		if n != (ResourceCount{}) {
			resources[fhir.Type(t).String()] = n
		}
	}
	x := accountJSON{Claims: a.Claims, Rejects: a.Rejects, Repairs: a.Repairs, Skips: a.Skips, Warnings: a.Warnings}
	var err, err2 error
	x.Rows, err = json.Marshal(rows)
	x.Resources, err2 = json.Marshal(resources)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return json.Marshal(&x)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Account) UnmarshalJSON(b []byte) error {
	var x accountJSON
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	rows, err := countsByName[RowCount](x.Rows, accountTables[:])
	if err != nil {
		return err
	}
	resources, err := countsByName[ResourceCount](x.Resources, accountTypes[:])
	if err != nil {
		return err
	}
	*a = Account{Claims: x.Claims, Rejects: x.Rejects, Repairs: x.Repairs, Skips: x.Skips, Warnings: x.Warnings}
	for name, n := range rows {
		t, ok := cpcds.ParseTable(name)
		if !ok {
			return fmt.Errorf("the account has an unknown table")
		}
		a.Rows[t] = n
	}
	for name, n := range resources {
		t, ok := fhir.ParseType(name)
		if !ok {
			return fmt.Errorf("the account has an unknown resource type")
		}
		a.Resources[t] = n
	}
	return nil
}

// countsByName reads counts by name, or a list of them in the order of names.
func countsByName[T any](b json.RawMessage, names []string) (map[string]T, error) {
	byName := map[string]T{}
	if len(b) == 0 || b[0] != '[' {
		if len(b) == 0 {
			return byName, nil
		}
		return byName, json.Unmarshal(b, &byName)
	}
	var list []T
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	if len(list) > len(names) {
		return nil, errors.New("the account has more counts than there are names")
	}
	for i, n := range list {
		byName[names[i]] = n
	}
	return byName, nil
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
	Deleted   int64 `json:"deleted"`
	Refused   int64 `json:"refused"`
	Rejected  int64 `json:"rejected"`
}

// Count counts an outcome.
func (c *ResourceCount) Count(o Outcome) {
	switch o {
	case Created:
		c.Created++
	case Updated:
		c.Updated++
	case Unchanged:
		c.Unchanged++
	case Stale, Unordered:
		c.Stale++
	case Deleted:
		c.Deleted++
	case Refused:
		c.Refused++
	}
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
		x.Deleted += y.Deleted
		x.Refused += y.Refused
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

// CountRules counts each rule of the problems of a record once.
func CountRules(m *map[string]int64, problems []cpcds.Problem) {
	var counted []string // a claim breaks few rules, but may break one on thousands of lines
	for _, p := range problems {
		if !slices.Contains(counted, p.Rule) {
			counted = append(counted, p.Rule)
			Count(m, p.Rule, 1)
		}
	}
}

// AddResource adds the outcome of a resource.
func (a *Account) AddResource(t fhir.Type, o Outcome) {
	a.Resources[t].Count(o)
	if o == Unordered {
		Count(&a.Warnings, RuleNoOrderThere, 1)
	}
}

// AddClaim adds what became of a claim, by the outcomes of its resources. partly says that some of its
// parts were rejected, voided that a record without lines cancels it. stale reports that the target
// has something newer.
func (a *Account) AddClaim(outcomes []Outcome, partly, voided bool) (stale bool) {
	var n [NumOutcomes]int
	for _, o := range outcomes {
		n[o]++
	}
	older := n[Stale]+n[Unordered] > 0
	switch {
	case n[Refused] > 0:
		a.Claims.Rejected++
	case n[Created]+n[Updated]+n[Deleted] > 0:
		a.Claims.Loaded++
	case older:
		a.Claims.Stale++
		stale = true
	default:
		a.Claims.Unchanged++
	}
	if voided && !older {
		Count(&a.Warnings, RuleVoided, 1)
	}
	if partly {
		a.Claims.PartlyRejected++
	}
	return stale
}

// Judged returns how many claims and rows of small tables the account has, and how many of them were
// rejected.
func (a *Account) Judged() (seen, rejected int64) {
	seen, rejected = a.Claims.Seen, a.Claims.Rejected
	for t := range cpcds.Claims {
		seen += a.Rows[t].Read
		rejected += a.Rows[t].Rejected
	}
	return seen, rejected
}

// RowsByTable returns the rows of all tables by name.
func (a *Account) RowsByTable() map[string]RowCount {
	rows := map[string]RowCount{}
	for t := range cpcds.NumTables {
		rows[t.String()] = a.Rows[t]
	}
	return rows
}

// ResourcesByType returns the resources of all types by name.
func (a *Account) ResourcesByType() map[string]ResourceCount {
	resources := map[string]ResourceCount{}
	for t := range fhir.NumTypes {
		resources[t.String()] = a.Resources[t]
	}
	return resources
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
