package parquetio_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio"
)

type (
	deltaRow struct {
		Txn      *deltaTxn      `parquet:"txn,optional"`
		Add      *deltaAdd      `parquet:"add,optional"`
		Remove   *deltaRemove   `parquet:"remove,optional"`
		MetaData *deltaMetadata `parquet:"metaData,optional"`
		Protocol *deltaProtocol `parquet:"protocol,optional"`
		Sidecar  *deltaRemove   `parquet:"sidecar,optional"`
	}
	deltaTxn struct {
		AppID string `parquet:"appId"`
	}
	deltaAdd struct {
		Path            string             `parquet:"path,optional"`
		PartitionValues map[string]*string `parquet:"partitionValues,optional"`
		Parsed          struct {
			Year int32 `parquet:"year,optional"`
		} `parquet:"partitionValues_parsed,optional"`
		DeletionVector *deltaVector `parquet:"deletionVector,optional"`
	}
	deltaVector struct {
		StorageType string `parquet:"storageType,optional"`
	}
	deltaRemove struct {
		Path string `parquet:"path,optional"`
	}
	deltaMetadata struct {
		ID     string `parquet:"id,optional"`
		Format struct {
			Provider string            `parquet:"provider,optional"`
			Options  map[string]string `parquet:"options,optional"`
		} `parquet:"format,optional"`
		PartitionColumns []string          `parquet:"partitionColumns,optional,list"`
		Configuration    map[string]string `parquet:"configuration,optional"`
	}
	deltaProtocol struct {
		MinReaderVersion int32    `parquet:"minReaderVersion,optional"`
		ReaderFeatures   []string `parquet:"readerFeatures,optional,list"`
	}
)

// TestReadDeltaCheckpoint writes every kind of action and several row groups.
func TestReadDeltaCheckpoint(t *testing.T) {
	year := "2024"
	meta := &deltaMetadata{ID: "1", PartitionColumns: []string{"year", "month"}, Configuration: map[string]string{"delta.columnMapping.mode": "name"}}
	meta.Format.Provider = "parquet"
	groups := [][]deltaRow{
		{
			{Txn: &deltaTxn{"app"}},
			{Protocol: &deltaProtocol{3, []string{"timestampNtz", "deletionVectors"}}},
			{MetaData: meta},
			{Remove: &deltaRemove{"gone.parquet"}},
		},
		{
			{Add: &deltaAdd{Path: "a.parquet", PartitionValues: map[string]*string{"year": &year, "month": nil}}},
			{Add: &deltaAdd{Path: "b.parquet"}},
			{Add: &deltaAdd{Path: "c.parquet", DeletionVector: &deltaVector{"u"}}},
			{Sidecar: &deltaRemove{"s.parquet"}},
		},
	}
	path := filepath.Join(t.TempDir(), "00000000000000000001.checkpoint.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[deltaRow](f)
	for _, g := range groups {
		if _, err := w.Write(g); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := parquetio.ReadDeltaCheckpoint(path, func(line []byte) error {
		got = append(got, string(line))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"protocol":{"minReaderVersion":3,"readerFeatures":["timestampNtz","deletionVectors"]}}`,
		`{"metaData":{"configuration":{"delta.columnMapping.mode":"name"},"format":{"provider":"parquet"},"partitionColumns":["year","month"]}}`,
		`{"add":{"partitionValues":{"month":null,"year":"2024"},"path":"a.parquet"}}`,
		`{"add":{"partitionValues":{},"path":"b.parquet"}}`,
		`{"add":{"deletionVector":{},"partitionValues":{},"path":"c.parquet"}}`,
		`{"sidecar":{}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadDeltaCheckpointFaults(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.parquet")
	if err := parquet.WriteFile(other, []deltaTxn{{"app"}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn.parquet")
	if err := os.WriteFile(torn, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{other, torn} {
		err := parquetio.ReadDeltaCheckpoint(path, func([]byte) error { return nil })
		if fault, ok := errors.AsType[*pipeline.FormatError](err); !ok || fault.File != path {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if err := parquetio.ReadDeltaCheckpoint(filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}
