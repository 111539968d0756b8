package fhirclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// statement is the part of a CapabilityStatement that says what a server can do.
type statement struct {
	ResourceType string `json:"resourceType"`
	FHIRVersion  string `json:"fhirVersion"`
	Software     struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"software"`
	Implementation struct {
		Description string `json:"description"`
	} `json:"implementation"`
	Rest []struct {
		Mode        string        `json:"mode"`
		Interaction []interaction `json:"interaction"`
		Operation   []operation   `json:"operation"`
		Resource    []struct {
			Type              string        `json:"type"`
			Interaction       []interaction `json:"interaction"`
			Operation         []operation   `json:"operation"`
			Versioning        string        `json:"versioning"`
			UpdateCreate      *bool         `json:"updateCreate"`
			ConditionalUpdate *bool         `json:"conditionalUpdate"`
		} `json:"resource"`
	} `json:"rest"`
}

type interaction struct {
	Code string `json:"code"`
}

type operation struct {
	Name string `json:"name"`
}

// written are the types that this program writes.
var written = []string{"Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit"}

// statement asks a server what it is.
func (c *Client) statement(ctx context.Context) (*statement, error) {
	got, err := c.exchange(ctx, &request{method: http.MethodGet, label: "metadata", url: c.at("metadata", ""), header: fresh, hurry: connectPatience})
	if err != nil {
		return nil, err
	}
	var s statement
	if json.Unmarshal(got.body, &s) != nil || s.ResourceType != "CapabilityStatement" && s.ResourceType != "Conformance" {
		return nil, &NoTargetError{errFHIR.Error()}
	}
	if !strings.HasPrefix(s.FHIRVersion, "4.0") {
		return nil, &NoTargetError{fmt.Sprintf("the server speaks FHIR %s; resources are loaded into servers of FHIR R4 (4.0)", orUnknown(s.FHIRVersion))}
	}
	return &s, nil
}

func orUnknown(s string) string {
	if s == "" || len(s) > 40 {
		return "of an unknown version"
	}
	return s
}

// probe draws conclusions from a statement. Some of them change the settings.
func (c *Client) probe(s *statement, conf *Config) (*Probe, error) {
	p := &Probe{
		Software: s.Software.Name, Version: s.Software.Version, FHIR: s.FHIRVersion, Profile: c.profile.key,
		Abilities: map[string]bool{}, Notes: slices.Clone(c.profile.Notes),
	}
	for _, a := range c.profile.Abilities {
		p.Abilities[a] = true
	}
	for _, r := range s.Rest {
		if r.Mode != "" && r.Mode != "server" {
			continue
		}
		for _, i := range r.Interaction {
			p.Abilities[i.Code] = true // transaction, batch
		}
		for _, o := range r.Operation {
			if strings.TrimPrefix(o.Name, "$") == "import" {
				p.Abilities["import"] = true
			}
		}
		for _, res := range r.Resource {
			if !slices.Contains(written, res.Type) {
				continue
			}
			can := func(code string) bool { return slices.Contains(res.Interaction, interaction{code}) }
			if can("update") {
				p.Types = append(p.Types, res.Type)
			}
			p.Abilities["delete"] = p.Abilities["delete"] || can("delete")
			p.Abilities["update-create"] = p.Abilities["update-create"] || res.UpdateCreate != nil && *res.UpdateCreate
			p.Abilities["conditional-update"] = p.Abilities["conditional-update"] || res.ConditionalUpdate != nil && *res.ConditionalUpdate
			p.Abilities["versioned-update"] = p.Abilities["versioned-update"] || res.Versioning == "versioned-update"
			p.Abilities["versioned"] = p.Abilities["versioned"] || strings.HasPrefix(res.Versioning, "versioned")
		}
	}
	slices.SortFunc(p.Types, func(a, b string) int { return slices.Index(written, a) - slices.Index(written, b) })
	if err := c.conclude(p, conf); err != nil {
		return nil, err
	}
	p.Settings = c.settings
	return p, nil
}

// conclude changes settings that the server cannot follow, unless the user has asked for them, and says
// so.
func (c *Client) conclude(p *Probe, conf *Config) error {
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	if len(p.Types) == 0 {
		return &NoTargetError{"the server does not say that any of " + strings.Join(written, ", ") + " can be written to it: it is read-only"}
	}
	for _, t := range written {
		if !slices.Contains(p.Types, t) {
			note("The server does not say that it can store %s: such resources will probably be refused.", t)
		}
	}
	said := p.Abilities["transaction"] || p.Abilities["batch"]
	if said && conf.Bundle == "" {
		switch {
		case c.settings.Bundle == "transaction" && !p.Abilities["transaction"]:
			c.settings.Bundle = "batch"
			note("The server takes no transactions: resources are sent in batches.")
		case c.settings.Bundle == "batch" && !p.Abilities["batch"]:
			c.settings.Bundle = "transaction"
			note("The server takes no batches: resources are sent in transactions.")
		}
	}
	if !said {
		note("The server does not say that it takes bundles. They are tried all the same.")
	}
	if said && !p.Abilities["batch"] {
		c.noBatchReads.Store(true)
	}
	if conf.IDs == "" && c.settings.IDs == "client" && !p.Abilities["update-create"] {
		if p.Abilities["conditional-update"] && c.profile.key == generic {
			c.settings.IDs = "conditional"
			note("The server makes ids of its own: resources are found by an identifier (ids: conditional).")
		} else {
			note("The server does not say that it accepts the ids of a client. If it refuses new resources, try ids: conditional.")
		}
	}
	if c.settings.IDs == "conditional" && !p.Abilities["conditional-update"] {
		note("The server does not say that it can update by a search, which ids: conditional needs.")
	}
	if c.settings.Import == "hapi" && !p.Abilities["import"] {
		c.settings.Import = ""
	}
	return nil
}
