package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func newPortalExport(f *portalFlags) *cobra.Command {
	var documents string
	c := &cobra.Command{
		Use:   "export FILE --documents TAR",
		Short: "Write everything in the portal to a file: a backup, or a move to another database",
		Long: `Export writes people, organisations, applications, apps, requests for support and events as JSON
lines, and the documents that developers have sent as a tar. Secrets, sessions and mails are
not in it: people set new passwords after an import, and apps get new secrets. Both files are made
with mode 0600 and must be new.

Whoever wants to restore everything backs up the database, its seal, and the folder of
uploads instead; see docs/portal.md.`,
		Example: `  cpcds2fhir portal export portal.jsonl --documents portal.tar`,
		Args:    needs("the name of a new file", false),
		RunE: func(c *cobra.Command, a []string) error {
			d, err := f.open(c)
			if err != nil {
				return err
			}
			defer d.Close()
			return writeNew(a[0], func(w io.Writer) error {
				if documents == "" {
					return portalError(d.Export(c.Context(), w, nil))
				}
				return writeNew(documents, func(tar io.Writer) error { return portalError(d.Export(c.Context(), w, tar)) })
			})
		},
	}
	c.Flags().StringVar(&documents, "documents", "", "write the documents to `TAR`; without it they are left out")
	cobra.CheckErr(c.MarkFlagFilename("documents", "tar"))
	return c
}

func newPortalImport(f *portalFlags) *cobra.Command {
	var documents string
	c := &cobra.Command{
		Use:     "import FILE --documents TAR",
		Short:   "Read what export wrote, into an empty portal",
		Example: `  cpcds2fhir portal import portal.jsonl --documents portal.tar --config new.yaml`,
		Args:    needs("a file that 'portal export' wrote", false),
		RunE: func(c *cobra.Command, a []string) error {
			in, err := os.Open(a[0])
			if err != nil {
				return environmentf("%w", err)
			}
			defer in.Close()
			var tar io.Reader
			if documents != "" {
				t, err := os.Open(documents)
				if err != nil {
					return environmentf("%w", err)
				}
				defer t.Close()
				tar = t
			}
			d, err := f.open(c)
			if err != nil {
				return err
			}
			defer d.Close()
			if err := d.Import(c.Context(), in, tar); err != nil {
				return portalError(err)
			}
			fmt.Fprintln(c.OutOrStdout(), "Everything in the file is in the portal now.")
			return nil
		},
	}
	c.Flags().StringVar(&documents, "documents", "", "read the documents from `TAR`")
	cobra.CheckErr(c.MarkFlagFilename("documents", "tar"))
	return c
}

// writeNew writes a file that is not there yet, and that only its owner may read. If it fails, there is none.
func writeNew(path string, write func(io.Writer) error) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return environmentf("%w", err)
	}
	err = write(out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(path) // the first error is the cause
	}
	return err
}
