//go:build unix

package proxies

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin holds issuer and sidecar, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("REVOCAST_PROXIES") == "" {
		return m.Run() // nothing to build for tests that are skipped
	}
	dir, err := os.MkdirTemp("", "revocast-proxies-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin = filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, b := range []struct{ module, pkg string }{{"../..", "./cmd/issuer"}, {"../../../sidecar", "./cmd/sidecar"}} {
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", bin+"/", b.pkg)
		cmd.Dir = b.module
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", b.pkg, err, out)
			return 1
		}
	}
	return m.Run()
}
