package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Schema is the version of a state folder. Version 1 had no number: it had no stamps of members,
// coverages and providers, and counts were lists without names.
const Schema = 2

const schemaFile = "schema.json"

type schema struct {
	Schema int `json:"schema"`
}

// SchemaError says that a newer program wrote a state folder.
type SchemaError struct {
	Dir          string
	Found, Known int
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("state folder %s has schema %d, but this program knows only up to %d; use a newer cpcds2fhir", e.Dir, e.Found, e.Known)
}

// SchemaOf returns the schema of a state folder: this program's if the folder is empty, and 1 if it
// has no number. A newer one is a *SchemaError.
func SchemaOf(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, schemaFile))
	if errors.Is(err, fs.ErrNotExist) {
		for _, of := range []string{"runs", "directory", "manifests", "rejects"} {
			if _, err := os.Stat(filepath.Join(dir, of)); err == nil {
				return 1, nil
			}
		}
		return Schema, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read schema of state folder: %w", err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil || s.Schema < 1 {
		return 0, fmt.Errorf("read schema of state folder: %s is damaged", filepath.Join(dir, schemaFile))
	}
	if s.Schema > Schema {
		return 0, &SchemaError{dir, s.Schema, Schema}
	}
	return s.Schema, nil
}

// PutSchema records that a state folder has this program's schema.
func PutSchema(dir string) error {
	text, err := json.Marshal(schema{Schema})
	if err != nil {
		return err
	}
	return Write(filepath.Join(dir, schemaFile), append(text, '\n'))
}
