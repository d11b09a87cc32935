//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// loadtest runs the load test to its end, interrupted once its standard error holds a
// text, if one is given. It leaves nothing behind.
func loadtest(t *testing.T, interrupt string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
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

// verified is what a test reads of a result.
type verified struct {
	Tables []struct {
		Name    string
		Columns []struct{ Name string }
		Rows    []struct {
			Name   string
			Values [][]float64
		}
	}
	Objectives []struct {
		Objective string
		Kept      bool
	}
}

// figures gives a table's rows by the names of row and column.
func (v verified) figures(table string) map[string]map[string]float64 {
	all := map[string]map[string]float64{}
	for _, t := range v.Tables {
		if t.Name != table {
			continue
		}
		for _, row := range t.Rows {
			all[row.Name] = map[string]float64{}
			for n, values := range row.Values {
				if len(values) > 0 {
					all[row.Name][t.Columns[n].Name] = values[0]
				}
			}
		}
	}
	return all
}

func runVerify(t *testing.T, args ...string) verified {
	t.Helper()
	text, said, err := loadtest(t, "", append([]string{
		"verify", "--local", "-o", "json", "--tokens", "100", "--cold", "10%", "--revoked", "10%", "--garbage", "10%",
		"--warm-up", "200ms", "--duration", "1s", "--timeout", "20s", "--max-exposure", "20s",
	}, args...)...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, said)
	}
	var v verified
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The load test starts a system of its own, finds that every front lets pass what is to
// pass and nothing else, tokens revoked meanwhile included, and stops all of it again.
func TestLoadtestVerify(t *testing.T) {
	v := runVerify(t, "--rate", "200", "--revoke-rate", "10")
	verdicts, costs, receipts := v.figures("verdicts"), v.figures("cost"), v.figures("receipts of revocations")
	for _, front := range []string{"library", "forward-auth", "ext-authz", "introspection", "proxy"} {
		row := front + ", 200/s"
		for _, class := range []string{"good", "cold", "revoked", "garbage"} {
			if verdicts[row][class] == 0 {
				t.Errorf("%s was asked about no %s tokens", row, class)
			}
		}
		if verdicts[row]["let through"] != 0 || verdicts[row]["turned away"] != 0 {
			t.Errorf("%s: %v", row, verdicts[row])
		}
		if memory := costs[row]["server memory"]; (memory > 0) == (front == "library") {
			t.Errorf("%s takes %g MiB", row, memory)
		}
		if receipts[row]["answered"] == 0 {
			t.Errorf("nothing was revoked while %s was asked", front)
		}
	}
	if len(verdicts) != 5 || len(costs) != 7 {
		t.Errorf("%d fronts, and %d with what they are compared with", len(verdicts), len(costs))
	}
	for _, o := range v.Objectives {
		if !o.Kept {
			t.Errorf("missed %s", o.Objective)
		}
	}
}

// The same over Unix sockets, as fast as they answer, with another algorithm.
func TestLoadtestVerifyUnix(t *testing.T) {
	v := runVerify(t, "--unix", "--front", "forward-auth,ext-authz,introspection,proxy", "--rate", "max", "--duration", "300ms", "--alg", "EdDSA")
	verdicts := v.figures("verdicts")
	for row, got := range verdicts {
		if !strings.HasSuffix(row, " over Unix, max") || got["good"] == 0 || got["cold"] == 0 || got["let through"] != 0 || got["turned away"] != 0 {
			t.Errorf("%s: %v", row, got)
		}
	}
	if len(verdicts) != 4 {
		t.Errorf("%v", verdicts)
	}
}

// It stops it as well when an objective is missed, and when it is interrupted; what was
// measured is shown.
func TestLoadtestStopsWhatItStarted(t *testing.T) {
	local := []string{"verify", "--local", "--front", "forward-auth", "--tokens", "10", "--rate", "100", "--warm-up", "0s"}
	text, said, err := loadtest(t, "", append(local, "--duration", "200ms", "--timeout", "20s", "--slo", "max<1ns")...)
	if err == nil || !strings.Contains(said, "missed max<1ns for forward-auth, 100/s") || !strings.Contains(text, "MISSED") {
		t.Errorf("%v\n%s\n%s", err, text, said)
	}
	text, said, err = loadtest(t, "loadtest:   5s of", append(local, "--duration", "4m")...)
	if err == nil || !strings.Contains(said, "loadtest: interrupted") || !strings.Contains(text, "Interrupted: this is what was measured") || !strings.Contains(text, "200: ") {
		t.Errorf("%v\n%s\n%s", err, text, said)
	}
	text, said, err = loadtest(t, "loadtest: starting the local system", append(local, "--duration", "4m")...)
	if err == nil || strings.Contains(text, "200: ") {
		t.Errorf("interrupted before anything was sent: %v\n%s\n%s", err, text, said)
	}
}

// Hours of everything, in seconds: nothing is wrong, and every server was looked at.
func TestLoadtestSoak(t *testing.T) {
	text, said, err := loadtest(t, "", "soak", "-o", "json", "--duration", "3s", "--every", "100ms", "--sessions", "5", "--sidecars", "2",
		"--rate", "200", "--refreshes", "10", "--turnover", "5", "--timeout", "20s", "--max-exposure", "20s", "--max-growth", "10000%")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, said)
	}
	var v verified
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	if got := v.figures("verdicts")["verify"]; got["good"] == 0 || got["revoked"] == 0 || got["garbage"] == 0 || got["let through"] != 0 || got["turned away"] != 0 {
		t.Errorf("%v", got)
	}
	for _, what := range []string{"verify", "refresh", "log in", "revoke"} {
		if got := v.figures("requests")[what]; got["answered"] == 0 || got["errors"] != 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
	for _, quantity := range []string{"memory", "disk", "open files", "goroutines", "heap"} {
		for _, server := range []string{"issuer", "sidecar-1", "sidecar-2"} {
			if v.figures(quantity)[server]["end"] <= 0 {
				t.Errorf("%s of %s: %v", quantity, server, v.figures(quantity)[server])
			}
		}
	}
	if v.figures("entries")["sidecar-2"]["end"] <= 0 {
		t.Errorf("entries: %v", v.figures("entries"))
	}
}
