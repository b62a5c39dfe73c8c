// Command millrace serves streams, and works on them. See "millrace help".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/millrace/millrace/internal/cli"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // that nobody reads on is an error of the write
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(cli.Run(ctx, os.Args[1:], cli.Process()))
}
