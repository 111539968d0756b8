package fhirclient

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// operationOutcome is an OperationOutcome as servers write it.
type operationOutcome struct {
	ResourceType string  `json:"resourceType"`
	Issue        []issue `json:"issue"`
}

type issue struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Details  struct {
		Text   string `json:"text"`
		Coding []struct {
			Code string `json:"code"`
		} `json:"coding"`
	} `json:"details"`
	Diagnostics string   `json:"diagnostics"`
	Expression  []string `json:"expression"`
	Location    []string `json:"location"`
}

// fault reports whether an issue says why something failed.
func (i issue) fault() bool { return i.Severity == "error" || i.Severity == "fatal" }

// outcome reads an OperationOutcome; nil if the text is none. Warnings beside errors say nothing of the
// fault, and are left out.
func (p *profile) outcome(text []byte) *Outcome {
	var in operationOutcome
	if json.Unmarshal(text, &in) != nil || in.ResourceType != "OperationOutcome" {
		return nil
	}
	list := in.Issue
	if slices.ContainsFunc(list, issue.fault) {
		list = slices.DeleteFunc(list, func(i issue) bool { return !i.fault() })
	}
	o := &Outcome{}
	var said []string
	for _, i := range list {
		o.addCode(i.Code)
		for _, c := range i.Details.Coding {
			o.addCode(c.Code)
		}
		if p.codes != nil {
			for _, code := range p.codes.FindAllString(i.Diagnostics, 8) {
				o.addCode(code)
			}
		}
		if len(i.Expression) == 0 {
			i.Expression = i.Location
		}
		for _, place := range i.Expression {
			o.addLocation(place)
		}
		for _, t := range []string{i.Details.Text, i.Diagnostics} {
			if t != "" && !slices.Contains(said, t) {
				said = append(said, t)
			}
		}
	}
	o.Text = strings.Join(said, "\n")
	return o
}

// code is what a code looks like that holds nobody's value: with a letter, and short.
var code = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*$`)

func (o *Outcome) addCode(c string) {
	if len(c) <= 64 && code.MatchString(c) && !slices.Contains(o.Codes, c) {
		o.Codes = append(o.Codes, c)
	}
}

var (
	within  = regexp.MustCompile(`\[[^\]]*\]|\([^)]*\)|'[^']*'|"[^"]*"`)
	element = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9./:_-]*$`)
)

func (o *Outcome) addLocation(place string) {
	place = within.ReplaceAllString(place, "")
	if len(place) <= 200 && element.MatchString(place) && !slices.Contains(o.Locations, place) {
		o.Locations = append(o.Locations, place)
	}
}
