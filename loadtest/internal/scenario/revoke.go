package scenario

import (
	"context"
	"net/http"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Revoke revokes tokens one by one while others ask about them.
type Revoke struct {
	// Victims are revoked in their order, as long as there are any.
	Victims []Known
	// Do returns once the revocation is acknowledged.
	Do func(ctx context.Context, k Known) error
	// Rate is the mean number of revocations a second, and Duration how long there are any.
	Rate     float64
	Duration time.Duration
	// Workers is how many may be under way at once.
	Workers int
	// Seed picks one of the possible series of arrivals.
	Seed uint64
}

// Run revokes from began on and records how long the receipts took. When ctx ends, it
// begins none and returns once those under way are over.
func (v Revoke) Run(ctx context.Context, began time.Time, r *measure.Recorder) {
	plan := gen.Plan{Rate: v.Rate, Duration: v.Duration, Workers: v.Workers, Patience: time.Second, Seed: v.Seed}
	plan.Run(ctx, began, revoking{v, context.WithoutCancel(ctx), r})
}

type revoking struct {
	Revoke
	ctx      context.Context //nolint:containedctx // of the run this value stands for
	recorder *measure.Recorder
}

// Do implements [gen.Work].
func (v revoking) Do(a gen.Arrival) {
	if a.N >= uint64(len(v.Victims)) {
		return
	}
	k := v.Victims[a.N]
	s := measure.Sample{Due: a.Due, Queued: a.Queued, Sent: time.Now(), Status: http.StatusCreated, Want: http.StatusCreated, Worker: a.Worker}
	k.Fate.Ask()
	if s.Cause = v.Revoke.Do(v.ctx, k); s.Cause == nil {
		k.Fate.Acknowledge()
	} else {
		s.Status, s.Failure = 0, measure.FailureOf(s.Cause)
	}
	s.Done = time.Now()
	v.recorder.Record(s)
}

// Abandon implements [gen.Work].
func (v revoking) Abandon(a gen.Arrival, at time.Time) { v.recorder.Abandon(a.Due, at) }
