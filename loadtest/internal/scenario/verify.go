// Package scenario is the load: what is asked of what, request by request, and what is
// right for each.
//
// Invariants:
//
//   - No token is printed, logged or part of an error.
//   - Every answer is held against what is known of its token, those of the warm-up
//     included.
package scenario

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Tokens are what is asked about, by class. Those asked about most come first.
type Tokens [classes][]Known

// Verify asks one front whether tokens pass.
type Verify struct {
	Front front.Front
	// Name is what errors call it.
	Name   string
	Deck   *Deck
	Tokens Tokens
	// Pass is the status of what passes.
	Pass int
	// Bound is the longest that a token may pass after its revocation's receipt.
	Bound time.Duration
	// Rate is the mean number of requests a second; 0 for as many as are answered.
	Rate float64
	// Workers is how many requests may be under way at once.
	Workers int
	// Patience is how long a request may be overdue in the end.
	Patience time.Duration
	// Seed picks one of the possible series of arrivals.
	Seed uint64
	// WarmUp and Duration are how long load is sent without and with measuring.
	WarmUp, Duration time.Duration
}

// Arrivals is how many requests there may be at a rate over a time: but for one series in
// a billion there are fewer.
func Arrivals(rate float64, d time.Duration) uint64 {
	mean := rate * d.Seconds()
	return uint64(mean + 6*math.Sqrt(mean) + 10)
}

// Probe asks about one token of each class and about all garbage, so that a wrong address,
// stale tokens, or a front that takes everything show before the load does.
func (v Verify) Probe(ctx context.Context) error {
	for class, tokens := range v.Tokens {
		if Class(class) != Garbage {
			tokens = tokens[:min(1, len(tokens))]
		}
		for _, k := range tokens {
			if Class(class) == Cold {
				continue // it would be none any more
			}
			status, err := v.Front.Ask(ctx, k.Token)
			if err != nil {
				return fmt.Errorf("asking %s: %w", v.Name, err)
			}
			if want := k.Judge(time.Time{}, time.Time{}, status, v.Pass, v.Bound).Want; status != want {
				which := "first " + k.Class.String() + " token"
				if k.What != "" {
					which = "token that is " + k.What
				}
				return fmt.Errorf("%s answers %d %s to the %s, want %d", v.Name, status, http.StatusText(status), which, want)
			}
		}
	}
	return nil
}

// settleEvery is how often one is asked about that still passes.
const settleEvery = 2 * time.Millisecond

// Settle returns once every revoked token is refused.
func (v Verify) Settle(ctx context.Context) error {
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for n, k := range v.Tokens[Revoked] {
		for {
			status, err := v.Front.Ask(ctx, k.Token)
			if err != nil {
				return fmt.Errorf("asking %s: %w", v.Name, err)
			}
			if status == http.StatusUnauthorized {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting until %s refuses revoked token %d of %d: it answers %d: %w", v.Name, n+1, len(v.Tokens[Revoked]), status, context.Cause(ctx))
			case <-ticker.C:
			}
		}
	}
	return nil
}

// Run sends the load from began on and records what is due after the warm-up. When ctx
// ends, or there are no more cold tokens, it sends no more and returns once the last
// request is over. The tally is of all answers.
func (v Verify) Run(ctx context.Context, began time.Time, r *measure.Recorder) Tally {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	run := &verifying{Verify: v, ctx: context.WithoutCancel(ctx), recorder: r, stop: stop, tallies: make([]paddedTally, v.Workers)}
	length := v.WarmUp + v.Duration
	if v.Rate > 0 {
		gen.Plan{Rate: v.Rate, Duration: length, Workers: v.Workers, Patience: v.Patience, Seed: v.Seed}.Run(sending, began, run)
	} else {
		gen.Loop{Duration: length, Workers: v.Workers}.Run(sending, began, run)
	}
	var all Tally
	for n := range run.tallies {
		all.Add(run.tallies[n].Tally)
	}
	return all
}

// verifying is a run of Verify.
type verifying struct {
	Verify
	ctx      context.Context //nolint:containedctx // of the run this value stands for
	recorder *measure.Recorder
	stop     func()
	tallies  []paddedTally // of each worker
}

// paddedTally is one worker's own.
type paddedTally struct {
	Tally
	_ [64]byte // what two processors write lies apart
}

// Do implements [gen.Work].
func (v *verifying) Do(a gen.Arrival) {
	class, n := v.Deck.At(a.N)
	if n >= uint64(len(v.Tokens[class])) {
		v.tallies[a.Worker].Exhausted = true
		v.stop()
		return
	}
	k := v.Tokens[class][n]
	s := measure.Sample{Due: a.Due, Queued: a.Queued, Sent: time.Now(), Worker: a.Worker}
	s.Status, s.Cause = v.Front.Ask(v.ctx, k.Token)
	s.Done = time.Now()
	if s.Cause != nil {
		s.Failure = measure.FailureOf(s.Cause)
	} else {
		verdict := k.Judge(s.Sent, s.Done, s.Status, v.Pass, v.Bound)
		s.Want = verdict.Want
		v.tallies[a.Worker].Count(class, s.Status, v.Pass, verdict)
	}
	v.recorder.Record(s)
}

// Abandon implements [gen.Work].
func (v *verifying) Abandon(a gen.Arrival, at time.Time) { v.recorder.Abandon(a.Due, at) }
