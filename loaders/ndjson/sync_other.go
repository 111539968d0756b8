//go:build !linux

package ndjson

import (
	"errors"
	"os"
)

func syncData(f *os.File) error { return f.Sync() }

func openDirect(string) (*os.File, error) { return nil, errors.ErrUnsupported }
