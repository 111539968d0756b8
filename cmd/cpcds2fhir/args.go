package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// needs is for a command that takes one argument or, where several is set, more.
func needs(what string, several bool) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("%s needs %s", shortPath(c), what)
		case len(args) > 1 && !several:
			return fmt.Errorf("%s takes one argument, not %d: %s", shortPath(c), len(args), what)
		}
		return nil
	}
}

// noArgs is for a command that takes only flags.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, but got %q", shortPath(c), args[0])
	}
	return nil
}

// shortPath names a command without the program.
func shortPath(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}

// fixArgs makes wrong arguments a usage error of every command below. A command that only groups
// subcommands shows its help, and rejects an unknown subcommand.
func fixArgs(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.NoArgs
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usagef("%s\nSee '%s --help'.", err, c.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		fixArgs(sub)
	}
}

// flagError says in plain words what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	text := err.Error()
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		want := "use a whole number"
		switch {
		case errors.Is(number, strconv.ErrRange):
			want = "the number is too large"
		case number.Func == "ParseUint":
			want = "use a whole number, 0 or more"
		case number.Func == "ParseBool":
			want = "use true or false"
		}
		text = strings.TrimSuffix(text, number.Error()) + want
	}
	return usagef("%s\nSee '%s --help'.", text, c.CommandPath())
}

// newHelp is the help command; cobra's own exits 0 even for an unknown name.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		ValidArgsFunction: func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			at, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, sub := range at.Commands() {
				if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), begun) {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q\nSee '%s --help'.", strings.Join(args, " "), c.Root().Name())
			}
			of.InitDefaultHelpFlag()
			of.InitDefaultVersionFlag()
			return of.Help()
		},
	}
}

// addCompletion adds the completion command for the shells of Linux and macOS.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		for _, shell := range c.Commands() {
			if shell.Name() == "powershell" {
				c.RemoveCommand(shell)
			}
		}
	}
}
