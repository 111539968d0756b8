package bundle

import "bytes"

// member is the name of the member that has a reference. Within a string its quotes would be escaped, so it
// is only found outside.
var member = []byte(`"reference"`)

// refersTo reports whether a resource has one of these references. A reference is found as it is written:
// ours have nothing that JSON escapes.
func refersTo(json []byte, to map[string]bool) bool {
	for {
		i := bytes.Index(json, member)
		if i < 0 {
			return false
		}
		json = json[i+len(member):]
		value := trimSpace(json)
		if len(value) == 0 || value[0] != ':' {
			continue
		}
		value = trimSpace(value[1:])
		if len(value) == 0 || value[0] != '"' {
			continue // it is an object, such as related.reference
		}
		end := bytes.IndexByte(value[1:], '"')
		if end >= 0 && to[string(value[1:1+end])] {
			return true
		}
	}
}

func trimSpace(json []byte) []byte { return bytes.TrimLeft(json, " \t\r\n") }
