// Command cpcds2fhir-verify is the part of 'cpcds2fhir verify' that links google/fhir,
// kept out of cpcds2fhir so that every other start of that is quick. Its argument is a
// verify.Request, its answer a verify.Report, both as JSON.
package main

import (
	"os"

	"cpcds2fhir/internal/verify/strict"
)

func main() { os.Exit(strict.Main(os.Args[1:])) }
