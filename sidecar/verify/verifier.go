package verify

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/node"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Denylist answers from memory whether an entry denies a token at a time. An
// error means that it cannot tell.
type Denylist interface {
	Lookup(ctx context.Context, t *denylist.Token, now time.Time) (denylist.Finding, error)
}

// Freshness says up to which moment the denylist is proved complete, whether it has
// ever been, and how much a local clock that says now is ahead of the broker's. It must
// never run ahead of what [Denylist] answers from.
type Freshness interface {
	Freshness(now time.Time) (asOf time.Time, ready bool, skew time.Duration)
}

// Parts are what a [Verifier] is made of, all of them required. Their types are
// this module's own, so only the sidecar puts them together by hand.
type Parts struct {
	Tokens    *token.Verifier
	Denylist  Denylist
	Freshness Freshness
	Policy    gate.Policy
	Metrics   *Metrics
	Log       *zap.Logger
}

// Verifier judges tokens. It is safe for concurrent use.
type Verifier struct {
	parts Parts
	log   *zap.Logger
	node  *node.Node // of New; nil where the parts are another's
}

// Assemble makes a verifier of running parts. It starts nothing and owns nothing.
func Assemble(p Parts) (*Verifier, error) {
	faults := []error{p.Policy.Validate()}
	if p.Tokens == nil || p.Denylist == nil || p.Freshness == nil || p.Metrics == nil || p.Log == nil {
		faults = append(faults, errors.New("a part of the verifier is missing"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	// A store that fails does so at every request: the log gets a few a minute,
	// the metric all.
	sampled := zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Minute, 5, 0)
	})
	return &Verifier{parts: p, log: p.Log.WithOptions(sampled)}, nil
}

// Verify tells whether raw, an access token as it stood after "Bearer ", may
// pass, and if so what it says. Otherwise the error is one of this package's. A
// token of a kid not seen before may make it wait about a second for the issuer's
// keys, or until ctx ends. In shadow mode a genuine token passes whatever else is
// held against it; one that is not genuine still does not.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	j := v.judge(ctx, raw, gate.Ask{})
	v.parts.Metrics.count(j.decision)
	if j.decision.Verdict == gate.Allow && j.token != nil {
		return j.claims(), nil
	}
	return Claims{}, j.refusal()
}

// Judge is [Verifier.Verify] for a front: what the request asks beyond the policy
// goes in, and everything an answer needs comes out. Claims are shared and
// read-only, and zero unless the token is genuine and the verdict is Allow.
func (v *Verifier) Judge(ctx context.Context, raw string, ask gate.Ask) (Claims, gate.Decision) {
	j := v.judge(ctx, raw, ask)
	v.parts.Metrics.count(j.decision)
	if j.decision.Verdict == gate.Allow && j.token != nil {
		return j.claims(), j.decision
	}
	return Claims{}, j.decision
}

// Again decides as [Verifier.Judge] does, on what was let in before and lasts. It is
// counted as no decision: one connection would be many. With a ctx that is over it waits
// for nothing, and what cannot be told so is a failed look-up, or keys that are not to be
// had.
func (v *Verifier) Again(ctx context.Context, raw string, ask gate.Ask) gate.Decision {
	j := v.judge(ctx, raw, ask)
	return j.decision
}

// Refuse decides on a request that presents no token to judge; o says why. As
// nothing is looked up, no o makes it allow while the policy is enforced.
func (v *Verifier) Refuse(o gate.Outcome) gate.Decision {
	f := gate.Facts{Token: o, Now: clock.Now()}
	f.FreshAsOf, f.Ready, f.Skew = v.parts.Freshness.Freshness(f.Now)
	d := gate.Decide(v.parts.Policy, gate.Ask{}, f)
	v.parts.Metrics.count(d)
	return d
}

// Waive decides on a request that needs no token, by a rule of the operator's. It
// always allows, and knows nobody.
func (v *Verifier) Waive() gate.Decision {
	f := gate.Facts{Now: clock.Now()}
	f.FreshAsOf, f.Ready, f.Skew = v.parts.Freshness.Freshness(f.Now)
	d := gate.Waive(v.parts.Policy, f)
	v.parts.Metrics.count(d)
	return d
}

// judgement is a decision with what led to it.
type judgement struct {
	decision gate.Decision
	token    *token.Verified // nil unless genuine
	finding  denylist.Finding
	cause    error
}

func (j *judgement) claims() Claims { return Claims(j.token.Claims) }

// judge decides and counts nothing.
func (v *Verifier) judge(ctx context.Context, raw string, ask gate.Ask) (j judgement) {
	patient := ctx.Err() == nil // or nobody would wait for the disk, which is no failure of its
	f := gate.Facts{Now: clock.Now()}
	// Before the look-up: freshness read after it could vouch for an entry that
	// was applied in between.
	f.FreshAsOf, f.Ready, f.Skew = v.parts.Freshness.Freshness(f.Now)
	j.token, j.cause = v.parts.Tokens.Verify(ctx, raw, f.Now)
	if f.Token = outcome(j.cause); f.Token == gate.Genuine {
		c := &j.token.Claims
		f.Scope, f.Roles, f.Audience, f.ACR, f.AuthTime = c.Scope, &c.Roles, &c.Audience, c.ACR, c.AuthTime
		// Entries expire by the earlier of both clocks, so that a local one that
		// jumps ahead forgets none.
		if j.finding, j.cause = v.parts.Denylist.Lookup(ctx, &j.token.Denylist, earlier(f.Now, f.FreshAsOf)); j.cause != nil && patient {
			v.log.Error("the denylist cannot answer", zap.Error(j.cause))
		}
		f.Finding = found(j.finding.Denied, j.cause)
	}
	j.decision = gate.Decide(v.parts.Policy, ask, f)
	return j
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func found(denied bool, err error) gate.Finding {
	switch {
	case err != nil:
		return gate.Unknown
	case denied:
		return gate.Revoked
	}
	return gate.Clear
}

// outcome names an error of package token.
func outcome(err error) gate.Outcome {
	switch {
	case err == nil:
		return gate.Genuine
	case errors.Is(err, token.ErrMalformed):
		return gate.Malformed
	case errors.Is(err, token.ErrUntrusted):
		return gate.Untrusted
	case errors.Is(err, token.ErrExpired):
		return gate.Expired
	case errors.Is(err, token.ErrPremature):
		return gate.Premature
	case errors.Is(err, token.ErrUnsupported):
		return gate.Unsupported
	case errors.Is(err, token.ErrKeysUnavailable):
		return gate.KeysUnavailable
	}
	return gate.Unjudged
}
