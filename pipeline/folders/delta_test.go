package folders_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/folders"
)

const (
	protocol = `{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}`
	metadata = `{"metaData":{"id":"1","format":{"provider":"parquet"},"partitionColumns":[],"configuration":{}}}`
	begin    = protocol + "\n" + metadata + "\n"
)

func add(path string) string {
	return fmt.Sprintf(`{"add":{"path":%q,"partitionValues":{},"size":1,"dataChange":true}}`, path)
}

func remove(path string) string { return fmt.Sprintf(`{"remove":{"path":%q}}`, path) }

// commit is a file of a log for tree.
func commit(table string, version int, actions ...string) string {
	return fmt.Sprintf("%s/_delta_log/%020d.json|%s\n", table, version, strings.Join(actions, "\n"))
}

func TestDelta(t *testing.T) {
	stale := ": " + folders.ReasonStale + "]"
	for _, c := range []struct {
		name string
		tree []string
		args []string
		want []string
	}{
		{"removed, replaced and never committed", []string{"t/a.parquet", "t/b.parquet", "t/c.parquet", "t/d.parquet", "t/notes.pdf",
			commit("t", 0, begin+add("a.parquet"), add("b.parquet")), commit("t", 1, remove("a.parquet"), add("c.parquet"))}, []string{"t"},
			[]string{"t/b.parquet as b.parquet", "t/c.parquet as c.parquet", "[t/a.parquet" + stale, "[t/d.parquet" + stale, "[t/notes.pdf: " + folders.ReasonUnknown + "]"}},
		{"removed and added in one commit", []string{"t/a.parquet", commit("t", 0, begin+add("a.parquet"), remove("a.parquet"))}, []string{"t"},
			[]string{"t/a.parquet as a.parquet"}},
		{"writers that escape differently", []string{"t/a b.parquet", "t/c.parquet", commit("t", 0, begin+add("a%20b.parquet"), add("c.parquet")), commit("t", 1, remove("a b.parquet"))}, []string{"t"},
			[]string{"t/c.parquet as c.parquet", "[t/a b.parquet" + stale}},
		{"writers that begin with the folder itself", []string{"t/a.parquet", "t/x/b.parquet", "t/c.parquet", commit("t", 0, begin+add("a.parquet"), add("./x//b.parquet"), add("c.parquet")),
			commit("t", 1, remove("./a.parquet"), remove("x/b.parquet"))}, []string{"t"},
			[]string{"t/c.parquet as c.parquet", "[t/a.parquet" + stale, "[t/x/b.parquet" + stale}},
		{"added twice", []string{"t/a.parquet", commit("t", 0, begin+add("a.parquet")), commit("t", 1, add("./a.parquet")), commit("t", 2, `{"commitInfo":{}}`)}, []string{"t"},
			[]string{"t/a.parquet as a.parquet"}},
		{"the log tells the keys", []string{"t/x=9/a.parquet", "t/_change_data/a.parquet", "t/_y=1/b.parquet",
			commit("t", 0, protocol, `{"metaData":{"partitionColumns":["x","_y"]}}`, `{"add":{"path":"x=9/a.parquet","partitionValues":{"_y":null,"x":"8"}}}`,
				`{"add":{"path":"_y=1/b.parquet","partitionValues":{"_y":"1","x":""}}}`)}, []string{"t"},
			[]string{`t/_y=1/b.parquet as _y=1/b.parquet x=""! _y="1"`, `t/x=9/a.parquet as x=9/a.parquet x="8" _y=""!`, "[t/_change_data/: hidden or marked as not data]"}},
		{"a table of an extract", []string{"in/m.csv", "in/t/a.parquet", "in/t/b.parquet", commit("in/t", 0, begin+add("a.parquet"))}, []string{"in"},
			[]string{"in/m.csv as m.csv", "in/t/a.parquet as t/a.parquet", "[in/t/b.parquet" + stale}},
		{"a partition of a table", []string{"t/x=1/a.parquet", "t/x=1/b.parquet", "t/x=2/a.parquet", commit("t", 0, begin+add("x=1/a.parquet"), add("x=2/a.parquet"))}, []string{"t/x=1"},
			[]string{"t/x=1/a.parquet as a.parquet", "[t/x=1/b.parquet" + stale}},
		{"a file of a table", []string{"t/x=1/a.parquet", commit("t", 0, begin+add("x=1/a.parquet"))}, []string{"t/x=1/*.parquet"},
			[]string{"t/x=1/a.parquet as a.parquet"}},
		{"features that change nothing", []string{"t/a.parquet", commit("t", 0, `{"protocol":{"minReaderVersion":3,"readerFeatures":["timestampNtz","columnMapping","deletionVectors"]}}`,
			`{"metaData":{"configuration":{"delta.columnMapping.mode":"none"}}}`, add("a.parquet"))}, []string{"t"}, []string{"t/a.parquet as a.parquet"}},
		{"an empty table beside another", []string{"in/m.csv", "in/t/a.parquet", commit("in/t", 0, begin+add("a.parquet")), commit("in/t", 1, remove("a.parquet"))}, []string{"in"},
			[]string{"in/m.csv as m.csv", "[in/t/: " + folders.ReasonNoFiles + "]", "[in/t/a.parquet" + stale}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, c.tree...)
			if diff := cmp.Diff(c.want, found(t, c.args...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeltaRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		tree  []string
		args  string
		want  string
		isNot bool // not a refusal but a fault of the log
	}{
		{name: "deletion vectors", tree: []string{commit("t", 0, begin+`{"add":{"path":"a.parquet","partitionValues":{},"deletionVector":{"storageType":"u"}}}`)}, want: "deletion vectors"},
		{name: "feature", tree: []string{commit("t", 0, `{"protocol":{"minReaderVersion":3,"readerFeatures":["typeWidening"]}}`, metadata)}, want: `the reader feature "typeWidening"`},
		{name: "later protocol", tree: []string{commit("t", 0, begin), commit("t", 1, `{"protocol":{"minReaderVersion":3,"readerFeatures":["v2Checkpoint"]}}`)}, want: `the reader feature "v2Checkpoint"`},
		{name: "column mapping", tree: []string{commit("t", 0, `{"protocol":{"minReaderVersion":2}}`, `{"metaData":{"configuration":{"delta.columnMapping.mode":"name"}}}`)}, want: `column mapping (delta.columnMapping.mode "name")`},
		{name: "new readers", tree: []string{commit("t", 0, `{"protocol":{"minReaderVersion":4}}`, metadata)}, want: "for readers of version 4"},
		{name: "shallow clone", tree: []string{commit("t", 0, begin+add("s3://bucket/a.parquet"))}, want: "files elsewhere"},
		{name: "absolute", tree: []string{commit("t", 0, begin+add("/data/a.parquet"))}, want: "files elsewhere"},
		{name: "outside", tree: []string{commit("t", 0, begin+add("x/%2E./../a.parquet"))}, want: "files outside its folder"},
		{name: "removed elsewhere", tree: []string{commit("t", 0, begin+add("a.parquet")), commit("t", 1, remove("file:///data/t/a.parquet"))}, want: "files elsewhere"},
		{name: "removed by its absolute path", tree: []string{commit("t", 0, begin+add("a.parquet")), commit("t", 1, remove("/data/t/a.parquet"))}, want: "files elsewhere"},
		{name: "removed outside", tree: []string{commit("t", 0, begin+add("a.parquet")), commit("t", 1, remove("%2Fdata/t/a.parquet"))}, want: "files outside its folder"},
		{name: "elsewhere for a while", tree: []string{commit("t", 0, begin+add("s3://b/a.parquet")), commit("t", 1, remove("s3://b/a.parquet"), add("a.parquet"))}, want: "files elsewhere"},
		{name: "path that cannot be decoded", isNot: true, tree: []string{commit("t", 0, begin+add("a.parquet")), commit("t", 1, remove("%zz.parquet"))}, want: "cannot be decoded"},
		{name: "empty commit", isNot: true, tree: []string{commit("t", 0, begin+add("a.parquet")), "t/_delta_log/00000000000000000001.json"}, want: "is empty; was the copy complete?"},
		{name: "commit of blanks", isNot: true, tree: []string{commit("t", 0, begin+add("a.parquet")), commit("t", 1, "", " ")}, want: "is empty; was the copy complete?"},
		{name: "V2 checkpoints", tree: []string{"t/_delta_log/00000000000000000003.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet", commit("t", 4, add("a.parquet"))}, want: "V2 checkpoints"},
		{name: "stale file by name", tree: []string{commit("t", 0, begin+add("b.parquet")), "t/b.parquet"}, args: "t/a.parquet", want: "not in the current version of the Delta table t"},
		{name: "gap", isNot: true, tree: []string{commit("t", 0, begin), commit("t", 2, add("a.parquet"))}, want: "lacks the commit of version 1"},
		{name: "beginning lost", isNot: true, tree: []string{commit("t", 1, begin+add("a.parquet"))}, want: "lacks the commit of version 0"},
		{name: "end lost", isNot: true, tree: []string{commit("t", 0, begin+add("a.parquet")), `t/_delta_log/_last_checkpoint|{"version":10,"size":3}`}, want: "ends at version 0, but had a checkpoint of version 10"},
		{name: "part of a checkpoint lost", isNot: true, tree: []string{commit("t", 11, add("a.parquet")), "t/_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet",
			commit("t", 10, add("a.parquet"))}, want: "lacks the commit of version 9"},
		{name: "no commits", isNot: true, tree: []string{"t/_delta_log/"}, want: "has no commits"},
		{name: "torn commit", isNot: true, tree: []string{commit("t", 0, begin+`{"add":{"pa`)}, want: "(line 3): is not an action of a Delta log"},
		{name: "no metadata", isNot: true, tree: []string{commit("t", 0, protocol)}, want: "no metadata"},
		{name: "no partition value", isNot: true, tree: []string{commit("t", 0, protocol, `{"metaData":{"partitionColumns":["x"]}}`, add("a.parquet"))}, want: `column "x": the Delta log has no value`},
		{name: "checkpoint that is none", isNot: true, tree: []string{"t/_delta_log/00000000000000000010.checkpoint.parquet|PAR1 nothing of the kind PAR1"}, want: "footer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, append(c.tree, "t/a.parquet")...)
			if c.args == "" {
				c.args = "t"
			}
			_, err := folders.Find([]string{c.args}, options)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			_, refused := errors.AsType[*folders.RefusedError](err)
			_, fault := errors.AsType[*pipeline.FormatError](err)
			if refused == c.isNot || fault != c.isNot {
				t.Errorf("%v is a %T", err, err)
			}
		})
	}
}

// TestDeltaCheckpointInParts: the newest checkpoint is whole only with all its parts.
func TestDeltaCheckpointInParts(t *testing.T) {
	type entry struct {
		Add *struct {
			Path            string            `parquet:"path"`
			PartitionValues map[string]string `parquet:"partitionValues"`
		} `parquet:"add,optional"`
		Protocol *struct {
			MinReaderVersion int32 `parquet:"minReaderVersion"`
		} `parquet:"protocol,optional"`
		MetaData *struct {
			ID               string   `parquet:"id"`
			PartitionColumns []string `parquet:"partitionColumns,list"`
		} `parquet:"metaData,optional"`
	}
	tree(t, "t/x=1/a.parquet", "t/x=2/b.parquet", commit("t", 8, remove("x=2/b.parquet")))
	var entries [3]entry
	for i, line := range []string{`{"add":{"path":"x=1/a.parquet","partitionValues":{"x":"1"}}}`, `{"add":{"path":"x=2/b.parquet","partitionValues":{"x":"2"}}}`,
		`{"metaData":{"id":"1","partitionColumns":["x"]}}`} {
		if err := json.Unmarshal([]byte(line), &entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	var begins entry
	if err := json.Unmarshal([]byte(protocol), &begins); err != nil {
		t.Fatal(err)
	}
	part := func(n int) string {
		return filepath.Join("t", "_delta_log", fmt.Sprintf("00000000000000000007.checkpoint.%010d.%010d.parquet", n, 2))
	}
	if err := errors.Join(parquet.WriteFile(part(1), entries[:1]), parquet.WriteFile(part(2), []entry{entries[1], entries[2], begins})); err != nil {
		t.Fatal(err)
	}
	want := []string{`t/x=1/a.parquet as x=1/a.parquet x="1"`, "[t/x=2/b.parquet: " + folders.ReasonStale + "]"}
	if diff := cmp.Diff(want, found(t, "t")); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(part(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := folders.Find([]string{"t"}, options); err == nil || !strings.Contains(err.Error(), "lacks the commit of version 7") {
		t.Errorf("with one of two parts: %v", err)
	}
}

func TestDeltaMissing(t *testing.T) {
	tree(t, "t/a.parquet", commit("t", 0, begin+add("a.parquet"), add("c.parquet"), add("b.parquet")))
	_, err := folders.Find([]string{"t"}, options)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "lacks 2 of its 3 files, the first is "+filepath.Join("t", "b.parquet")) {
		t.Error(err)
	}
}

func TestDeltaEmpty(t *testing.T) {
	tree(t, "t/a.parquet", commit("t", 0, begin))
	_, err := folders.Find([]string{"t"}, options)
	if _, ok := errors.AsType[*folders.EmptyError](err); !ok || !strings.Contains(err.Error(), folders.ReasonNoFiles) {
		t.Error(err)
	}
}

// TestDeltaOfDeltaRS reads a table that delta-rs wrote, from its checkpoint and from its
// commits alone: both must come to the same. testdata/delta/README.md says what it has.
func TestDeltaOfDeltaRS(t *testing.T) {
	source, err := filepath.Abs(filepath.Join("..", "..", "testdata", "delta", "members"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`gender_code="female" plan_region="North/East 1"`,
		`gender_code="male" plan_region="South"`,
		`gender_code="male" plan_region=""!`,
		`gender_code="unknown" plan_region=""!`,
		"stale", "stale",
	}
	for _, lost := range []string{"00000000000000000000.json", "00000000000000000002.checkpoint.parquet"} {
		t.Chdir(t.TempDir())
		if err := os.CopyFS("members", os.DirFS(source)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{lost, "_last_checkpoint"} {
			if err := os.Remove(filepath.Join("members", "_delta_log", name)); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, s := range found(t, "members") {
			if strings.HasSuffix(s, folders.ReasonStale+"]") {
				got = append(got, "stale")
				continue
			}
			_, keys, _ := strings.Cut(s, ".snappy.parquet ")
			_, keys, _ = strings.Cut(keys, ".snappy.parquet ")
			got = append(got, keys)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("without %s: %s", lost, diff)
		}
	}
}
