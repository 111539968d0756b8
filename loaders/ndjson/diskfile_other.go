//go:build !linux

package ndjson

import (
	"errors"
	"os"
)

func syncData(f *os.File) error { return f.Sync() }

func setDirect(*os.File, bool) error { return errors.ErrUnsupported }
