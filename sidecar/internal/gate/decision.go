package gate

import (
	"strings"
	"time"
)

// Verdict is the answer itself.
type Verdict uint8

// The verdicts.
const (
	Deny Verdict = iota
	Allow
)

// String gives the label used in metrics.
func (v Verdict) String() string {
	if v == Allow {
		return "allow"
	}
	return "deny"
}

// Reason says why a decision was taken.
type Reason uint8

// The reasons. The zero value is that of a decision nobody took.
const (
	ReasonUndecided Reason = iota
	ReasonGood
	ReasonAbsent
	ReasonAmbiguous
	ReasonUnreadable
	ReasonUnsupported
	ReasonMalformed
	ReasonUntrusted
	ReasonExpired
	ReasonPremature
	ReasonRevoked
	ReasonKeysUnavailable
	ReasonLookupFailed
	ReasonNotReady
	ReasonClock
	ReasonStale
	ReasonScope
	ReasonAudience
	ReasonRole
	ReasonAuthentication
	ReasonAnonymous
	ReasonOverloaded
)

// Reasons lists every reason, in the order of their numbers.
func Reasons() []Reason {
	all := make([]Reason, 0, ReasonOverloaded+1)
	for r := ReasonUndecided; r <= ReasonOverloaded; r++ {
		all = append(all, r)
	}
	return all
}

// String gives the label used in metrics.
func (r Reason) String() string {
	switch r {
	case ReasonGood:
		return "good"
	case ReasonAbsent:
		return "no_credentials"
	case ReasonAmbiguous:
		return "ambiguous_credentials"
	case ReasonUnreadable:
		return "unreadable_demand"
	case ReasonUnsupported:
		return "unsupported_credentials"
	case ReasonMalformed:
		return "malformed"
	case ReasonUntrusted:
		return "untrusted"
	case ReasonExpired:
		return "expired"
	case ReasonPremature:
		return "not_yet_valid"
	case ReasonRevoked:
		return "revoked"
	case ReasonKeysUnavailable:
		return "keys_unavailable"
	case ReasonLookupFailed:
		return "lookup_failed"
	case ReasonNotReady:
		return "not_ready"
	case ReasonClock:
		return "clock"
	case ReasonStale:
		return "stale"
	case ReasonScope:
		return "insufficient_scope"
	case ReasonAudience:
		return "wrong_audience"
	case ReasonRole:
		return "insufficient_role"
	case ReasonAuthentication:
		return "insufficient_authentication"
	case ReasonAnonymous:
		return "anonymous"
	case ReasonOverloaded:
		return "overloaded"
	case ReasonUndecided:
	}
	return "undecided"
}

// Decision is the answer and what a front needs to word it. The zero Decision
// denies with 503.
type Decision struct {
	Verdict Verdict
	// Reason is that of the denial also where Shadow turned it into an Allow.
	Reason Reason
	// Shadow marks an Allow that would have been a Deny were the policy enforced.
	Shadow bool
	// Stale says that the view was older than stale-after.
	Stale bool
	// FreshAsOf repeats the fact, for the answer's header; zero for never.
	FreshAsOf time.Time
	// NeededScope names, separated by spaces, what an insufficient scope should
	// have held; empty otherwise.
	NeededScope string
	// NeededACR names, separated by spaces, the values of `acr` that would do, and
	// NeededAge how long ago the user may have authenticated; both are of an
	// insufficient authentication only, and either may be unasked.
	NeededACR string
	NeededAge time.Duration
}

// HTTP status codes (RFC 9110 section 15), spelt here because this package does
// not import net/http.
const (
	statusOK          = 200
	statusBadRequest  = 400
	statusChallenge   = 401
	statusForbidden   = 403
	statusUnavailable = 503
)

// Status is the HTTP status: 200 only for Allow, else 400, 401, 403 or 503.
func (d Decision) Status() int {
	if d.Verdict == Allow {
		return statusOK
	}
	switch d.Reason {
	case ReasonAmbiguous, ReasonUnreadable:
		return statusBadRequest
	case ReasonAbsent, ReasonUnsupported, ReasonMalformed, ReasonUntrusted, ReasonExpired, ReasonPremature, ReasonRevoked,
		ReasonAudience, ReasonAuthentication:
		return statusChallenge
	case ReasonScope, ReasonRole:
		return statusForbidden
	case ReasonUndecided, ReasonGood, ReasonAnonymous, ReasonOverloaded, ReasonKeysUnavailable, ReasonLookupFailed, ReasonNotReady, ReasonClock, ReasonStale:
	}
	return statusUnavailable
}

// Code is the error code of RFC 6750 section 3.1 or RFC 9470 section 3. It is empty
// for Allow, where the request had no credentials (the section wants none then), and
// for 503, which says nothing of the token.
func (d Decision) Code() string {
	switch d.Status() {
	case statusBadRequest:
		return "invalid_request"
	case statusChallenge:
		switch d.Reason { //nolint:exhaustive // all others of this status are faults of the token
		case ReasonAbsent:
			return ""
		case ReasonAuthentication:
			return "insufficient_user_authentication"
		}
		return "invalid_token"
	case statusForbidden:
		return "insufficient_scope"
	}
	return ""
}

// Description is for the client's developer: a constant sentence of the
// characters that `error_description` may hold (RFC 6750 section 3).
func (d Decision) Description() string {
	if d.Verdict == Allow {
		return ""
	}
	switch d.Reason {
	case ReasonAmbiguous:
		return "The request carries credentials more than once"
	case ReasonUnreadable:
		return "The request cannot be read in one way only"
	case ReasonUnsupported:
		return "Sender-constrained tokens are not supported here"
	case ReasonMalformed:
		return "The access token is malformed"
	case ReasonUntrusted:
		return "The access token is not trusted here"
	case ReasonExpired:
		return "The access token expired"
	case ReasonPremature:
		return "The access token is not valid yet"
	case ReasonRevoked:
		return "The access token was revoked"
	case ReasonScope:
		return "The access token lacks a required scope"
	case ReasonAudience:
		return "The access token is not meant for this resource"
	case ReasonRole:
		return "The access token lacks a required role"
	case ReasonAuthentication:
		return "A more recent or a stronger authentication is required"
	case ReasonKeysUnavailable:
		return "The keys of the token's issuer are unavailable"
	case ReasonNotReady, ReasonLookupFailed, ReasonClock, ReasonStale:
		return "Revocations cannot be checked at present"
	case ReasonOverloaded:
		return "Too many requests are under way"
	case ReasonUndecided, ReasonGood, ReasonAbsent, ReasonAnonymous:
	}
	return ""
}

// retryAfter spares a verifier that is catching up; it does so within seconds.
const retryAfter = 5 * time.Second

// RetryAfter is how long a client should wait; zero unless the status is 503.
func (d Decision) RetryAfter() time.Duration {
	if d.Status() == statusUnavailable {
		return retryAfter
	}
	return 0
}

// needed joins the scopes of policy and request without repeating any.
func needed(policy, asked []string) string {
	var b strings.Builder
	for _, list := range [][]string{policy, asked} {
		for _, s := range list {
			if holds(b.String(), []string{s}) {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(s)
		}
	}
	return b.String()
}
