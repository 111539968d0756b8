package developers

import "cpcds2fhir/internal/site/frame"

// texts are what the pages say, by language: whole sentences, since languages do not agree on how to glue pieces.
// Spanish says usted.
var texts = []frame.Texts{
	{"en": accountTexts, "es": accountTextos},
	{"en": applicationsTexts, "es": applicationsTextos},
	{"en": appsTexts, "es": appsTextos},
	{"en": publicTexts, "es": publicTextos},
}
