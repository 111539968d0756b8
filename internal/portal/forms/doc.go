// Package forms holds what the developers' portal asks: each form is a YAML file of sections and questions in English and
// Spanish, with limits, conditions and the contradictions that a reviewer would look for. An agency overrides a file, or
// adds questions to it, in a folder of its own.
//
// A question belongs to a group. A gate is about authenticity, contact or technical security: by 42 CFR 431.60(e) these
// alone may be a ground to refuse an app. A disclosure is about privacy: members see whether it was attested, and it is
// never a ground. All other questions are information for the reviewer.
//
// The package knows neither pages nor databases. Its errors and findings name questions and rules, never an answer.
package forms
