package mappers_test

import (
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"google.golang.org/protobuf/proto"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
)

// BenchmarkGoogleFHIR encodes the claims of BenchmarkMap with google/fhir. A copy of
// the finished protos stands for building them from a claim, which costs more; the
// marshaller changes what it is given, so a copy is needed in any case.
func BenchmarkGoogleFHIR(b *testing.B) {
	reader, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		b.Fatal(err)
	}
	writer, err := jsonformat.NewMarshaller(false, "", "", fhirversion.R4)
	if err != nil {
		b.Fatal(err)
	}
	m := mappers.New(carin.V220, systems)
	for _, p := range profiles {
		b.Run(p.String(), func(b *testing.B) {
			var out fhir.Batch
			appendClaim(m, &out, typical(p))
			var eob proto.Message
			for _, r := range out.All() {
				if eob, err = reader.Unmarshal(r.JSON); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(r.JSON)))
			}
			for b.Loop() {
				if _, err := writer.Marshal(proto.Clone(eob)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
