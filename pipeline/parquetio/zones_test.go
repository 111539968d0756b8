package parquetio

import (
	"strings"
	"testing"
	"time"
)

// newYork is pyarrow's Arrow schema for id: int32, at: timestamp[us, America/New_York], lines:
// list<struct<at: timestamp[us, America/New_York]>>, bad: timestamp[us, Mars/Phobos], as stored in
// a Parquet file.
const newYork = "/////7ABAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAQAAABIAQAA6AAAAEQAAAAEAAAA2P7//wAAAQoQAAAAFAAAAAQAAAAAAAAAAwAAAGJhZAAk////AAACAAQAAAALAAAATWFycy9QaG9ib3MAFP///wAAAQwUAAAAHAAAAAQAAAABAAAAFAAAAAUAAABsaW5lcwAAANT///9A////AAABDRQAAAAgAAAABAAAAAEAAAAYAAAABAAAAGl0ZW0AAAAABAAEAAQAAABw////AAABChAAAAAUAAAABAAAAAAAAAACAAAAYXQAALz///8AAAIABAAAABAAAABBbWVyaWNhL05ld19Zb3JrAAAAALT///8AAAEKEAAAABwAAAAEAAAAAAAAAAIAAABhdAAACAAMAAYACAAIAAAAAAACAAQAAAAQAAAAQW1lcmljYS9OZXdfWW9yawAAAAAQABQACAAGAAcADAAAABAAEAAAAAAAAQIQAAAAHAAAAAQAAAAAAAAAAgAAAGlkAAAIAAwACAAHAAgAAAAAAAABIAAAAAAAAAA="

func TestZonesOf(t *testing.T) {
	zones := zonesOf(&footer{Values: []keyValue{{Key: arrowSchema, Value: newYork}}})
	for path, want := range map[string]string{"at": "America/New_York", "lines/at": "America/New_York", "bad": "Mars/Phobos", "id": "", "none": ""} {
		name, zone := zones(strings.Split(path, "/"))
		if name != want || (zone != nil) != (want == "America/New_York") {
			t.Errorf("%s: got %q, %v, want %q", path, name, zone, want)
		}
	}
	// A damaged schema is ignored and causes no error.
	for cut := range len(newYork) {
		zonesOf(&footer{Values: []keyValue{{Key: arrowSchema, Value: newYork[:cut]}}})
	}
	if zones := zonesOf(&footer{}); zones != nil {
		if name, zone := zones([]string{"at"}); name != "" || zone != nil {
			t.Errorf("without a schema: got %q, %v", name, zone)
		}
	}
}

func TestInt96Zone(t *testing.T) {
	if zone := int96Zone(&footer{}); zone != nil {
		t.Errorf("12-byte timestamps are not known to be instants, but got zone %v", zone)
	}
	if zone := int96Zone(&footer{Values: []keyValue{{Key: "org.apache.spark.version", Value: "4.0.0"}}}); zone != time.UTC {
		t.Errorf("Spark writes instants, but got zone %v", zone)
	}
}
