// Package audit answers what happened, and whether a token would have passed at some
// moment, from what the AUDIT stream remembers (ADR-0014).
//
// AUDIT's times are the broker's: of a note, when it was made; of everything else, when
// AUDIT took it over from JOURNAL or FEED, which is never earlier and mostly some
// milliseconds later.
//
// Invariants:
//
//   - INV-6: an [Entry] is made of named members alone. No salt, hash, MAC, key or
//     signature has one.
//   - A verdict is given only if all is known that it rests on: otherwise the answer
//     says that it is not decided, and why.
//   - A lift counts only with the realm root's signature, as it does for verifiers.
//   - Reading is bounded in time and in what it gives; whoever wants more goes on
//     behind the last cursor.
package audit
