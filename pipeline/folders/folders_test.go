package folders_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/folders"
	"cpcds2fhir/pipeline/parquetio"
)

var options = folders.Options{
	Known: func(name string) bool {
		return slices.Contains([]string{".csv", ".txt", ".parquet"}, strings.ToLower(filepath.Ext(name)))
	},
	Endings: ".csv, .txt or .parquet",
	Refuse: func(name string) (string, string) {
		if strings.HasSuffix(name, ".parquet.gz") {
			return "is packed", "unpack it"
		}
		return "", ""
	},
	Checkpoint: parquetio.ReadDeltaCheckpoint,
}

// tree makes files in a new folder, which becomes the current one. A name that ends in a
// slash is a folder; the content of a file is what stands behind a bar.
func tree(t *testing.T, names ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, n := range names {
		n, content, _ := strings.Cut(n, "|")
		dir := filepath.Dir(n)
		if strings.HasSuffix(n, "/") {
			dir = n
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if dir != n {
			if err := os.WriteFile(n, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// found lists what Find finds: the files with their names and keys, then in brackets what
// is left out.
func found(t *testing.T, args ...string) []string {
	t.Helper()
	l, err := folders.Find(args, options)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range l.Files {
		s := filepath.ToSlash(f.Path)
		if f.Name != s {
			s += " as " + f.Name
		}
		for _, k := range f.Keys {
			s += fmt.Sprintf(" %s=%q", k.Name, k.Value)
			if k.Absent {
				s += "!"
			}
		}
		out = append(out, s)
	}
	for _, f := range l.LeftOut {
		out = append(out, "["+filepath.ToSlash(f.Path)+": "+f.Reason+"]")
	}
	return out
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name string
		tree []string
		args []string
		want []string
	}{
		{"flat", []string{"in/b.csv", "in/a.CSV", "in/notes.pdf"}, []string{"in"},
			[]string{"in/a.CSV as a.CSV", "in/b.csv as b.csv", "[in/notes.pdf: " + folders.ReasonUnknown + "]"}},
		{"marks", []string{"in/a.csv", "in/_SUCCESS", "in/.a.csv.crc", "in/a.csv.CRC", "in/._a.csv", "in/.DS_Store", "in/_metadata", "in/_temporary/0/a.csv",
			"in/__MACOSX/a.csv", "in/.git/x.csv", "in/b.csv.tmp", "in/c.csv~", "in/d.csv._COPYING_"}, []string{"in"},
			[]string{"in/a.csv as a.csv", "[in/.DS_Store: hidden or marked as not data]", "[in/._a.csv: hidden or marked as not data]",
				"[in/.a.csv.crc: hidden or marked as not data]", "[in/.git/: hidden or marked as not data]", "[in/_SUCCESS: hidden or marked as not data]",
				"[in/__MACOSX/: hidden or marked as not data]", "[in/_metadata: hidden or marked as not data]", "[in/_temporary/: hidden or marked as not data]",
				"[in/a.csv.CRC: hidden or marked as not data]", "[in/b.csv.tmp: " + folders.ReasonTemporary + "]", "[in/c.csv~: " + folders.ReasonTemporary + "]",
				"[in/d.csv._COPYING_: " + folders.ReasonTemporary + "]"}},
		{"named is taken", []string{"in/_x.csv", "in/.y.csv", "_z/a.csv"}, []string{"in/_x.csv", "./in/.y.csv", "_z"},
			[]string{"_z/a.csv as a.csv", "in/.y.csv as .y.csv", "in/_x.csv as _x.csv"}},
		{"partitions", []string{"in/year=2024/month=01/a.csv", "in/year=2024/month=__HIVE_DEFAULT_PARTITION__/a.csv", "in/year=/b.csv",
			"in/_run=1/c.csv", "in/name=a%2Fb%zz/d.csv", "in/year=2024/old/e.csv"}, []string{"in"},
			[]string{`in/_run=1/c.csv as _run=1/c.csv _run="1"`, `in/name=a%2Fb%zz/d.csv as name=a%2Fb%zz/d.csv name="a/b%zz"`,
				`in/year=/b.csv as year=/b.csv year=""!`, `in/year=2024/month=01/a.csv as year=2024/month=01/a.csv year="2024" month="01"`,
				`in/year=2024/month=__HIVE_DEFAULT_PARTITION__/a.csv as year=2024/month=__HIVE_DEFAULT_PARTITION__/a.csv year="2024" month=""!`,
				"[in/year=2024/old/: " + folders.ReasonDeep + "]"}},
		{"a partition alone says the same", []string{"in/year=2024/a.csv", "in/year=2024/b.csv"}, []string{"in/year=2024", "in/year=2024/b.csv"},
			[]string{`in/year=2024/a.csv as a.csv year="2024"`, `in/year=2024/b.csv as b.csv year="2024"`}},
		{"a table to a folder", []string{"in/claims/part-0.csv", "in/claims/_SUCCESS", "in/members/year=1/part-0.csv", "in/docs/guide.pdf", "in/empty/",
			"in/deep/er/x.csv"}, []string{"in"},
			[]string{"in/claims/part-0.csv as claims/part-0.csv", `in/members/year=1/part-0.csv as members/year=1/part-0.csv year="1"`,
				"[in/claims/_SUCCESS: hidden or marked as not data]", "[in/deep/er/: " + folders.ReasonDeep + "]", "[in/docs/: " + folders.ReasonBare + "]",
				"[in/empty/: " + folders.ReasonBare + "]"}},
		{"overlap", []string{"in/claims/a.csv", "in/b.csv"}, []string{"in/claims/a.csv", "in", "./in/", "in/b.csv"},
			[]string{"in/b.csv as b.csv", "in/claims/a.csv as claims/a.csv"}},
		{"patterns", []string{"in/a.csv", "in/.b.csv", "in/_c.csv", "t1/x.csv", "t2/y.csv"}, []string{"in/*", "t?"},
			[]string{"in/a.csv as a.csv", "t1/x.csv as x.csv", "t2/y.csv as y.csv", "[in/.b.csv: hidden or marked as not data]", "[in/_c.csv: hidden or marked as not data]"}},
		{"a pattern that means marks", []string{"in/_a.csv"}, []string{"in/_*.csv"}, []string{"in/_a.csv as _a.csv"}},
		{"packed and unpacked", []string{"in/a.parquet", "in/a.parquet.gz"}, []string{"in"},
			[]string{"in/a.parquet as a.parquet", "[in/a.parquet.gz: " + folders.ReasonPacked + "]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, c.tree...)
			if diff := cmp.Diff(c.want, found(t, c.args...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	tree(t, "in/a.csv")
	if err := errors.Join(os.Symlink("a.csv", "in/b.csv"), os.Symlink("nowhere", "in/note.pdf")); err != nil {
		t.Skip("no links here: ", err)
	}
	if _, err := folders.Find([]string{"in"}, options); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	if err := os.Remove("in/note.pdf"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"in/a.csv as a.csv", "[in/b.csv: " + folders.ReasonSame + "]"}, found(t, "in")); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		tree []string
		args []string
		want string
	}{
		{"packed Parquet", []string{"in/a.csv", "in/b.parquet.gz"}, []string{"in"}, "in/b.parquet.gz: is packed; unpack it"},
		{"packed Parquet by name", []string{"b.parquet.gz"}, []string{"b.parquet.gz"}, "b.parquet.gz: is packed; unpack it"},
		{"unknown by name", []string{"b.pdf"}, []string{"b.pdf"}, "b.pdf: the name does not show the format; use .csv, .txt or .parquet"},
		{"Iceberg", []string{"t/metadata/v1.metadata.json", "t/data/a.parquet"}, []string{"t"}, "t: is an Apache Iceberg table"},
		{"Iceberg in an extract", []string{"in/m.csv", "in/t/metadata/v1.metadata.json", "in/t/data/a.parquet"}, []string{"in"}, "in/t: is an Apache Iceberg table"},
		{"data of Iceberg", []string{"t/metadata/v1.metadata.json", "t/data/d=1/a.parquet"}, []string{"t/data/d=1"}, "t: is an Apache Iceberg table"},
		{"files of Iceberg", []string{"t/metadata/v1.metadata.json", "t/data/a.parquet"}, []string{"t/data/*"}, "t: is an Apache Iceberg table"},
		{"Iceberg in a partition", []string{"in/d=1/metadata/v1.metadata.json", "in/d=1/data/a.parquet"}, []string{"in"}, "in/d=1: is an Apache Iceberg table"},
		{"Delta in a partition", []string{"in/d=1/_delta_log/", "in/d=1/a.parquet"}, []string{"in"}, "in/d=1: is a Delta table in a partition folder; name the table itself"},
		{"a partition of Hudi", []string{"t/.hoodie/x", "t/2024/.hoodie_partition_metadata", "t/2024/a.parquet"}, []string{"t/2024/a.parquet"}, "t/2024: is an Apache Hudi table"},
		{"Spark's sink", []string{"t/_spark_metadata/0", "t/a.parquet"}, []string{"t"},
			"t: is the output of a Spark streaming query; only its log _spark_metadata lists the committed files; read the folder with Spark and write it to a new one"},
		{"Spark's sink in an extract", []string{"in/m.csv", "in/t/_spark_metadata/0", "in/t/a.parquet"}, []string{"in"}, "in/t: is the output of a Spark streaming query"},
		{"a partition of Spark's sink", []string{"t/_spark_metadata/0", "t/d=1/a.parquet"}, []string{"t/d=1"}, "t: is the output of a Spark streaming query"},
		{"a file of Spark's sink", []string{"t/_spark_metadata/0", "t/d=1/a.parquet"}, []string{"t/*/*.parquet"}, "t: is the output of a Spark streaming query"},
		{"Hive ACID", []string{"t/base_0000005/a.parquet"}, []string{"t"}, "t/base_0000005: is a folder of changes of a Hive ACID table"},
		{"changes of Hive ACID", []string{"in/m.csv", "in/t/delta_0000006_0000006_0000/000000_0"}, []string{"in"}, "in/t/delta_0000006_0000006_0000: is a folder of changes"},
		{"removals of Hive ACID in a partition", []string{"t/d=1/delete_delta_0000001_0000009/a.parquet"}, []string{"t"}, "t/d=1/delete_delta_0000001_0000009: is a folder"},
		{"a file of Hive ACID", []string{"t/base_0000005_v0000021/a.parquet"}, []string{"t/base_0000005_v0000021/a.parquet"}, "t/base_0000005_v0000021: is a folder"},
		{"Hudi", []string{"t/.hoodie/hoodie.properties", "t/a.parquet"}, []string{"t"}, "t: is an Apache Hudi table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, c.tree...)
			_, err := folders.Find(c.args, options)
			if _, ok := errors.AsType[*folders.RefusedError](err); !ok || !strings.HasPrefix(filepath.ToSlash(err.Error()), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestNotACID: names that only resemble those of Hive are names.
func TestNotACID(t *testing.T) {
	tree(t, "in/base_2024/a.csv", "in/delta_20240301_20240331/a.csv", "in/delta_202403_202404/a.csv", "in/my_base_0000005/a.csv")
	if got := found(t, "in"); len(got) != 4 {
		t.Errorf("found %q", got)
	}
}

// TestUnreadableMetadata: a folder of which nobody can say whether it is a table is an error.
func TestUnreadableMetadata(t *testing.T) {
	tree(t, "in/a.csv", "in/metadata|x")
	if diff := cmp.Diff([]string{"in/a.csv as a.csv", "[in/metadata: " + folders.ReasonUnknown + "]"}, found(t, "in")); diff != "" {
		t.Error(diff)
	}
	if err := os.Mkdir("loop", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile("loop/a.csv", nil, 0o600), os.Symlink("metadata", "loop/metadata")); err != nil {
		t.Skip("no links here: ", err)
	}
	if _, err := folders.Find([]string{"loop/a.csv"}, options); err == nil {
		t.Error("a folder whose metadata cannot be read is taken for one without")
	}
}

func TestEmpty(t *testing.T) {
	tree(t, "bare/", "in/_SUCCESS", "in/a.pdf", "in/b.pdf", "in/c.pdf", "in/d/", "marks/.a.csv")
	for arg, want := range map[string]string{
		"bare": "bare: the folder has no Parquet, CSV or Arrow files",
		"in": "in: the folder has no Parquet, CSV or Arrow files; it has _SUCCESS (hidden or marked as not data), a.pdf (" +
			folders.ReasonUnknown + "), b.pdf (" + folders.ReasonUnknown + "), and 2 more",
		"marks/*": "marks/*: no file matches except those that are hidden or marked as not data",
		"no*":     "no*: no file matches",
	} {
		_, err := folders.Find([]string{arg}, options)
		if _, ok := errors.AsType[*folders.EmptyError](err); !ok || err.Error() != want {
			t.Errorf("%s: got %v\nwant %s", arg, err, want)
		}
	}
}

func TestBadKeys(t *testing.T) {
	tree(t, "a/year=1/Year=2/x.csv", "b/name=%ff/x.csv", "c/name=%00/x.csv")
	for arg, want := range map[string]string{"a": "name the partition key year twice", "b": "is not valid UTF-8", "c": "or has a NUL"} {
		_, err := folders.Find([]string{arg}, options)
		if _, ok := errors.AsType[*pipeline.FormatError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", arg, err, want)
		}
	}
}

func TestBeside(t *testing.T) {
	tree(t, "in/members.csv", "in/claims/part-0.csv", "in/docs/")
	l, err := folders.Find([]string{"in"}, options)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join("in", "claims")}; !slices.Equal(l.Entered, want) {
		t.Errorf("entered %q, want %q", l.Entered, want)
	}
}

func TestSummary(t *testing.T) {
	var list []folders.LeftOut
	for i := range 12 {
		list = append(list, folders.LeftOut{Path: fmt.Sprintf("x/_%02d", i), Reason: folders.ReasonMarked})
	}
	list = append(list, folders.LeftOut{Path: "x/_t/", Reason: folders.ReasonMarked}, folders.LeftOut{Path: "x/a.pdf", Reason: folders.ReasonUnknown})
	want := []string{"12 files and 1 folder left out: hidden or marked as not data (first: x/_00)", "x/a.pdf is left out: " + folders.ReasonUnknown}
	if diff := cmp.Diff(want, folders.Summary(list)); diff != "" {
		t.Error(diff)
	}
}

// TestFromWithin: what paths say does not depend on where the user is.
func TestFromWithin(t *testing.T) {
	tree(t, "in/year=2024/a.csv", "t/x=1/a.parquet", "t/x=1/b.parquet", commit("t", 0, begin+add("x=1/a.parquet")))
	t.Chdir("in/year=2024")
	if diff := cmp.Diff([]string{`a.csv year="2024"`}, found(t, ".")); diff != "" {
		t.Error(diff)
	}
	t.Chdir("../../t/x=1")
	if diff := cmp.Diff([]string{"a.parquet", "[b.parquet: " + folders.ReasonStale + "]"}, found(t, ".")); diff != "" {
		t.Error(diff)
	}
}

func TestHome(t *testing.T) {
	tree(t, "in/claims/year=1/a.csv")
	for arg, want := range map[string]string{"in": "in", "in/claims": "in/claims", "in/claims/year=1": "in/claims", "in/claims/year=1/a.csv": "in/claims"} {
		l, err := folders.Find([]string{arg}, options)
		if err != nil {
			t.Fatal(err)
		}
		if got := filepath.ToSlash(l.Files[0].Home()); got != want {
			t.Errorf("%s: home %s, want %s", arg, got, want)
		}
	}
}
