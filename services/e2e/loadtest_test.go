//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The load test starts the development stack, finds that every token passes, and stops
// all of it again.
func TestLoadtestLocal(t *testing.T) {
	freePorts(t)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "loadtest"), "verify", "--local", "-o", "json",
		"--logins", "3", "--rate", "100", "--warm-up", "200ms", "--duration", "1s", "--timeout", "20s")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var result struct {
		Remarks    []string
		Objectives []struct{ Kept bool }
	}
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	passed := regexp.MustCompile(`^forward-auth: ([1-9][0-9]*) due; 200: ([0-9]+)\.$`).FindStringSubmatch(strings.Join(result.Remarks, "\n"))
	if passed == nil || passed[1] != passed[2] || len(result.Objectives) != 1 || !result.Objectives[0].Kept {
		t.Errorf("%s", text)
	}
	freePorts(t)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
