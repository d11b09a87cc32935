// Command sidecar tells an API, from memory, whether an access token may pass.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/app"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/heap"
)

var version = "unknown" // set by the linker

func main() {
	cfg, err := config.Parse(os.Args[1:], version, os.Exit, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "sidecar: %v\nTry sidecar --help.\n", err)
		os.Exit(2)
	}
	do := run
	if cfg.Command == config.CommandFsck {
		do = fsck
	}
	if err := do(cfg); err != nil {
		fmt.Fprintf(os.Stderr, "sidecar: %v\n", err)
		os.Exit(1)
	}
}

// fsck prints a report on standard output.
func fsck(cfg config.Config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := app.Fsck(ctx, cfg, nil)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(report); err != nil {
		return err
	}
	if !report.Clean {
		return errors.New(strings.Join(report.Faults, "; "))
	}
	return nil
}

// gcPercent is how much garbage there may be for what is kept. Most of that is the index,
// in one piece and without pointers: collecting often costs little, and doubling it would
// cost much.
const gcPercent = 25

// smallHeap is what may be taken anyway before anything is collected: that of a sidecar
// beside a million revocations.
const smallHeap = 32 << 20

func run(cfg config.Config) error {
	log, err := cfg.Logger()
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOGC") == "" {
		defer heap.Pace(smallHeap, gcPercent)()
	}
	if limit := cfg.MemoryLimit(); limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	log.Info("starting", zap.String("version", version), zap.String("id", cfg.ID), zap.String("realm", cfg.Realm))
	a, err := app.New(cfg, version, log)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Run(ctx)
}
