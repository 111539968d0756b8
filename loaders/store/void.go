package store

import (
	"bytes"
	"context"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

var (
	_ pipeline.Voider = (*Loader)(nil)
	_ pipeline.Voider = (*Comparer)(nil)
)

// Void implements pipeline.Voider.
func (l *Loader) Void(ctx context.Context, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (found bool, err error) {
	return void(ctx, l.store, out, resource, patient, lastUpdated, sourceVersion)
}

// Void implements pipeline.Voider: it reports what a load would do with the cancelled resource.
func (c *Comparer) Void(ctx context.Context, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (found bool, err error) {
	if c.store == nil {
		return false, nil
	}
	return void(ctx, c.store, out, resource, patient, lastUpdated, sourceVersion)
}

func void(ctx context.Context, s store.Handle, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (found bool, err error) {
	t, id, err := fhir.SplitReference(resource)
	if err != nil {
		return false, err
	}
	for e, err := range s.Search(ctx, &store.Query{Type: t, IDs: []string{id}}) {
		if err != nil {
			return false, err
		}
		if patient != "" && !bytes.Contains(e.JSON, []byte(`"patient":{"reference":"`+patient+`"`)) {
			return false, pipeline.ErrOtherPatient
		}
		text := bytes.Replace(e.JSON, []byte(`"status":"active"`), []byte(`"status":"cancelled"`), 1)
		text = bytes.Replace(text, []byte(`"lastUpdated":"`+e.LastUpdated+`"`), []byte(`"lastUpdated":"`+lastUpdated+`"`), 1)
		out.Add(&fhir.Resource{Type: t, ID: id, LastUpdated: lastUpdated, SourceVersion: sourceVersion, JSON: text, Keys: e.Keys})
		found = true
	}
	return found, nil
}
