// Package snapshot writes, now and then, what the feed holds into a stream of its own,
// packed and signed by the realm's root (events/snapshot, ADR-0018): sidecars that
// start from nothing begin with it, and a rollout that starts thousands of them costs
// the broker a fraction of what reading the feed would.
//
// Every issuer runs it. Who may write next is decided by a conditional append, the
// claim; the others look again later.
//
// Invariants:
//
//   - A snapshot holds all that the feed held up to its sequence, as its leader knew it,
//     or it is not written: half of one would hide revocations.
//   - The manifest comes last, and only if the chunks lie in the stream without a gap.
//   - Memory is bounded by a few chunks, whatever the size of the feed.
package snapshot
