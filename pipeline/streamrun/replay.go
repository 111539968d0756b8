package streamrun

import (
	"context"

	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/fhir"
)

// ReplayHeader is the header of a message that was a dead letter: how often it was replayed. Such a
// message never replaces anything that is as new as itself.
const ReplayHeader = "cpcds-replays"

// outdatedBy reports whether the target has the resource of a row as new as the row, or newer.
func (m *maker) outdatedBy(ctx context.Context, t *tables.Builder, rows *rowbatch.Batch, i int) (bool, error) {
	resource, version := t.Identify(rows, i)
	if resource == "" {
		return false, nil
	}
	return m.asNew(ctx, resource, version)
}

// outdated reports whether the target has a resource of the scratch batch as new as it is, or newer.
func (m *maker) outdated(ctx context.Context) (bool, error) {
	for _, r := range m.kit.scratch.All() {
		if old, err := m.asNew(ctx, fhir.Reference(r.Type, r.ID), r.SourceVersion); old || err != nil {
			return old, err
		}
	}
	return false, nil
}

// asNew reports whether the target has a resource in a source version, or in a newer one.
func (m *maker) asNew(ctx context.Context, resource, version string) (bool, error) {
	have, ok, err := m.Target.SourceVersion(ctx, resource)
	if !ok || err != nil {
		return false, err
	}
	order, ordered := fhir.CompareVersions(version, have)
	return !ordered || order <= 0, nil
}
