// Package scenario is the load: what is asked of what, request by request.
//
// Invariants:
//
//   - No token is printed, logged or part of an error.
package scenario

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/target"
)

// Verify asks a sidecar's forward-auth, GET /auth, whether tokens pass.
type Verify struct {
	// Target is the sidecar's /auth.
	Target *target.Target
	// Tokens are asked about in turn.
	Tokens Tokens
	// Expect is the status wanted of every answer.
	Expect int
	// Plan says when requests arrive; its Duration is filled in.
	Plan gen.Plan
	// WarmUp and Duration are how long load is sent without and with measuring.
	WarmUp, Duration time.Duration
}

// Probe sends one request, so that a wrong address or stale tokens show before the
// load does.
func (v Verify) Probe(ctx context.Context) error {
	status, err := v.ask(ctx, 0)
	if err != nil {
		return fmt.Errorf("asking %s: %w", v.Target.URL(), err)
	}
	if status != v.Expect {
		return fmt.Errorf("%s answers %d %s to the first token, want %d", v.Target.URL(), status, http.StatusText(status), v.Expect)
	}
	return nil
}

// Run sends the load from began on and records what is due after the warm-up. When ctx
// ends, it sends no more and returns once the last request is over.
func (v Verify) Run(ctx context.Context, began time.Time, r *measure.Recorder) {
	plan := v.Plan
	plan.Duration = v.WarmUp + v.Duration
	plan.Run(ctx, began, verifying{v, context.WithoutCancel(ctx), r})
}

func (v Verify) ask(ctx context.Context, n uint64) (int, error) {
	return v.Target.Status(ctx, target.Request{Authorization: v.Tokens.turn(n)})
}

// verifying is a run of Verify.
type verifying struct {
	Verify
	ctx      context.Context //nolint:containedctx // of the run this value stands for
	recorder *measure.Recorder
}

// Do implements [gen.Work].
func (v verifying) Do(a gen.Arrival) {
	s := measure.Sample{Due: a.Due, Queued: a.Queued, Sent: time.Now(), Want: v.Expect}
	s.Status, s.Cause = v.ask(v.ctx, a.N)
	s.Done = time.Now()
	if s.Cause != nil {
		s.Failure = measure.FailureOf(s.Cause)
	}
	v.recorder.Record(s)
}

// Abandon implements [gen.Work].
func (v verifying) Abandon(a gen.Arrival, at time.Time) { v.recorder.Abandon(a.Due, at) }
