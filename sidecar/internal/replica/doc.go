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
// Where a stretch begins is decided by time as well as by number. A broker that was
// put back to an older copy of itself has the same epoch and gives the same numbers
// again, so after every doubt (a connection, a silence, a hole) reading begins with
// what the broker stored since the freshness time, and live messages wait until it has
// reached beyond the cursor. Who starts from nothing may begin with a snapshot
// instead (ADR-0018).
//
// Invariants:
//
//   - State claims nothing before the caller has said that it was applied (INV-2).
//   - The freshness time advances only by a heartbeat that arrived live, of the
//     epoch being followed, with everything before it applied: never by a batch, a
//     probe or an empty answer, all of which a server cut off from the others
//     gives as well.
//   - A snapshot proves nothing, and the cursor does not move before the feed was read
//     on from it.
//   - Sequences of two epochs are never compared. A new epoch, or one whose
//     messages fall back behind what is applied, is followed from its beginning.
//   - What would allow, and what would deny for good, counts only if signed by the
//     realm's root key; an event that cannot be used is counted and stops nothing.
//   - Memory is bounded: what does not fit is dropped and read again.
package replica
