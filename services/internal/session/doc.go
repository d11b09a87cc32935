// Package session is the aggregate: what the journal's records mean for one
// session ([Apply]) and what a command may make of it ([Decide]). It is pure:
// records and a time go in, a fact or a refusal comes out.
//
//	         Start            Refresh (current generation); a sign of theft asks
//	(none) ───────▶ living ──────────────┐   for a credential and changes nothing
//	                  │  ▲ SessionRefreshed
//	                  │  └───────────────┘
//	     Revoke, reuse│
//	                  ▼
//	                ended            a wide cut ends it as well, without a record
//
// Invariants:
//
//   - INV-4: one generation is rotated at most once; its successor is derived,
//     so repeating a refresh gives the same one.
//   - A superseded generation is judged behind the record of its use alone
//     (ADR-0010), and by when it was superseded, whatever policy has done since.
//   - INV-5: nothing follows an end. No event of this package makes a session
//     live that has ended or that a cut has caught.
//   - No message on a subject expires before an older one on it, so expiry never
//     brings an older state back.
//   - What cannot be known from a read that may be stale is not decided by one:
//     [ErrBarrier] asks the caller to read again behind a barrier.
package session
