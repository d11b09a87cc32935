package simulation

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/signing"
)

var (
	seedFlag  = flag.Uint64("simulation.seed", 0, "run the history of this one seed, and print it")
	stepsFlag = flag.Int("simulation.steps", 0, "steps to run in all; 0 for the usual number")
)

const (
	// inOneHistory is how many steps a history has: enough for a few dozen
	// sessions, and few enough to be read when it fails.
	inOneHistory = 2_500
	// few are run in passing, all with PROOF=full in the environment.
	few, all = 50_000, 1_000_000
)

// steps is how many to run in all.
func steps() int {
	switch {
	case *stepsFlag > 0:
		return *stepsFlag
	case os.Getenv("PROOF") == "full":
		return all
	}
	return few
}

// usual are the faults of most histories.
func usual() faults {
	return faults{
		lost: 0.02, late: 0.02, conflict: 0.02, pause: 0.3, lag: 0.5, kill: 0.5, leave: 0.005,
		skew: 2 * time.Second, away: 20 * time.Second,
	}
}

// kinds of history by seed: most with every fault, some with none, where nothing
// may be refused for no reason.
func faultsOf(seed uint64) faults {
	switch seed % 4 {
	case 1:
		return faults{pause: 0.3}
	case 2:
		return faults{pause: 0.3, lag: 0.5, skew: 2 * time.Second, away: 5 * time.Second}
	}
	return usual()
}

// newKeys makes the same keys every time: they are part of the histories.
func newKeys(t *testing.T) *signing.Keys {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	keys, err := signing.Open(signing.Config{
		Dir: t.TempDir() + "/keys", Issuer: issuer, Audiences: []string{audience},
		MaxSkew: 2 * events.MaxSkew, // two issuers, each off the other way
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// histories counts those that this process has run. Each begins where none before it
// has been: UUIDs of version 7 never go back, and would know of the others.
var histories int

const apart = 30 * 24 * time.Hour // longer than any history, and whole days

// simulate runs one history and gives it back, over.
func simulate(t *testing.T, seed uint64, keys *signing.Keys, n int, f faults, d defect) (w *world) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		histories++
		time.Sleep(time.Duration(histories) * apart)
		w = newWorld(t, seed, keys, f, d)
		w.run(n)
	})
	return w
}

func TestSimulation(t *testing.T) {
	keys := newKeys(t)
	if *seedFlag > 0 {
		w := simulate(t, *seedFlag, keys, inOneHistory, faultsOf(*seedFlag), none)
		t.Log(strings.Join(w.history, "\n"))
		report(t, *seedFlag, w)
		return
	}
	total, stats := 0, map[string]int{}
	var seed uint64
	for wanted := steps(); total < wanted; {
		seed++
		w := simulate(t, seed, keys, inOneHistory, faultsOf(seed), none)
		report(t, seed, w)
		total += w.step
		for what, n := range w.stats {
			stats[what] += n
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d steps, seeds 1 to %d", total, seed)
	for _, what := range slices.Sorted(maps.Keys(stats)) {
		t.Logf("%8d %s", stats[what], what)
	}
	// A simulation in which nothing happens proves nothing.
	for _, what := range []string{
		"logins", "rotations", "replays", "reuses", "kills", "lost calls", "late arrivals", "conflicts for no reason", "announcements",
		"hang-ups", "finished", "passwords changed", "roles changed", "statuses changed", "clients changed",
		"lifts", "step-ups", "take-overs", "logins without room", "ends: session_limit", "uses without rotation", "revocations acknowledged: session", "revocations acknowledged: subject",
		"revocations acknowledged: client", "revocations acknowledged: all", "revocations acknowledged: token",
	} {
		if stats[what] == 0 {
			t.Errorf("there were no %s", what)
		}
	}
}

// report fails the test if the history has broken a promise.
func report(t *testing.T, seed uint64, w *world) {
	t.Helper()
	if w.violation == "" {
		return
	}
	t.Errorf("seed %d, step %d: %s\nthe end of the history (all of it: go test -run TestSimulation -simulation.seed=%d):\n%s",
		seed, w.step, w.violation, seed, strings.Join(w.history[max(0, len(w.history)-60):], "\n"))
}

// One seed, one history: what fails can be run again, in another process, too.
func TestASeedIsAHistory(t *testing.T) {
	for _, seed := range []uint64{3, 4} {
		first := simulate(t, seed, newKeys(t), 1500, usual(), none)
		again := simulate(t, seed, newKeys(t), 1500, usual(), none)
		other := simulate(t, seed+100, newKeys(t), 1500, usual(), none)
		if a, b := strings.Join(first.history, "\n"), strings.Join(again.history, "\n"); a != b {
			t.Errorf("seed %d: two histories, which part with\n%s", seed, parting(first.history, again.history))
		}
		if fmt.Sprint(first.history) == fmt.Sprint(other.history) {
			t.Errorf("seeds %d and %d: one history", seed, seed+100)
		}
	}
}

// parting is where two histories begin to differ.
func parting(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] + "\n" + b[i]
		}
	}
	return "the end of one"
}
