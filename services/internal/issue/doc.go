// Package issue holds the issuer's use cases: log in, refresh, revoke, list,
// change users and clients, and ask whether a token still holds.
//
// Each is the same straight line: load, decide (package session), append one
// event under an expectation, read again, mint. A revocation announces on the
// feed first and records in the journal second (ADR-0003); a change comes before
// both and carries the revocation that it entails (ADR-0015).
//
// Invariants:
//
//   - INV-1: a revocation is acknowledged only once it is durable on the feed
//     and in the journal.
//   - INV-4, INV-5: what session.Decide promises, kept under concurrency by
//     conditional appends: a conflict is read again and decided anew.
//   - ADR-0008: nothing is minted but after a read at least as far as an append
//     of the same command, and within two seconds of that read.
//   - INV-9: the issuer's own endpoints ask Authenticate, which obeys every
//     revocation recorded.
package issue
