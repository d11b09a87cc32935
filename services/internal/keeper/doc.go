// Package keeper keeps the keys of an issuer in order. It reads what the journal says
// about them, puts that in force in package signing, announces every key on the feed
// before anything is signed with it, and carries out what package keyring asks for
// next: rotation, retirement, a successor where a key was revoked (ADR-0013).
//
// Every issuer does all of this, and none has to: each write is conditional, so what
// several issuers want to do at once happens once.
//
// Invariants:
//
//   - A key signs here only after its announcement, signed by the realm's root, was
//     acknowledged by the feed or seen on it.
//   - A key whose revocation was heard of, on the feed or in the journal, signs nothing
//     here from then on. Nothing is signed by a reading older than [keyring.MaxAge].
//   - A key id that is not known makes the keeper read the journal, behind a barrier,
//     once a second at most and for everybody who waits. Only after that is it unknown.
//   - No secret reaches the journal unsealed.
package keeper
