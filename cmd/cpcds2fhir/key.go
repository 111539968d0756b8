package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/audit"
)

func newKey() *cobra.Command {
	f := &accountFlags{}
	var announce, keep time.Duration
	c := &cobra.Command{Use: "key", Short: "Change the keys that ID tokens are signed with"}
	f.on(c)
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Make new keys, and retire the old ones",
		Long: `Rotate makes a new key of each kind. It is published at once, and signs after --announce, when
apps that keep the keys for some time have seen it. The old keys sign until then, and are
published for --keep after that, so that no app refuses a token meanwhile.`,
		Example: `  cpcds2fhir key rotate --config serve.yaml`,
		Args:    noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if announce < 0 || keep < time.Hour {
				return usagef("--announce must not be below 0, and --keep not below 1h, the life of an ID token")
			}
			d, err := f.open(c, toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			keys, err := d.RotateKeys(c.Context(), announce, keep)
			if err != nil {
				return err
			}
			if err := d.note(&audit.Record{Action: "key-rotate"}); err != nil {
				return err
			}
			for _, k := range keys {
				fmt.Fprintf(c.OutOrStdout(), "%s  %s  signs from %s\n", k.ID, k.Algorithm, k.Active.UTC().Format(time.RFC3339))
			}
			return nil
		},
	}
	rotate.Flags().DurationVar(&announce, "announce", time.Hour, "how long it is published before it signs")
	rotate.Flags().DurationVar(&keep, "keep", 24*time.Hour, "how long the old keys are published after that")
	c.AddCommand(rotate)
	return c
}
