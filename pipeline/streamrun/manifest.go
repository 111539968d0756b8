package streamrun

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/statefile"
)

// Manifest is the account of one window of a stream: what all lanes of all processes have made
// durable in it. docs/streaming.md explains its fields.
type Manifest struct {
	ManifestVersion int    `json:"manifest_version"`
	ToolVersion     string `json:"tool_version"`
	Group           string `json:"group"`
	Target          string `json:"target"`
	Window          string `json:"window"` // its beginning
	End             string `json:"end"`
	Complete        bool   `json:"complete"` // the window has ended

	Lanes     []ManifestLane                    `json:"lanes"`
	Messages  MessageCount                      `json:"messages"`
	Rows      map[string]pipeline.RowCount      `json:"rows"`
	Claims    pipeline.ClaimCount               `json:"claims"`
	Resources map[string]pipeline.ResourceCount `json:"resources"`
	Rejects   map[string]int64                  `json:"rejects"`
	Repairs   map[string]int64                  `json:"repairs"`
	Skips     map[string]int64                  `json:"skips"`
	Warnings  map[string]int64                  `json:"warnings"`
	Balanced  bool                              `json:"balanced"`
}

// ManifestLane is what is durable of one partition.
type ManifestLane struct {
	Lane     string       `json:"lane"` // topic/partition
	From     int64        `json:"from"` // offset of the first message of the window
	To       int64        `json:"to"`   // offset after the last one
	Messages MessageCount `json:"messages"`
}

// AccountsByGroup sums up the accounts of all streams by group.
func AccountsByGroup(ctx context.Context, t pipeline.StreamRecords) (map[string]*pipeline.Account, error) {
	accounts := map[string]*pipeline.Account{}
	err := Accounts(ctx, t, "", time.Time{}, func(a *LaneAccount) error {
		group, _, _ := strings.Cut(a.Lane, "/")
		if accounts[group] == nil {
			accounts[group] = new(pipeline.Account)
		}
		accounts[group].Add(&a.Account)
		return nil
	})
	return accounts, err
}

// Manifests sums up the accounts of a group by window, from a time on.
func Manifests(ctx context.Context, t pipeline.StreamRecords, group string, since time.Time, window time.Duration) (list []*Manifest, err error) {
	var account pipeline.Account
	finish := func() {
		if len(list) > 0 {
			list[len(list)-1].count(&account)
		}
		account = pipeline.Account{}
	}
	err = Accounts(ctx, t, group, since, func(a *LaneAccount) error {
		at := a.Window.Format(windowFormat)
		if len(list) == 0 || list[len(list)-1].Window != at {
			finish()
			end := a.Window.Add(window)
			list = append(list, &Manifest{ManifestVersion: 1, Group: group, Window: at, End: end.Format(windowFormat), Complete: time.Now().After(end)})
		}
		m := list[len(list)-1]
		m.Lanes = append(m.Lanes, ManifestLane{strings.TrimPrefix(a.Lane, group+"/"), a.From, a.To, a.Messages})
		m.Messages.Add(&a.Messages)
		account.Add(&a.Account)
		return nil
	})
	finish()
	return list, err
}

// count fills in the account.
func (m *Manifest) count(a *pipeline.Account) {
	m.Rows, m.Resources = a.RowsByTable(), a.ResourcesByType()
	m.Claims, m.Rejects, m.Repairs, m.Skips, m.Warnings = a.Claims, counts(a.Rejects), counts(a.Repairs), counts(a.Skips), counts(a.Warnings)
	m.Balanced = a.Balanced() && m.Messages.Balanced()
}

// counts is a map that is never nil, so that it is {} in JSON.
func counts(m map[string]int64) map[string]int64 {
	if m == nil {
		return map[string]int64{}
	}
	return m
}

// Write writes the manifest into a folder, in place of an earlier one of the same window.
func (m *Manifest) Write(dir string) error {
	dir = filepath.Join(dir, "manifests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of manifests: %w", err)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	name := strings.NewReplacer(":", "", "-", "").Replace(m.Window) + ".json"
	// Several processes may write the manifest of a window at once, each under a name of its own first.
	own := filepath.Join(dir, fmt.Sprintf(".%s.%d", name, os.Getpid()))
	err = statefile.Replace(own, func(w *bufio.Writer) error { _, err := w.Write(append(b, '\n')); return err })
	if err == nil {
		err = os.Rename(own, filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}
