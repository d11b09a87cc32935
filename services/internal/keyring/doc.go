// Package keyring is what the journal says about a realm's keys, and what is to be
// done about them next. It is pure: records in, a [Ring] or a [Step] out. Package
// keeper carries the steps out (ADR-0013).
//
// The life of a key that signs access tokens:
//
//	 KeyAdded, secret sealed          a newer one signs          Until
//	────────▶ Announced ──▶ Signing ──────────────────▶ Retired ───────▶ Gone
//	              │            │ NotBefore                 │
//	              └────────────┴── revoked ──▶ Revoked ◀───┘
//
// A MAC key of refresh tokens is announced, current and retired alike; it is known
// until nobody can have a refresh token of it any more.
//
// Invariants:
//
//   - What is to be done follows from the journal alone, so that any issuer may do
//     it and none has to; broker time is the only clock.
//   - A retired key never signs again, and is accepted for as long as a token lives
//     that any issuer may have signed with it.
//   - Unless everything was revoked, there is always a key that signs.
//   - A key is made when one is due or missing, and then by one issuer: every step
//     names the sequence that it comes after.
package keyring
