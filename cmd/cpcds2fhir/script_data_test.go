package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// The columns of the extracts that scripts write: as few as a valid claim needs.
const (
	claimHeader = "claim_unique_identifier,claim_source_version,claim_last_updated_date,member_id,claim_payer_identifier,claim_type,claim_processing_status_code," +
		"statement_from_date,adjudication_date,billing_provider_npi,line_number,service_from_date,procedure_code,place_of_service_code," +
		"line_benefit_payment_status,line_submitted_amount,diagnosis_code\n"
	memberHeader   = "member_id,member_family_name,gender_code,member_last_updated_date\n"
	coverageHeader = "coverage_id,member_id,subscriber_id,payer_identifier,coverage_status,relationship_to_subscriber,coverage_last_updated_date\n"
)

// cmdExtract writes a CSV extract in the layout cpcds: professional claims C0001,
// C0002, …, of one line and one row each, of the member M1. The amount of claim n
// is 100.n.
//
//	extract DIR CLAIMS
func cmdExtract(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "extract DIR CLAIMS")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	claims := bytes.NewBufferString(claimHeader)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(claims, "C%04d,1,2023-06-01T10:00:00Z,M1,PAYER,professional,active,2023-05-02,2023-05-20,1095195065,1,2023-05-02,99214,11,innetwork,100.%02d,Z23\n", i, i%100)
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	for name, data := range map[string][]byte{
		"claims.csv":    claims.Bytes(),
		"members.csv":   []byte(memberHeader + "M1,Doe,female,2023-01-01T00:00:00Z\n"),
		"coverages.csv": []byte(coverageHeader + "V1,M1,M1,PAYER,active,self,2023-01-01T00:00:00Z\n"),
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}

// edit replaces every occurrence of a text in a file, of which there must be one.
func edit(ts *testscript.TestScript, file, from, to string) {
	path := ts.MkAbs(file)
	data, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(data, []byte(from)) {
		ts.Fatalf("%s has no %q", file, from)
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o600))
}

// cmdSubstitute replaces text in a file. Both texts may hold escapes such as \xff.
//
//	substitute FILE OLD NEW
func cmdSubstitute(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "substitute FILE OLD NEW")
	edit(ts, args[0], unescape(ts, args[1]), unescape(ts, args[2]))
}

func unescape(ts *testscript.TestScript, s string) string {
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	ts.Check(err)
	return s
}

// cmdStretch replaces text in a file by N letters.
//
//	stretch FILE OLD N
func cmdStretch(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "stretch FILE OLD N")
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	edit(ts, args[0], args[1], strings.Repeat("x", n))
}

// cmdTruncate cuts a file to a number of bytes.
//
//	truncate FILE BYTES
func cmdTruncate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "truncate FILE BYTES")
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// readTree reads all files of a folder by their path in it.
func readTree(dir string) (map[string][]byte, error) {
	tree := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		tree[name], err = os.ReadFile(path)
		return err
	})
	return tree, err
}

// diffTrees says where two trees differ, "" if they do not. It prints names and
// sizes only.
func diffTrees(a, b map[string][]byte) string {
	var diffs []string
	for name, x := range a {
		if y, ok := b[name]; !ok {
			diffs = append(diffs, name+" is only in the first")
		} else if !bytes.Equal(x, y) {
			diffs = append(diffs, fmt.Sprintf("%s differs (%d and %d bytes)", name, len(x), len(y)))
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			diffs = append(diffs, name+" is only in the second")
		}
	}
	slices.Sort(diffs)
	return strings.Join(diffs, "; ")
}
