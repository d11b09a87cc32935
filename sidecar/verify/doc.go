// Package verify tells whether an access token may pass: genuine (RFC 9068, by
// the strict reading of RFC 8725), in its time, and not revoked as far as a view
// goes whose age is known and bounded. It answers from memory; nothing leaves
// the process on the way.
//
// It is the one verifier behind every front of the sidecar. A program can have one in
// its own process instead, see [New]; packages httpmw and grpcmw put it before handlers.
//
// Invariants:
//
//   - No error, no claims: claims of a token that does not pass are never given,
//     except in shadow mode those of a genuine token.
//   - The view's age is read before the denylist is, so a decision never claims
//     to be fresher than what it looked at (INV-2).
//   - A token that cannot be judged is refused with [ErrStale], never with an
//     error that would make its holder throw it away.
package verify
