package parquetio

import (
	"strings"
	"time"

	"cpcds2fhir/pipeline/arrowmeta"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/pipeline/parquetio/guarded"
)

// Parquet stores instants in UTC and does not keep the time zone in which they were written.
// Writers based on Arrow also store their own schema, which has the zone.
const arrowSchema = "ARROW:schema"

// int96Zone returns the time zone of the deprecated 12-byte timestamps, or nil if they are local
// wall-clock times. The format does not specify it: Spark writes instants, other writers do not.
func int96Zone(p *footer) *time.Location {
	if p.hasPrefix("org.apache.spark.") {
		return time.UTC
	}
	return nil
}

// zonesOf returns a function that looks up the time zone named for a column. The name is "" if
// none was given, and the location is nil if there is no such zone. A path does not include the
// levels that a list adds.
func zonesOf(p *footer) func(path []string) (string, *time.Location) {
	var zones map[string]string
	if text, ok := p.value(arrowSchema); ok {
		// An Arrow schema that cannot be read is ignored; the file's own schema is authoritative.
		_ = guarded.Call(func() error {
			zones = arrowmeta.Zones(text)
			return nil
		})
	}
	return func(path []string) (string, *time.Location) {
		name := zones[strings.Join(path, "\x00")]
		zone, _ := columnar.ZoneOf(name)
		return name, zone
	}
}
