// Command sidecar tells an API, from memory, whether an access token may pass.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/app"
	"github.com/revocast/revocast/sidecar/internal/config"
)

var version = "unknown" // set by the linker

func main() {
	cfg, err := config.Parse(os.Args[1:], version, os.Exit, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "sidecar: %v\nTry sidecar --help.\n", err)
		os.Exit(2)
	}
	if err := run(cfg); err != nil {
		fmt.Fprintf(os.Stderr, "sidecar: %v\n", err)
		os.Exit(1)
	}
}

func run(cfg config.Config) error {
	log, err := cfg.Logger()
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("starting", zap.String("version", version), zap.String("id", cfg.ID), zap.String("realm", cfg.Realm))
	a, err := app.New(cfg, version, log)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Run(ctx)
}
