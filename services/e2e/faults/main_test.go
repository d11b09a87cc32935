package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	seedFlag   = flag.Uint64("faults.seed", 0, "what decides which faults come when; 0 picks one and prints it")
	roundsFlag = flag.Int("faults.rounds", 0, "rounds; 0 is the usual number")
)

// size is how much of something a test does: few in passing, all with PROOF=full in the
// environment.
func size[N any](few, all N) N {
	if os.Getenv("PROOF") == "full" {
		return all
	}
	return few
}

// binaries is where the programs under test lie.
const binaries = "REVOCAST_FAULTS_BIN"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	if os.Getenv(binaries) != "" {
		return m.Run() // inside the namespaces
	}
	dir, err := os.MkdirTemp("", "revocast-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, b := range []struct{ module, pkg string }{{"../..", "./cmd/issuer"}, {"../../../sidecar", "./cmd/sidecar"}} {
		if err := build(context.Background(), b.module, b.pkg, filepath.Join(dir, filepath.Base(b.pkg)), ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := os.Setenv(binaries, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if code, ok := inside(); ok {
		return code
	}
	return m.Run()
}

// build makes a program whose clock can be set wrong. overlay, if any, is a file that
// has some of its sources replaced (go help build).
func build(ctx context.Context, module, pkg, out, overlay string) error {
	args := []string{"build", "-tags", "clockoffset", "-o", out}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = module
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return nil
}
