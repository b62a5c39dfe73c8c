package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// IO is what a command has of the world.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	// Person says that In and Err are a terminal, so that somebody can be asked.
	Person bool
	// Getenv looks up a variable of the environment. Default: there is none.
	Getenv func(string) string
}

// Process is the IO of this process.
func Process() IO {
	return IO{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Person: isTerminal(os.Stdin) && isTerminal(os.Stderr),
		Getenv: os.Getenv,
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Run runs one command and returns its exit code. It returns soon after ctx is
// done, but for a read of In that does not end.
func Run(ctx context.Context, args []string, world IO) (exit int) {
	if world.Getenv == nil {
		world.Getenv = func(string) string { return "" }
	}
	world.Out = &pipe{world.Out}
	root := newRoot(world)
	root.SetArgs(longFlags(root, args))
	cmd, err := root.ExecuteContextC(ctx)
	tell(world.Err, cmd, err)
	return exitCode(err)
}

func newRoot(world IO) *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "Serve sharded record streams, and work on them",
		Long: `Millrace serves sharded record streams over the API of Amazon Kinesis Data
Streams, and works on streams in a data directory, on any endpoint of that API,
and on Kinesis itself.

` + exitHelp,
		Example: `  millrace serve -data ./data                    # a server, on 127.0.0.1:4567
  export MILLRACE_ENDPOINT=http://127.0.0.1:4567
  millrace stream create orders --shards 2
  seq 1000 | millrace put orders
  millrace tail orders -f --from horizon`,
		Version:       version(),
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(world.In)
	root.SetOut(world.Out)
	root.SetErr(world.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newServe(world), newStream(world), newPut(world), newTail(world))
	return root
}

// version is what the binary was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// group is the action of a command that only has others.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2
	err := usagef("%q is no command of %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = usagef("%q is no command of %q: did you mean %q?", args[0], cmd.CommandPath(), near[0])
	}
	return err
}

// exactly wants these arguments, no more and no less.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s is missing: %s", names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return usagef("%q is one argument too many: %s", args[len(names)], cmd.UseLine())
		}
		return nil
	}
}

// complaints is the log of a command that is no server: what goes wrong.
func complaints(world IO) *slog.Logger {
	return slog.New(slog.NewTextHandler(world.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// tell says what went wrong, and where help is.
func tell(w io.Writer, cmd *cobra.Command, err error) {
	switch exitCode(err) {
	case exitOK:
	case exitInterrupted:
		fmt.Fprintln(w, "millrace: interrupted")
	case exitUsage:
		fmt.Fprintf(w, "millrace: %v\nTry %q.\n", err, cmd.CommandPath()+" --help")
	default:
		fmt.Fprintf(w, "millrace: %v\n", err)
	}
}
