package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

// choiceFlag adds a flag that takes one of the words; the first is its default.
// Another word is a usage error, and completion offers the words.
func choiceFlag(c *cobra.Command, value *string, name, usage string, words ...string) {
	*value = words[0]
	c.Flags().Var(&choice{value, words}, name, usage)
	cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

func (c *choice) String() string {
	if c.value == nil { // the zero value, which pflag compares defaults with
		return ""
	}
	return *c.value
}

// Type is what help prints for the value.
func (c *choice) Type() string {
	if all := strings.Join(c.words, "|"); len(all) <= 40 {
		return all
	}
	return "NAME"
}

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return errors.New("use " + alternatives(c.words))
	}
	*c.value = s
	return nil
}

// alternatives lists words as a sentence does: "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
