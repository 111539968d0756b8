package main

import (
	"fmt"

	"cpcds2fhir/schemas/layouts"
)

// meant is the end of an error about an unknown name: it suggests the most similar known one, or is
// "".
func meant(name string, known []string) string {
	if n := layouts.Nearest(name, known); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}
