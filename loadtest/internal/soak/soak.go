// Package soak keeps a system under a steady, mixed load for hours, holds every answer
// against what is right, and watches whether anything grows.
//
// Invariants:
//
//   - The number of sessions is the same at all times: for each that ends another has
//     begun.
//   - A session is refreshed by one caller at a time, as an application does it.
//   - No token is printed, logged or part of an error.
package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/mint"
	"github.com/revocast/revocast/loadtest/internal/scenario"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// Soak is a load.
type Soak struct {
	// Fronts are asked in turn, Issuer is where sessions are.
	Fronts []front.Front
	Issuer *issuer.Issuer
	// Login is who logs in.
	Login issuer.Login
	// Sessions is how many are open.
	Sessions int
	// Verifications, Refreshes and Turnover are a second, on average: of tokens, of
	// sessions, and how many sessions end and are replaced.
	Verifications, Refreshes, Turnover float64
	Duration                           time.Duration
	// Workers is how many verifications may be under way at once.
	Workers int
	// Patience is how long one may be overdue in the end.
	Patience time.Duration
	// Bound is the longest that a token may pass after its revocation's receipt.
	Bound time.Duration
	Seed  uint64
}

// What is done, each recorded by itself.
const (
	Verify  = "verify"
	Refresh = "refresh"
	LogIn   = "log in"
	Revoke  = "revoke"
)

// Load is a load that runs, or has run.
type Load struct {
	Soak
	pool    pool
	garbage []mint.Bad
	// recorders are of the whole run, by what is done; interval is of the verifications
	// since it was taken last.
	recorders map[string]*measure.Recorder
	interval  atomic.Pointer[measure.Recorder]

	mu    sync.Mutex
	tally scenario.Tally
}

// Prepare opens the sessions.
func Prepare(ctx context.Context, s Soak) (*Load, error) {
	l := &Load{Soak: s, recorders: map[string]*measure.Recorder{}}
	for _, what := range []string{Verify, Refresh, LogIn, Revoke} {
		l.recorders[what] = measure.New(time.Time{})
	}
	l.interval.Store(measure.New(time.Time{}))
	opening, during := errgroup.WithContext(ctx)
	opening.SetLimit(callers)
	for range s.Sessions {
		opening.Go(func() error {
			g, err := s.Issuer.LogIn(during, s.Login)
			if err == nil {
				l.pool.add(newSession(g))
			}
			return err
		})
	}
	if err := opening.Wait(); err != nil {
		return nil, err
	}
	some, _ := l.pool.pick(true, 0, time.Time{})
	l.garbage = mint.Spoil(some.Token)
	for n, f := range s.Fronts {
		if err := probe(ctx, f, some.Token, l.garbage); err != nil {
			return nil, fmt.Errorf("asking front %d of %d: %w", n+1, len(s.Fronts), err)
		}
	}
	return l, nil
}

// probe asks about a good token and bad ones, so that a front that takes all or none shows
// before the load does.
func probe(ctx context.Context, f front.Front, good token.Token, bad []mint.Bad) error {
	for _, b := range append([]mint.Bad{{What: "good", Token: good}}, bad...) {
		want := http.StatusUnauthorized
		if b.Token == good {
			want = http.StatusOK
		}
		status, err := f.Ask(ctx, b.Token)
		if err != nil {
			return err
		}
		if status != want {
			return fmt.Errorf("it answers %d %s to the token that is %s, want %d", status, http.StatusText(status), b.What, want)
		}
	}
	return nil
}

// callers is how many requests to the issuer are under way at once.
const callers = 16

// Run sends the load from began on, and returns once the last request is over. When ctx
// ends, it sends no more.
func (l *Load) Run(ctx context.Context, began time.Time) {
	var all sync.WaitGroup
	for n, one := range []struct {
		what    string
		rate    float64
		workers int
		do      func(context.Context, gen.Arrival)
	}{{Verify, l.Verifications, l.Workers, l.verify}, {Refresh, l.Refreshes, callers, l.refresh}, {LogIn, l.Turnover, callers, l.turn}} {
		if one.rate == 0 {
			continue
		}
		all.Go(func() {
			plan := gen.Plan{Rate: one.rate, Duration: l.Duration, Workers: one.workers, Patience: l.Patience, Seed: l.Seed + uint64(n)} //nolint:gosec // one of three
			plan.Run(ctx, began, work{context.WithoutCancel(ctx), one.do, l.recorders[one.what]})
		})
	}
	all.Wait()
}

