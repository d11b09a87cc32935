// Package badgerstore keeps the denylist on disk, in Badger.
//
// A key holds everything that decides (kind, issuer, target, revocation id, expiry
// and cut), a value only what informs (reason and initiator). So an entry that comes
// again is the same key, one that comes with another cut or expiry is another key
// beside it, and nothing has to be read before it is written.
//
// Invariants:
//
//   - Entries, lifts and the cursor of a batch are in one transaction, or in several
//     of which the last has the cursor: it never runs ahead of the entries.
//   - That holds through a power cut too. Badger syncs nothing by itself, so beside
//     the cursor lies an older one of which all entries have been synced; it counts
//     if the machine has been restarted since.
//   - What is not whole when it is opened is thrown away and begun anew with the
//     zero cursor, which has the caller read the feed from its beginning. Badger by
//     itself ignores damaged tables.
//   - A store that has once been opened is never emptied. If writing fails it is
//     closed, says so to whoever asks, and is opened again by the next Apply.
//   - Nothing here expires by the clock of the machine.
package badgerstore
