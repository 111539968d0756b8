package ndjson

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// loadSummary is what the state folder keeps of a finished load.
type loadSummary struct {
	Account pipeline.Account `json:"account"`
	Parts   []namedPart      `json:"parts"`
}

type namedPart struct {
	partState
	Path string `json:"path"` // below the target folder, with slashes
}

// Finish implements pipeline.Loader. It may be called again after an error; after success it does
// nothing. total is what Finished returns later.
func (l *Loader) Finish(ctx context.Context, total *pipeline.Account) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.finished != nil {
		return nil
	}
	lanes, err := l.finishLanes(ctx)
	if err != nil {
		return err
	}
	sum := &loadSummary{}
	sum.Account.Add(total)
	for _, ln := range lanes {
		sum.add(l, ln.name, ln.committed.Closed)
	}
	if err := l.writeManifest(partsOf(slices.Concat(l.earlier, []*loadSummary{sum})), nil); err != nil {
		return err
	}
	text, err := json.MarshalIndent(sum, "", " ")
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	if err := writeFile(l.fs, filepath.Join(l.state, finishedName), text); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	for _, ln := range lanes {
		ln.drop()
	}
	l.finished = sum
	return nil
}

// finishLanes completes all lanes with a journal, including those that this process has not used.
func (l *Loader) finishLanes(ctx context.Context) ([]*lane, error) {
	files, err := l.fs.List(l.state)
	if err != nil {
		return nil, fmt.Errorf("list journals: %w", err)
	}
	names := map[string]bool{}
	for _, name := range files {
		if lane, ok := strings.CutPrefix(name, journalPrefix); ok {
			names[lane] = true
		}
	}
	var lanes []*lane
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ln, err := l.lane(name)
		if err != nil {
			return nil, err
		}
		if err := ln.finish(); err != nil {
			return nil, fmt.Errorf("finish lane %s: %w", name, err)
		}
		lanes = append(lanes, ln)
	}
	return lanes, nil
}

func (sum *loadSummary) add(l *Loader, lane string, states []partState) {
	for _, s := range states {
		name := l.partName(lane, s.Seq)
		sum.Parts = append(sum.Parts, namedPart{s, path.Join(s.Type.String(), name)})
	}
}

// partsOf lists the parts of loads by type, in the order in which types must be
// loaded, and name.
func partsOf(loads []*loadSummary) []Part {
	var parts []Part
	for _, sum := range loads {
		for _, p := range sum.Parts {
			parts = append(parts, p.part(p.Path))
		}
	}
	slices.SortFunc(parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Path, b.Path))
	})
	return parts
}

// part describes a complete part.
func (s *partState) part(path string) Part {
	return Part{Type: fhir.Type(s.Type), Path: path, Lines: s.Lines, Bytes: s.Bytes, RawBytes: s.Raw, SHA256: s.SHA256}
}

// manifest has the form of the manifest of a FHIR bulk data export. Extension is where that format
// allows our own data.
type manifest struct {
	TransactionTime     string            `json:"transactionTime"`
	Request             string            `json:"request"`
	RequiresAccessToken bool              `json:"requiresAccessToken"`
	Output              []manifestOutput  `json:"output"`
	Deleted             []manifestOutput  `json:"deleted,omitempty"`
	Error               []manifestOutput  `json:"error"`
	Extension           manifestExtension `json:"extension"`
}

type manifestOutput struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count int64  `json:"count"`
}

type manifestExtension struct {
	KeyFingerprint string         `json:"keyFingerprint"`
	Files          []manifestFile `json:"files"`
}

type manifestFile struct {
	URL      string `json:"url"`
	SHA256   string `json:"sha256"`
	Bytes    int64  `json:"bytes"`
	RawBytes int64  `json:"rawBytes"`
}

// writeManifest writes the manifest of parts with resources, and of those with deletions.
func (l *Loader) writeManifest(parts, deleted []Part) error {
	m := manifest{
		TransactionTime: l.opts.TransactionTime,
		Request:         l.opts.Request,
		Output:          []manifestOutput{},
		Error:           []manifestOutput{},
		Extension:       manifestExtension{KeyFingerprint: l.opts.KeyFingerprint, Files: []manifestFile{}},
	}
	for _, p := range parts {
		m.Output = append(m.Output, manifestOutput{p.Type.String(), p.Path, p.Lines})
	}
	for _, p := range deleted {
		m.Deleted = append(m.Deleted, manifestOutput{"Bundle", p.Path, p.Lines})
	}
	for _, p := range slices.Concat(parts, deleted) {
		m.Extension.Files = append(m.Extension.Files, manifestFile{p.Path, p.SHA256, p.Bytes, p.RawBytes})
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := writeFile(l.fs, filepath.Join(l.dir, manifestName), text.Bytes()); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}
