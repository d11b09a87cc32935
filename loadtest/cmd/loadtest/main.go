// Command loadtest measures Revocast under load.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/revocast/revocast/loadtest/internal/cli"
)

var version = "unknown" // set by the linker

func main() {
	// A closed pipe is an error of the write then, so that what was started is
	// stopped.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	status := cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, version)
	stop()
	os.Exit(status)
}
