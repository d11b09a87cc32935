package sessions

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Load is one stretch of work on a crowd.
type Load struct {
	Crowd *Crowd
	Mix   Mix
	// Plan says when operations arrive; its Duration is filled in.
	Plan gen.Plan
	// WarmUp and Duration are how long load is sent without and with measuring.
	WarmUp, Duration time.Duration
	// Record is told of every request that was due after the warm-up, Abandon of those
	// that were never sent. Both are called by many goroutines.
	Record  func(op Operation, s measure.Sample)
	Abandon func(op Operation, due, at time.Time)
}

// Run sends the load from began on. When ctx ends, it sends no more and returns once the
// last request is over.
func (l Load) Run(ctx context.Context, began time.Time) {
	plan := l.Plan
	plan.Duration = l.WarmUp + l.Duration
	plan.Run(ctx, began, &working{l, context.WithoutCancel(ctx), began.Add(l.WarmUp)})
}

// working is a run of a Load.
type working struct {
	Load
	ctx  context.Context //nolint:containedctx // of the run this value stands for
	from time.Time
}

// Do implements [gen.Work].
func (w *working) Do(a gen.Arrival) {
	switch op := w.Mix.pick(w.Plan.Seed, a.N); op {
	case Logins:
		w.logIn(a)
	case Refreshes, Revocations:
		h, ok := w.Crowd.take()
		if !ok {
			w.Crowd.count(func(t *Tally) { t.Wanting++ })
			w.Abandon(a, time.Now())
			return
		}
		if op == Refreshes {
			w.refresh(a, h)
		} else {
			w.revoke(a, h)
		}
	}
}

// Abandon implements [gen.Work].
func (w *working) Abandon(a gen.Arrival, at time.Time) {
	if !a.Due.Before(w.from) {
		w.Load.Abandon(w.Mix.pick(w.Plan.Seed, a.N), a.Due, at)
	}
}

// record tells of a request that was sent and has been answered now.
func (w *working) record(op Operation, a gen.Arrival, sent time.Time, want int, err error) {
	if a.Due.Before(w.from) {
		return
	}
	s := measure.Sample{Due: a.Due, Queued: a.Queued, Sent: sent, Done: time.Now(), Status: want, Want: want}
	if refused, ok := errors.AsType[*issuer.RefusedError](err); ok {
		s.Status = refused.Status
	} else if err != nil {
		s.Status, s.Failure, s.Cause = 0, measure.FailureOf(err), err
	}
	w.Record(op, s)
}

func (w *working) logIn(a gen.Arrival) {
	c := w.Crowd
	user := c.user(a.N)
	sent := time.Now()
	g, err := c.issuer(a.N).LogIn(w.ctx, user)
	w.record(Logins, a, sent, http.StatusOK, err)
	if err == nil {
		c.opened(user, g)
	}
}

func (c *Crowd) opened(user issuer.Login, g issuer.Grant) {
	c.count(func(t *Tally) { t.Opened++ })
	c.put(held{user.Client, g.Session, g.Refresh})
}

func (w *working) revoke(a gen.Arrival, h held) {
	want := http.StatusOK
	if w.Crowd.cfg.Operator {
		want = http.StatusCreated
	}
	sent := time.Now()
	err := w.Crowd.revoke(w.ctx, a.N, h)
	w.record(Revocations, a, sent, want, err)
	if err == nil {
		w.Crowd.end(h)
		return
	}
	w.Crowd.count(func(t *Tally) { t.Aside++ })
}

func (c *Crowd) revoke(ctx context.Context, n uint64, h held) error {
	if !c.cfg.Operator {
		return c.issuer(n).LogOut(ctx, h.client, h.refresh)
	}
	_, err := c.issuer(n).Revoke(ctx, issuer.Revocation{Kind: "session", ID: h.session, Reason: "load_test"})
	return err
}

// answer is one of the answers to one token.
type answer struct {
	grant issuer.Grant
	err   error
}

// refresh uses the session's token, as often at once as contention says.
func (w *working) refresh(a gen.Arrival, h held) {
	c := w.Crowd
	answers := make([]answer, c.cfg.Contention)
	var group sync.WaitGroup
	for k := range answers {
		group.Go(func() {
			sent := time.Now()
			g, err := c.issuer(a.N+uint64(k)).Refresh(w.ctx, h.client, h.refresh) //nolint:gosec // a count
			w.record(Refreshes, a, sent, http.StatusOK, err)
			answers[k] = answer{g, err}
		})
	}
	group.Wait()
	c.conclude(h, answers)
}

// undecided is what a refresh came to of which the issuer says nothing.
const undecided = "undecided"

// conclude makes of the answers to one token what the session is now.
func (c *Crowd) conclude(h held, answers []answer) {
	var over, forked bool
	next := held{client: h.client, session: h.session}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range answers {
		outcome := a.grant.Outcome
		refused, was := errors.AsType[*issuer.RefusedError](a.err)
		switch {
		case was:
			outcome = refused.Outcome
			over = over || refused.Over()
		case a.err == nil && a.grant.Refresh != "": // a policy may give an access token only
			forked = forked || next.refresh != "" && next.refresh != a.grant.Refresh
			next.refresh = a.grant.Refresh
		}
		c.tally.Outcomes[cmp.Or(outcome, undecided)]++
	}
	switch {
	case forked:
		c.tally.Forked++
	case over:
		c.tally.LoggedOut++
	case next.refresh == "":
		c.tally.Aside++
	default:
		c.living = append(c.living, next)
	}
}
