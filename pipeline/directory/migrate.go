package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cpcds2fhir/pipeline/sorted"
)

// Records of the directory from releases before stamps. Only the record by member and payer had the
// period of a coverage.
var (
	oldMemberRecords   = sorted.Format{Name: memberRecords.Name, Size: rawSize, Key: rawSize}
	oldCoverageRecords = sorted.Format{Name: coverageRecords.Name, Size: 4*rawSize + 1, Key: rawSize}
	oldProviderRecords = sorted.Format{Name: providerRecords.Name, Size: 2*rawSize + 1, Key: rawSize}
	oldPeriodRecords   = sorted.Format{Name: periodRecords.Name, Size: 2*rawSize + 8 + 2*dateSize, Key: 2 * rawSize}
)

// Upgrade upgrades the directory of a state folder to this release.
func Upgrade(state, spill string) error {
	if err := migrate(filepath.Join(state, folder), spill); err != nil {
		return fmt.Errorf("upgrade directory: %w", err)
	}
	return nil
}

// upgraded is the directory in this release's form: itself, or an upgraded copy of an older one,
// which stays unchanged for a dry run.
func upgraded(dir, spill string) (string, error) {
	old := false
	for _, f := range []sorted.Format{oldMemberRecords, oldCoverageRecords, oldProviderRecords, oldPeriodRecords} {
		t, err := openOld(f, dir)
		if err != nil {
			return "", err
		}
		if t != nil {
			old = true
			t.Close()
		}
	}
	if !old {
		return dir, nil
	}
	copied := filepath.Join(spill, folder)
	if err := errors.Join(os.RemoveAll(copied), os.CopyFS(copied, os.DirFS(dir))); err != nil {
		return "", fmt.Errorf("copy directory: %w", err)
	}
	return copied, migrate(copied, spill)
}

// migrate rewrites the tables of a directory of an earlier release. Its records have no stamp, so
// any row loaded from now on takes precedence. Each table is replaced atomically; an interrupted
// migration continues with those that are left, the periods last, because the coverages need them.
func migrate(dir, spill string) error {
	err := migrateTable(oldMemberRecords, memberRecords, dir, spill, func(record []byte) []byte { return pad(record, memberRecords) })
	if err != nil {
		return err
	}
	periods, err := openOld(oldPeriodRecords, dir)
	if err != nil || periods == nil {
		return err
	}
	defer periods.Close()
	if err := migrateCoverages(periods, dir, spill); err != nil {
		return err
	}
	err = migrateTable(oldProviderRecords, providerRecords, dir, spill, func(record []byte) []byte {
		return pad(record, providerRecords)
	})
	if err != nil {
		return err
	}
	return migrateTable(oldPeriodRecords, periodRecords, dir, spill, func(record []byte) []byte {
		return pad(record[:periodSize], periodRecords)
	})
}

// openOld opens a table of an earlier release; nil if there is none, or it is of this release.
func openOld(f sorted.Format, dir string) (*sorted.Table, error) {
	path := filepath.Join(dir, f.Name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	t, err := sorted.Open(f, path)
	if errors.Is(err, sorted.ErrFormat) {
		return nil, nil
	}
	return t, err
}

func migrateTable(from, to sorted.Format, dir, spill string, convert func([]byte) []byte) error {
	old, err := openOld(from, dir)
	if err != nil || old == nil {
		return err
	}
	defer old.Close()
	b := sorted.NewBuilder(to, spill)
	if err := old.All(func(record []byte) error { return b.Add(convert(record)) }); err != nil {
		return err
	}
	return saveTable(b, filepath.Join(dir, to.Name))
}

func saveTable(b *sorted.Builder, path string) error {
	t, err := b.Build()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Save(path)
}

// migrateCoverages gives the coverages their periods.
func migrateCoverages(periods *sorted.Table, dir, spill string) error {
	old, err := openOld(oldCoverageRecords, dir)
	if err != nil || old == nil {
		return err
	}
	defer old.Close()
	b := sorted.NewBuilder(coverageRecords, spill)
	err = periods.All(func(record []byte) error {
		key, dates := record[rawSize:2*rawSize], record[2*rawSize+8:]
		var failed error
		err := old.Find(key, func(coverage []byte) {
			x := pad(coverage, coverageRecords)
			copy(x[4*rawSize+1:], dates)
			failed = errors.Join(failed, b.Add(x))
		})
		return errors.Join(err, failed)
	})
	if err != nil {
		return err
	}
	// Of two records without a stamp the first is kept: the one with its period.
	err = old.All(func(record []byte) error {
		x := pad(record, coverageRecords)
		x[4*rawSize] |= coverageUndated
		return b.Add(x)
	})
	if err != nil {
		return err
	}
	return saveTable(b, filepath.Join(dir, coverageRecords.Name))
}

// pad makes a record of a format from the beginning of another one.
func pad(record []byte, f sorted.Format) []byte {
	return append(make([]byte, 0, f.Size), record...)[:f.Size]
}
