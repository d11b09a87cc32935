package verify

import (
	"errors"
	"fmt"

	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Why [Verifier.Verify] refuses a token; match with errors.Is. For all but
// [ErrStale] and [ErrInsufficientScope] the answer is 401 (RFC 6750 section 3.1).
var (
	// ErrMalformed: not a token by the strict reading.
	ErrMalformed = token.ErrMalformed
	// ErrUntrusted: of no trusted issuer, for another audience, of another type,
	// with a wrong signature, not valid yet, or bound to a key.
	ErrUntrusted = token.ErrUntrusted
	// ErrExpired: past `exp` and the leeway.
	ErrExpired = token.ErrExpired
	// ErrRevoked: an entry of the denylist denies it. The text names the entry.
	ErrRevoked = errors.New("revoked token")
	// ErrInsufficientScope: genuine, but without a scope or role that is
	// required. Answer 403.
	ErrInsufficientScope = errors.New("token without a required scope")
	// ErrInsufficientAuthentication: genuine, but the user authenticated too long
	// ago or not strongly enough (RFC 9470 section 3). Answer 401.
	ErrInsufficientAuthentication = errors.New("token of an insufficient authentication")
	// ErrStale: whether the token is good cannot be told at present: the view of
	// revocations is too old or was never complete, or the issuer's keys cannot
	// be had. Answer 503; it says nothing against the token.
	ErrStale = errors.New("token cannot be judged at present")
)

// refusal words a decision that denies. cause is what judging the token gave, or
// the failed look-up; it may be nil.
func (j *judgement) refusal() error {
	switch j.decision.Reason {
	case gate.ReasonMalformed, gate.ReasonUntrusted, gate.ReasonExpired:
		return j.cause // wraps the error of that name
	case gate.ReasonUnsupported, gate.ReasonPremature:
		return fmt.Errorf("%w: %w", ErrUntrusted, j.cause)
	case gate.ReasonRevoked:
		r := j.finding.Revocation
		return fmt.Errorf("%w: by revocation %q of its %s, reason %q", ErrRevoked, r.ID, r.Kind, r.Reason)
	case gate.ReasonScope:
		return fmt.Errorf("%w: needs %q", ErrInsufficientScope, j.decision.NeededScope)
	case gate.ReasonRole:
		return fmt.Errorf("%w: a role is missing", ErrInsufficientScope)
	case gate.ReasonAudience:
		return fmt.Errorf("%w: not for this resource", ErrUntrusted)
	case gate.ReasonAuthentication:
		return fmt.Errorf("%w: needs acr %q, at most %s ago", ErrInsufficientAuthentication, j.decision.NeededACR, j.decision.NeededAge)
	case gate.ReasonKeysUnavailable, gate.ReasonLookupFailed:
		return fmt.Errorf("%w: %w", ErrStale, j.cause)
	case gate.ReasonUndecided, gate.ReasonGood, gate.ReasonAbsent, gate.ReasonAmbiguous, gate.ReasonUnreadable,
		gate.ReasonAnonymous, gate.ReasonOverloaded, gate.ReasonNotReady, gate.ReasonClock, gate.ReasonStale:
	}
	return fmt.Errorf("%w: %s", ErrStale, j.decision.Reason)
}
