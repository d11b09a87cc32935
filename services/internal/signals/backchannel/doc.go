// Package backchannel receives log-outs from identity providers, POST
// /v1/backchannel-logout (OpenID Connect Back-Channel Logout 1.0, errata set 1): a
// provider tells us with a signed token that a session or a user is logged out, and we
// revoke what is out there of it.
//
// Invariants:
//
//   - Only a provider that the operator has declared can log anybody out, and only of
//     itself: what is revoked bears the token's own `iss`.
//   - 200 only once the revocation is durable. What is invalid is 400, what could not be
//     decided 503 with Retry-After; nothing else is ever answered.
//   - A token counts once, on whichever replica and after any restart, for longer than
//     it is valid (ADR-0020).
//   - Nothing of a token is logged or repeated in an answer before its signature is
//     verified, and of its claims nothing but whose it is after that.
package backchannel
