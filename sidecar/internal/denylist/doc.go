// Package denylist says of a token whether a revocation denies it, from memory and
// without leaving the pod (ADR-0005, ADR-0006).
//
// Narrow entries, which name one token or session, are fingerprints in the
// [Index]; a hit is confirmed exactly, first in the queue of what is not on disk
// yet, then in the [Store]. Wide entries, which name a subject, a client, a key or
// everyone, are whole in memory, so that whoever logged in again after a cut costs
// no disk read. The store behind them keeps what a restart needs.
//
//	Apply ──▶ wide table ──┐
//	   │                   ├──▶ index ──▶ Lookup
//	   └────▶ queue ───────┘      ▲
//	            │ Run             │ Run, once
//	            ▼                 │
//	          Store ──────────────┘
//
// Invariants:
//
//   - What Apply has returned for denies from then on, wherever the disk is (INV-2).
//     An entry leaves the queue only after the store has it.
//   - Nothing is denied that no entry denies exactly (INV-3): the index decides
//     nothing, it only spares the question.
//   - A token is denied if any entry of any level denies it; no level and no entry
//     masks another.
//   - Entries are a set. One that comes again changes nothing; one that comes with the
//     same revocation id and another cut or expiry stands beside the first, so that
//     it can add to what is denied and never take away. A lift removes them together.
//   - An entry stops denying when the time given to Lookup is past its Until, and is
//     forgotten when the time given to Expire is. The package reads no clock for
//     either.
//   - A store that fails, or is closed, never turns a denial into a pass: what it
//     alone could answer becomes an error (INV-2).
//   - The cursor on disk never runs ahead of the entries on disk.
//   - A store that has lost what it held is begun anew and filled from the feed's
//     beginning (ADR-0016). Until all of that has been proved to have come, a miss on
//     disk proves nothing, and no cursor on disk says how fresh it is.
package denylist
