package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a sidecar may take to recover from a round.
const patience = time.Minute

// deck deals strikes so that all come equally often, in an order that the seed decides.
type deck struct {
	all, left []strike
}

func (d *deck) deal(r *rand.Rand) strike {
	if len(d.left) == 0 {
		d.left = slices.Clone(d.all)
		r.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	s := d.left[0]
	d.left = d.left[1:]
	return s
}

// hand deals what one round does: up to three strikes, or one that wants to be alone.
func (d *deck) hand(r *rand.Rand) []strike {
	hand := []strike{d.deal(r)}
	for n := 1 + r.IntN(3); len(hand) < n && !hand[len(hand)-1].alone && len(d.left) > 0 && !d.left[0].alone; {
		hand = append(hand, d.deal(r))
	}
	return hand
}

// play runs rounds until one breaks a promise, and gives how many it played.
func (w *world) play(seed uint64, rounds int, strikes []strike) int {
	w.t.Helper()
	ctx := w.t.Context()
	stop := w.load()
	defer stop()
	d := deck{all: strikes}
	w.settle(ctx)
	for round := range rounds {
		if len(w.faulty()) > 0 {
			return round
		}
		began := time.Now()
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		var group sync.WaitGroup
		var names []string
		for _, s := range d.hand(r) {
			names = append(names, s.name)
			w.dealt[s.name]++
			mine := rand.New(rand.NewPCG(seed, r.Uint64()))
			group.Go(func() {
				switch err := s.do(ctx, w, mine); {
				case errors.Is(err, errUnable):
					w.t.Logf("round %d: %s: %v", round, s.name, err)
				case err != nil:
					w.broken("round %d: %s: %v", round, s.name, err)
				}
			})
		}
		group.Wait()
		struck := time.Since(began)
		w.settle(ctx)
		settled := time.Since(began)
		w.sweep(ctx)
		w.tidy()
		w.t.Logf("round %d: %s; %s, %s until all were fresh, %s in all", round, strings.Join(names, ", "),
			struck.Round(time.Millisecond), (settled - struck).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	return rounds
}

// settle waits until every sidecar is ready, and claims to be fresh as of a moment after
// now.
func (w *world) settle(ctx context.Context) {
	since := time.Now()
	var group sync.WaitGroup
	for _, s := range w.sidecars {
		group.Go(func() {
			last := answer{}
			for ctx.Err() == nil && len(w.faulty()) == 0 {
				status, why := s.ready(ctx)
				t := w.good()
				if t != nil && status == 200 {
					if last = w.judgeUnless(ctx, s, t); last.freshAsOf.After(since) && last.status == 200 {
						s.calm.Store(time.Now().UnixNano())
						return
					}
				}
				switch {
				case !s.Running():
					w.broken("%s has ended by itself: %v\n%s", s.Name, s.Err(), s.Tail(30))
					return
				case time.Since(since) > patience:
					w.broken("%s has not recovered within %s: readiness %d %s, last answer %+v\n%s", s.Name, patience, status, why, last, s.Tail(30))
					return
				}
				wait(ctx, 20*time.Millisecond)
			}
		})
	}
	group.Wait()
}

// sweep asks every sidecar for everything that the ledger is sure of.
func (w *world) sweep(ctx context.Context) {
	revoked, good := w.all()
	var group sync.WaitGroup
	for _, s := range w.sidecars {
		group.Go(func() {
			for _, t := range revoked {
				if a := w.judgeUnless(ctx, s, t); a.status != 401 {
					w.broken("after the round %s answers %d to a revoked token, fresh as of %s: %s %s", s.Name, a.status, a.freshAsOf, t.jti, t.must)
				}
			}
			for _, t := range good {
				if a := w.judgeUnless(ctx, s, t); a.status != 200 && w.lives(t) {
					w.broken("after the round %s answers %d to a good token, fresh as of %s: %s", s.Name, a.status, a.freshAsOf, t.jti)
				}
			}
		})
	}
	group.Wait()
}

var panics = regexp.MustCompile(`(?m)^(panic: |fatal error: |unexpected fault address|SIG[A-Z]+: |WARNING: DATA RACE).*`)

// lookForPanics searches what every process has written for a panic.
func (w *world) lookForPanics() {
	logs := map[string]string{}
	for _, s := range w.sidecars {
		logs[s.Name] = s.Log
	}
	for _, s := range w.stack.Servers() {
		logs[s.Name] = s.Log
	}
	for name, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			w.broken("reading what %s wrote: %v", name, err)
		}
		if found := panics.Find(text); found != nil {
			w.broken("%s: %s", name, found)
		}
	}
}

// conclude says what was done and fails the test for every broken promise.
func (w *world) conclude(what string, seed uint64, rounds int) {
	w.t.Helper()
	w.lookForPanics()
	w.t.Logf("%s, seed %d: %d rounds; faults %v; %s", what, seed, rounds, w.dealt, w.report())
	broken := w.faulty()
	for _, f := range broken {
		w.t.Error(f)
	}
	if len(broken) == 0 {
		return
	}
	w.t.Logf("again: go test -v ./e2e/faults -run %s -faults.seed=%d", w.t.Name(), seed)
	for _, s := range w.sidecars {
		w.t.Logf("end of %s's log:\n%s", s.Name, s.Tail(25))
	}
	w.t.Logf("end of the issuer's log:\n%s", w.stack.Issuer().Tail(25))
}

func seedOf() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return rand.Uint64N(1 << 32)
}

func roundsOf(few, all int) int {
	if *roundsFlag != 0 {
		return *roundsFlag
	}
	return size(few, all)
}

// prepare skips what is too long, and lets tests of a minute wait side by side. At full
// size each has the machine to itself.
func prepare(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes about a minute")
	}
	if size(true, false) {
		t.Parallel()
	}
}

// single are the strikes at one broker, inside the issuer, and its sidecars.
var single = []strike{
	sidecarKilled, sidecarSuspended, partition, connectionsLost, storeTruncated, diskFull, clockJumps,
	issuerKilled, issuerSuspended, feedRecreated, feedRestored,
}

// INV-1, INV-2, INV-3: one broker.
func TestFaults(t *testing.T) {
	prepare(t)
	seed, rounds := seedOf(), roundsOf(8, 200)
	w := newSingle(t, program("sidecar"))
	played := w.play(seed, rounds, single)
	w.conclude("one broker", seed, played)
}

func program(name string) string { return filepath.Join(os.Getenv(binaries), name) }
