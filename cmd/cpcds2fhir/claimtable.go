package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// claimRow is one claim as a row of the table.
type claimRow struct {
	id, from, kind, status, submitted, paid string
	lines                                   int
	json                                    []byte
}

// claimRows reads the claims of a patient, the oldest first.
func claimRows(ctx context.Context, st store.Handle, patient string) ([]claimRow, error) {
	var rows []claimRow
	for e, err := range st.Search(ctx, &store.Query{Type: fhir.ExplanationOfBenefit, Patients: []string{patient}}) {
		if err != nil {
			return nil, err
		}
		r, err := claimRowOf(e)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b claimRow) int {
		if c := strings.Compare(a.from, b.from); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return rows, nil
}

func claimRowOf(e *store.Entry) (claimRow, error) {
	type coded struct {
		Coding []struct{ Code string }
	}
	var x struct {
		Status         string
		Type           coded
		SubType        coded
		BillablePeriod struct{ Start string }
		Item           []struct{}
		Total          []struct {
			Category coded
			Amount   struct{ Value json.Number }
		}
	}
	if err := json.Unmarshal(e.JSON, &x); err != nil {
		return claimRow{}, fmt.Errorf("read %s: %w", fhir.Reference(e.Type, e.ID), err)
	}
	code := func(c coded) string {
		if len(c.Coding) == 0 {
			return ""
		}
		return c.Coding[0].Code
	}
	r := claimRow{id: strings.Clone(e.ID), from: x.BillablePeriod.Start, kind: code(x.Type), status: x.Status, lines: len(x.Item), json: slices.Clone(e.JSON)}
	if sub := code(x.SubType); sub != "" {
		r.kind = sub
	}
	for _, t := range x.Total {
		switch code(t.Category) {
		case "submitted":
			r.submitted = t.Amount.Value.String()
		case "benefit":
			r.paid = t.Amount.Value.String()
		}
	}
	return r, nil
}

// kinds counts the different kinds of the claims.
func kinds(rows []claimRow) int {
	seen := map[string]bool{}
	for _, r := range rows {
		seen[r.kind] = true
	}
	return len(seen)
}
