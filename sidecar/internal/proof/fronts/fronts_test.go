//go:build linux

package fronts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/proof/spread"
)

// size says how many tokens, runs, and how long each measurement takes.
func size() (tokens, runs int, each time.Duration) {
	if os.Getenv("PROOF") == "full" {
		return 1000, 5, 2 * time.Second
	}
	return 50, 1, 150 * time.Millisecond
}

// TestFronts prints what the fronts carry beside bare servers of their protocols and
// Open Policy Agent, and checks only that everybody answers rightly.
func TestFronts(t *testing.T) {
	tokens, runs, each := size()
	w := newWorld(t, tokens)
	sides := w.sides(t)
	w.revokedIsRefused(t, sides)
	measured := map[string]map[string][]float64{}
	keep := func(s side, column string, value float64) {
		if measured[s.name] == nil {
			measured[s.name] = map[string][]float64{}
		}
		measured[s.name][column] = append(measured[s.name][column], value)
	}
	for range runs {
		least := 0.0 // of all: what everybody can be asked for
		carried := map[string]float64{}
		for _, s := range sides {
			l := saturate(t, s, w.tokens, each)
			carried[s.name] = l.perSecond
			if least == 0 || l.perSecond < least {
				least = l.perSecond
			}
			keep(s, "requests/s", l.perSecond)
			keep(s, "CPU µs", l.cpu)
			keep(s, "client's core %", 100*l.client)
		}
		for _, s := range sides {
			half := pace(t, s, w.tokens, each, carried[s.name]/2)
			keep(s, "p50 µs at half", float64(half.p50.Microseconds()))
			keep(s, "p99 µs at half", float64(half.p99.Microseconds()))
			same := pace(t, s, w.tokens, each, least/2)
			keep(s, "p99 µs at half of the slowest's", float64(same.p99.Microseconds()))
		}
	}
	columns := []string{"requests/s", "CPU µs", "client's core %", "p50 µs at half", "p99 µs at half", "p99 µs at half of the slowest's"}
	rows := make([][]string, 0, len(sides))
	for _, s := range sides {
		row := []string{s.name}
		for _, c := range columns {
			row = append(row, spread.Of(measured[s.name][c]).String())
		}
		rows = append(rows, row)
	}
	t.Logf("one core each, %d connections, %d tokens, %d revoked sessions, medians of %d:\n%s", connections, tokens, revoked, runs,
		spread.Table(append([]string{"server"}, columns...), rows))
}

// sides starts every server.
func (w *world) sides(t *testing.T) []side {
	t.Helper()
	program := build(t)
	var all []side
	add := func(name string, pid int, dial func() (caller, error)) { all = append(all, side{name, pid, dial}) }
	auth := func(address string) func() (caller, error) {
		return func() (caller, error) { return dialHTTP(address, askAuth, ok) }
	}
	grpc := func(address string) func() (caller, error) { return callers(t, address) }
	for name, at := range map[string]addresses{"TCP": ports(t), "Unix": sockets(t)} {
		pid := w.sidecar(t, program, at)
		add("forward-auth, "+name, pid, auth(at.auth))
		add("ext_authz, "+name, pid, grpc(at.grpc))
	}
	for name, at := range map[string]addresses{"TCP": ports(t), "Unix": sockets(t)} {
		add("bare net/http, "+name, w.bare(t, bareHTTPAt, "TestBareHTTP", at.auth), auth(at.auth))
		add("bare grpc-go, "+name, w.bare(t, bareGRPCAt, "TestBareGRPC", at.grpc), grpc(at.grpc))
	}
	program, err := exec.LookPath("opa")
	if err != nil {
		t.Log("Open Policy Agent is not installed (scripts/install-bench-tools.sh): the fronts are not compared with it")
		return all
	}
	for name, remember := range map[string]bool{"OPA": false, "OPA that remembers tokens": true} {
		for network, at := range map[string]string{"TCP": free(t), "Unix": "unix:" + filepath.Join(t.TempDir(), "opa")} {
			add(name+", "+network, w.opa(t, program, at, remember), func() (caller, error) { return dialHTTP(at, askOPA, allowed) })
		}
	}
	return all
}

// revokedIsRefused shows that everybody but the bare servers does the check.
func (w *world) revokedIsRefused(t *testing.T, sides []side) {
	t.Helper()
	good, bad := w.tokens[0], w.sign(t, 7)
	for _, s := range sides {
		c, err := s.dial()
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		passes, err := c.call(good)
		if err != nil || !passes {
			t.Errorf("%s: a good token: %t, %v", s.name, passes, err)
		}
		passes, err = c.call(bad)
		if bare := strings.HasPrefix(s.name, "bare"); err != nil || passes != bare {
			t.Errorf("%s: a revoked token: %t, %v", s.name, passes, err)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
