//go:build linux

package fronts

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/proof/spread"
)

// extent is how much is measured.
type extent struct {
	tokens, runs int
	// full is how long everybody is asked for all he can.
	full time.Duration
	// windows are how often everybody is asked at a rate, in turns, each time for window.
	windows int
	window  time.Duration
}

func size() extent {
	if os.Getenv("PROOF") == "full" {
		return extent{1000, 5, 2 * time.Second, 6, 500 * time.Millisecond}
	}
	return extent{50, 1, 150 * time.Millisecond, 1, 150 * time.Millisecond}
}

// TestFronts prints what the fronts carry beside bare servers of their protocols and
// Open Policy Agent, and checks only that everybody answers rightly.
func TestFronts(t *testing.T) {
	e := size()
	w := newWorld(t, e.tokens)
	sides := w.sides(t)
	w.revokedIsRefused(t, sides)
	m := measured{}
	for range e.runs {
		w.run(t, e, sides, m)
	}
	rows := make([][]string, 0, len(sides))
	for _, s := range sides {
		row := []string{s.name}
		for _, c := range columns() {
			row = append(row, spread.Of(m[s.name][c]).String())
		}
		rows = append(rows, row)
	}
	t.Logf("one core each, %d connections, %d tokens, %d revoked sessions, medians of %d runs; p50 and p99 in µs, the median of %d windows of %s and, in brackets, over all of their requests:\n%s",
		connections, e.tokens, revoked, e.runs, e.windows, e.window, spread.Table(append([]string{"server"}, columns()...), rows))
}

func columns() []string {
	return []string{"requests/s", "CPU µs", "client's core %", "p50 at half", "p99 at half", "[p99] at half", "p99 at half of the slowest's", "[p99] at half of the slowest's"}
}

// measured are the values of each server by column, one a run.
type measured map[string]map[string][]float64

func (m measured) keep(s *side, column string, value float64) {
	if m[s.name] == nil {
		m[s.name] = map[string][]float64{}
	}
	m[s.name][column] = append(m[s.name][column], value)
}

// run measures everybody once.
func (w *world) run(t *testing.T, e extent, sides []*side, m measured) {
	t.Helper()
	for _, s := range sides {
		if err := s.connect(w.tokens[0]); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.disconnect(); err != nil {
				t.Error(err)
			}
		}()
	}
	least := 0.0 // of all: what everybody can be asked for
	carried := map[*side]float64{}
	for _, s := range sides {
		l := saturate(t, s, w.tokens, e.full)
		carried[s] = l.perSecond
		if least == 0 || l.perSecond < least {
			least = l.perSecond
		}
		m.keep(s, "requests/s", l.perSecond)
		m.keep(s, "CPU µs", l.cpu)
		m.keep(s, "client's core %", 100*l.client)
	}
	half, same := map[*side][]load{}, map[*side][]load{}
	for range e.windows {
		for _, s := range sides {
			half[s] = append(half[s], pace(t, s, w.tokens, e.window, carried[s]/2))
			same[s] = append(same[s], pace(t, s, w.tokens, e.window, least/2))
		}
	}
	for _, s := range sides {
		m.keep(s, "p50 at half", usual(half[s], func(l load) time.Duration { return l.p50 }))
		p99 := func(l load) time.Duration { return l.p99 }
		m.keep(s, "p99 at half", usual(half[s], p99))
		m.keep(s, "[p99] at half", overall(half[s]))
		m.keep(s, "p99 at half of the slowest's", usual(same[s], p99))
		m.keep(s, "[p99] at half of the slowest's", overall(same[s]))
	}
}

// usual is the median of the windows, in microseconds. A moment in which the machine does
// something else is longer than what is measured here, and falls into few of them.
func usual(windows []load, of func(load) time.Duration) float64 {
	each := make([]float64, len(windows))
	for n, l := range windows {
		each[n] = float64(of(l).Nanoseconds()) / 1e3
	}
	return spread.Of(each).Median
}

// overall is the 99th percentile of all requests of all windows, in microseconds.
func overall(windows []load) float64 {
	var all []time.Duration
	for _, l := range windows {
		all = append(all, l.waits...)
	}
	slices.Sort(all)
	return float64(all[len(all)*99/100].Nanoseconds()) / 1e3
}

// sides starts every server.
func (w *world) sides(t *testing.T) []*side {
	t.Helper()
	program := build(t)
	var all []*side
	add := func(name string, pid int, dial func() (caller, error)) {
		all = append(all, &side{name: name, pid: pid, dial: dial})
	}
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
func (w *world) revokedIsRefused(t *testing.T, sides []*side) {
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
