package gate

import (
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// Decide gives the answer. It never fails: whatever it cannot judge, it denies.
func Decide(p Policy, ask Ask, f Facts) Decision {
	d := Decision{Verdict: Deny, FreshAsOf: f.FreshAsOf}
	age := f.Now.Sub(f.FreshAsOf) // saturates for the zero time, which is long past
	d.Stale = age >= p.StaleAfter

	d.Reason = reason(p, ask, f, age)
	switch d.Reason { //nolint:exhaustive // the others name nothing that could be brought
	case ReasonScope:
		d.NeededScope = needed(p.Scopes, ask.Scopes)
	case ReasonAuthentication:
		d.NeededACR, d.NeededAge = strings.Join(ask.ACR, " "), ask.MaxAge
	}
	switch {
	case d.Reason == ReasonGood:
		d.Verdict = Allow
	case p.Shadow:
		d.Verdict, d.Shadow = Allow, true
	}
	return d
}

// reason weighs the facts in the order the package comment gives.
func reason(p Policy, ask Ask, f Facts, age time.Duration) Reason {
	// Set back, the clock makes no age of a view that is ahead of it.
	setBack := age < -events.MaxSkew
	if r := tokenReason(f.Token); r != ReasonGood {
		if (r == ReasonExpired || r == ReasonPremature) && (setBack || f.Skew.Abs() > events.MaxSkew) {
			return ReasonClock // by a clock known to be wrong nothing is over, or yet to come
		}
		return r
	}
	switch {
	case f.Finding == Revoked:
		return ReasonRevoked
	case f.Finding != Clear:
		return ReasonLookupFailed
	case !f.Ready:
		return ReasonNotReady
	case setBack, f.Skew < -events.MaxSkew: // it would accept what is over and whose entry is forgotten
		return ReasonClock
	case age >= p.limit(), ask.MaxStale > 0 && age > ask.MaxStale:
		return ReasonStale
	case !one(f.Audience, ask.Audiences):
		return ReasonAudience
	case !holds(f.Scope, p.Scopes), !holds(f.Scope, ask.Scopes):
		return ReasonScope
	case !every(f.Roles, ask.Roles), !one(f.Roles, ask.AnyRole):
		return ReasonRole
	case len(ask.ACR) > 0 && !slices.Contains(ask.ACR, f.ACR), ask.MaxAge > 0 && f.Now.Sub(f.AuthTime) > ask.MaxAge:
		return ReasonAuthentication
	}
	return ReasonGood
}

// Waive is the answer to a request that needs no token, by a rule of the operator's.
// Nothing is judged, so nothing is known of who asks; f only says how fresh the view
// is that was not asked.
func Waive(p Policy, f Facts) Decision {
	return Decision{Verdict: Allow, Reason: ReasonAnonymous, FreshAsOf: f.FreshAsOf, Stale: f.Now.Sub(f.FreshAsOf) >= p.StaleAfter}
}

// limit is the age from which the policy alone denies.
func (p Policy) limit() time.Duration {
	if p.WhenStale == ServeStale {
		return p.StaleLimit
	}
	return p.StaleAfter
}

func tokenReason(o Outcome) Reason {
	switch o {
	case Genuine:
		return ReasonGood
	case Absent:
		return ReasonAbsent
	case Ambiguous:
		return ReasonAmbiguous
	case Unreadable:
		return ReasonUnreadable
	case Unsupported:
		return ReasonUnsupported
	case Malformed:
		return ReasonMalformed
	case Untrusted:
		return ReasonUntrusted
	case Expired:
		return ReasonExpired
	case Premature:
		return ReasonPremature
	case KeysUnavailable:
		return ReasonKeysUnavailable
	case Overloaded:
		return ReasonOverloaded
	case Unjudged:
	}
	return ReasonUndecided
}
