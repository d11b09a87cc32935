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

// loadtest runs the load test to its end, interrupted once its standard error holds a
// text, if one is given. It leaves nothing behind.
func loadtest(t *testing.T, interrupt string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "loadtest"), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	said := &until{text: interrupt, met: cancel}
	cmd.Stderr = said
	text, err := cmd.Output()
	if left, gone := os.ReadDir(dir); gone != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, gone)
	}
	return string(text), said.String(), err
}

// until calls met once its text was written to it.
type until struct {
	strings.Builder
	text string
	met  func()
}

// Write implements [io.Writer].
func (u *until) Write(b []byte) (int, error) {
	n, err := u.Builder.Write(b)
	if u.text != "" && strings.Contains(u.String(), u.text) {
		u.met()
	}
	return n, err
}

// The load test starts a system of its own, finds that every token passes, and stops all
// of it again.
func TestLoadtestLocal(t *testing.T) {
	text, said, err := loadtest(t, "", "verify", "--local", "-o", "json",
		"--logins", "3", "--rate", "100", "--warm-up", "200ms", "--duration", "1s", "--timeout", "20s")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, said)
	}
	var result struct {
		Remarks    []string
		Objectives []struct{ Kept bool }
	}
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatal(err)
	}
	passed := regexp.MustCompile(`(?m)^forward-auth: ([1-9][0-9]*) due; 200: ([0-9]+)\.$`).FindStringSubmatch(strings.Join(result.Remarks, "\n"))
	if passed == nil || passed[1] != passed[2] || len(result.Objectives) != 1 || !result.Objectives[0].Kept {
		t.Errorf("%s", text)
	}
}

// It stops it as well when an objective is missed, when it is interrupted, and when the
// tokens would expire under way; what was measured is shown.
func TestLoadtestStopsWhatItStarted(t *testing.T) {
	local := []string{"verify", "--local", "--logins", "1", "--rate", "100", "--warm-up", "0s"}
	text, said, err := loadtest(t, "", append(local, "--duration", "200ms", "--timeout", "20s", "--slo", "max<1ns")...)
	if err == nil || !strings.Contains(said, "missed max<1ns") || !strings.Contains(text, "MISSED") {
		t.Errorf("%v\n%s\n%s", err, text, said)
	}
	text, said, err = loadtest(t, "loadtest:   5s of", append(local, "--duration", "4m")...)
	if err == nil || !strings.Contains(said, "loadtest: interrupted") || !strings.Contains(text, "Interrupted: this is what was measured") {
		t.Errorf("%v\n%s\n%s", err, text, said)
	}
	text, said, err = loadtest(t, "", append(local, "--duration", "1h")...)
	if err == nil || !strings.Contains(said, "too short for 1h0m1s of load") || text != "" {
		t.Errorf("%v\n%s\n%s", err, text, said)
	}
}
