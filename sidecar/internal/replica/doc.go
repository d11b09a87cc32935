// Package replica decides how a sidecar follows the feed. It is the pure half:
// what happened goes in, what is to be done comes out, and it does nothing itself.
// Package syncer carries the effects out.
//
//	            Connected               a live message continues it
//	Offline ───────────────▶ CatchUp ────────────────────────────▶ Following
//	   ▲                       ▲                                    │    ▲
//	   │ Disconnected          │ silence, a new epoch, a rollback   │    │ filled
//	   └──── from anywhere     └──── from anywhere          a hole  ▼    │
//	                                                            Repair ──┘
//
// Two roads lead here. Live messages say their sequence, and any may be lost;
// batches read from the stream say only where they ended, and what has expired
// is missing from them. So a hole means something only live, a batch counts only
// as a whole, and only both together prove anything: that everything before a
// heartbeat, which arrived live, has been applied.
//
// Invariants:
//
//   - State claims nothing before the caller has said that it was applied (INV-2).
//   - The freshness time advances only by a heartbeat that arrived live, of the
//     epoch being followed, with everything before it applied: never by a batch, a
//     probe or an empty answer, all of which a server cut off from the others
//     gives as well.
//   - Sequences of two epochs are never compared. A new epoch, or one whose
//     heartbeats fall back behind what is applied, is followed from its beginning.
//   - What would allow, and what would deny for good, counts only if signed by the
//     realm's root key; an event that cannot be used is counted and stops nothing.
//   - Memory is bounded: what does not fit is dropped and read again.
package replica
