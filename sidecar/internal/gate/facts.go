package gate

import "time"

// Outcome is what judging the token by itself gave: credentials, form, issuer,
// signature, times. It knows nothing of revocations.
type Outcome uint8

// The outcomes. The zero value is a token that nobody has judged.
const (
	Unjudged Outcome = iota
	// Genuine: signed by a trusted issuer for this audience, and in its time.
	Genuine
	// Absent: the request carries no credentials of a kind known here.
	Absent
	// Ambiguous: the request carries more than one (RFC 6750 section 3.1).
	Ambiguous
	// Unreadable: the request demands something that cannot be read, so that
	// whether it is met cannot be said.
	Unreadable
	// Unsupported: a scheme or a binding that cannot be checked here.
	Unsupported
	// Malformed: not a token by the strict reading.
	Malformed
	// Untrusted: unknown issuer or key, wrong signature, type or audience.
	Untrusted
	// Expired: past `exp` and the leeway.
	Expired
	// Premature: before `nbf`, or issued in the future.
	Premature
	// KeysUnavailable: the issuer's keys could not be had, so nothing is known.
	KeysUnavailable
	// Overloaded: nothing was looked at, since too much is under way already.
	Overloaded
)

// Finding is what the denylist says about a genuine token.
type Finding uint8

// The findings. The zero value is a look-up that was not made or failed.
const (
	Unknown Finding = iota
	// Clear: no entry denies the token.
	Clear
	// Revoked: at least one entry denies it.
	Revoked
)

// Names are the values of one claim.
type Names interface{ Has(name string) bool }

// Facts are everything a decision rests on.
type Facts struct {
	Token Outcome
	// Finding counts only for a genuine token.
	Finding Finding
	// Scope is the token's `scope`: names separated by spaces (RFC 6749
	// section 3.3). It counts only for a genuine token, as do the four below.
	Scope string
	// Roles and Audience are the token's; nil has none.
	Roles, Audience Names
	// ACR and AuthTime say how and when the user authenticated (`acr`,
	// `auth_time`); empty and zero where the token does not.
	ACR      string
	AuthTime time.Time
	// FreshAsOf is the moment up to which the view is proved complete; zero for
	// never. It must have been read before the look-up that gave Finding, or it
	// vouches for entries that the look-up could not see.
	FreshAsOf time.Time
	// Ready says that the view has been caught up at least once, or was loaded
	// from a store that had been.
	Ready bool
	// Skew is how much the local clock is ahead of the broker's; zero while nothing
	// is known of it.
	Skew time.Duration
	// Now is the local time of the decision.
	Now time.Time
}
