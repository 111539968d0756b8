package remote

import (
	"context"
	"encoding/json"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Void implements pipeline.Voider: it reads the claim from the server.
func (l *Loader) Void(ctx context.Context, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (bool, error) {
	typ, id, err := fhir.SplitReference(resource)
	if err != nil {
		return false, err
	}
	known, err := l.entry(resource)
	if err != nil {
		return false, err
	}
	if known == nil && l.complete[typ].Load() || known != nil && (!known.Present || known.Marked) {
		return false, nil
	}
	t := &thing{typ: typ, id: id, name: resource, known: known}
	answers, err := l.readAll(ctx, []*thing{t})
	if err != nil {
		return false, err
	}
	there, err := l.entryOf(t, &answers[0])
	if err != nil || !there.Present || there.Marked {
		return false, err
	}
	text, err := l.ours(answers[0].JSON, id, lastUpdated)
	if err != nil {
		return false, err
	}
	var claim struct {
		Status  string
		Patient struct{ Reference string }
	}
	if err := json.Unmarshal(text, &claim); err != nil {
		return false, errJSON
	}
	if patient != "" && relative(l.url, claim.Patient.Reference) != patient {
		return false, pipeline.ErrOtherPatient
	}
	if claim.Status == "active" {
		if text, _, err = replaced(text, "status", `"cancelled"`); err != nil {
			return false, err
		}
	}
	out.Add(&fhir.Resource{Type: typ, ID: id, LastUpdated: lastUpdated, SourceVersion: sourceVersion, JSON: text})
	return true, nil
}
