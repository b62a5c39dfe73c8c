package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// longFlags writes -data as --data, wherever a long flag of any command has that
// name: people who come from other tools, and from Go's own flags, write it so.
// Shorthands stay what they are, and so do the values of flags and what follows --.
func longFlags(root *cobra.Command, args []string) []string {
	known := map[string]*pflag.Flag{}
	short := map[string]*pflag.Flag{}
	var gather func(*cobra.Command)
	gather = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			known[f.Name] = f
			if f.Shorthand != "" {
				short[f.Shorthand] = f
			}
		})
		for _, sub := range c.Commands() {
			gather(sub)
		}
	}
	gather(root)

	out := make([]string, 0, len(args))
	isValue := false
	for i, arg := range args {
		if arg == "--" && !isValue {
			return append(out, args[i:]...)
		}
		if isValue || !strings.HasPrefix(arg, "-") || arg == "-" {
			out, isValue = append(out, arg), false
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		f, long := known[name]
		if long && len(name) > 1 && !strings.HasPrefix(arg, "--") {
			arg = "-" + arg
		}
		if !strings.HasPrefix(arg, "--") && len(name) == 1 {
			f = short[name]
		}
		isValue = !hasValue && f != nil && f.NoOptDefVal == ""
		out = append(out, arg)
	}
	return out
}
