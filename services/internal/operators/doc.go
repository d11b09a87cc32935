// Package operators knows who may use the admin API: named operators, each with a
// role, a token or a client certificate, and an end. They live in the journal, so
// every issuer of the realm knows the same ones (ADR-0014).
//
// A token is rvo_<key>_<secret>: the keyed hash of the operator's name, by which the
// record is found, and 32 bytes in base64url, half of them random and the other half a
// MAC over all the rest. The fixed beginning is for scanners that look for secrets in
// places where they do not belong.
//
// Invariants:
//
//   - INV-6: a token is kept as its SHA-256 alone and shown once.
//   - Whoever was removed is let in by no replica from then on: an operator is looked
//     up behind a barrier.
//   - A token that this realm never gave is refused by its MAC, without a look into
//     the journal. All others are refused alike, whatever is wrong with them.
//   - No expiry brings an earlier record back: each record replaces those before it.
package operators