// work is one of the three.
type work struct {
	ctx      context.Context //nolint:containedctx // of the run this value stands for
	do       func(context.Context, gen.Arrival)
	recorder *measure.Recorder
}

// Do implements [gen.Work].
func (w work) Do(a gen.Arrival) { w.do(w.ctx, a) }

// Abandon implements [gen.Work].
func (w work) Abandon(a gen.Arrival, at time.Time) { w.recorder.Abandon(a.Due, at) }

// Shares of verifications.
const (
	revokedShare = 0.1
	garbageShare = 0.01
)

// verify asks about a token.
func (l *Load) verify(ctx context.Context, a gen.Arrival) {
	random := rand.New(rand.NewPCG(l.Seed, a.N)) //nolint:gosec // repeatable is the point
	sent := time.Now()
	k, class, ok := l.pickOne(random, sent)
	if !ok {
		return // there is nothing of the kind
	}
	s := measure.Sample{Due: a.Due, Queued: a.Queued, Sent: sent, Worker: a.Worker}
	s.Status, s.Cause = l.Fronts[a.N%uint64(len(l.Fronts))].Ask(ctx, k.Token)
	s.Done = time.Now()
	if s.Cause != nil {
		s.Failure = measure.FailureOf(s.Cause)
	} else {
		verdict := k.Judge(s.Sent, s.Done, s.Status, http.StatusOK, l.Bound)
		s.Want = verdict.Want
		l.mu.Lock()
		l.tally.Count(class, s.Status, http.StatusOK, verdict)
		l.mu.Unlock()
	}
	l.recorders[Verify].Record(s)
	l.interval.Load().Record(s)
}

func (l *Load) pickOne(random *rand.Rand, now time.Time) (k scenario.Known, class scenario.Class, ok bool) {
	switch at := random.Float64(); {
	case at < garbageShare:
		b := l.garbage[random.IntN(len(l.garbage))]
		return scenario.Known{Token: b.Token, Class: scenario.Garbage}, scenario.Garbage, true
	case at < garbageShare+revokedShare:
		k, ok = l.pool.pick(false, random.Float64(), now)
		return k, scenario.Revoked, ok
	}
	// Who asks needs the answer before the token's end.
	k, ok = l.pool.pick(true, random.Float64(), now.Add(l.Patience))
	return k, scenario.Good, ok
}

// refresh renews the tokens of one session.
func (l *Load) refresh(ctx context.Context, a gen.Arrival) {
	s := l.pool.take()
	if s == nil {
		return
	}
	defer l.pool.giveBack(s)
	var g issuer.Grant
	if l.call(Refresh, a, http.StatusOK, func() (err error) {
		g, err = l.Issuer.Refresh(ctx, l.Login.Client, s.refresh)
		return err
	}) {
		s.renew(g)
	}
}

// turn begins a session and ends another.
func (l *Load) turn(ctx context.Context, a gen.Arrival) {
	var g issuer.Grant
	if !l.call(LogIn, a, http.StatusOK, func() (err error) {
		g, err = l.Issuer.LogIn(ctx, l.Login)
		return err
	}) {
		return
	}
	s := l.pool.take()
	l.pool.add(newSession(g))
	if s == nil {
		return
	}
	a.Due = time.Now()
	s.fate.Ask()
	if l.call(Revoke, a, http.StatusCreated, func() error {
		_, err := l.Issuer.Revoke(ctx, issuer.Revocation{Kind: "session", ID: s.id, Reason: "loadtest"})
		return err
	}) {
		s.fate.Acknowledge()
	}
	l.pool.end(s)
}

// call records something asked of the issuer, and reports whether it was done.
func (l *Load) call(what string, a gen.Arrival, want int, ask func() error) bool {
	s := measure.Sample{Due: a.Due, Queued: a.Queued, Sent: time.Now(), Status: want, Want: want, Worker: a.Worker}
	err := ask()
	s.Done = time.Now()
	if refused, is := errors.AsType[*issuer.RefusedError](err); is {
		s.Status = refused.Status
	} else if err != nil {
		s.Failure, s.Cause = measure.FailureOf(err), err
	}
	l.recorders[what].Record(s)
	return err == nil
}

// Recorder is where all of one kind is recorded.
func (l *Load) Recorder(what string) *measure.Recorder { return l.recorders[what] }

// Interval is what became of the verifications that ended since it was called last.
func (l *Load) Interval() measure.Summary {
	return l.interval.Swap(measure.New(time.Time{})).Summary()
}

// Tally is what the answers to verifications were worth.
func (l *Load) Tally() scenario.Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

// Open is how many sessions are open.
func (l *Load) Open() int { return l.pool.size() }
