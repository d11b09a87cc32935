// Package events is the wire contract of Revocast: everything that an issuer,
// a sidecar and a subscriber have to agree on, and nothing else.
//
// It holds the events themselves (a sealed sum, [Event]), the typed ids they
// are made of, the kinds of revocation, and the envelope each event travels in.
// How they become bytes is package codec; where they travel is packages subject
// and topology; what a token says is package claims.
//
// Invariants:
//
//   - Events are facts in the past tense and carry no behaviour.
//   - A journal event carries the whole state of its entity, so that the last
//     message of a subject is all that a reader needs (INV-7, bounded stores).
//   - A feed event explains itself without headers or subject, because
//     sidecars catch up by direct gets that strip both.
//   - Nothing in an event can be replayed as a credential (INV-6).
package events
