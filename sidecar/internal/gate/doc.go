// Package gate decides. Given what a token is, whether an entry denies it, how
// fresh the view is that says so, and what the policy asks, it gives the one
// answer behind every front: allow, or deny with the status, error code and
// description of RFC 6750 section 3. It is pure: facts in, decision out.
//
// Facts are weighed in this order, and the first that denies gives the reason:
// the token itself, a revocation known, a look-up that could not be made, a view
// never caught up, a view too old, what the request demands besides: an audience, a
// scope, a role, an authentication (RFC 9470). So a fault of the token and
// a known revocation are 401 however old the view is, while a token that only
// cannot be judged is 503: a client that sees 401 throws its refresh token away.
//
// A clock known to be wrong by more than [events.MaxSkew] judges no token's times,
// so what it takes for expired or premature is 503 as well. One that is behind lets
// nothing through at all: the denylist forgets a token's entry once nobody whose
// clock is right accepts the token. One that is ahead errs to the safe side only.
//
// Invariants:
//
//   - The zero value of every type here denies.
//   - A staler view never turns a denial into an allowance.
//   - Asking for more ([Ask], a stricter [Policy]) never turns a denial into an
//     allowance either.
//   - Only enforcement switched off allows what would be denied, and it says so.
//   - Descriptions are constants, so that no text of a token reaches a header.
package gate
