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
//   - Nothing follows from what Badger did not find before every block that it depended
//     on has been proved whole (ADR-0016): Badger by itself takes a block that it cannot
//     read for the end of a table, and leaves out tables whose index it cannot read.
//   - What is found damaged when it is opened is thrown away and begun anew with the zero
//     cursor, which has the caller read the feed from its beginning. What is found
//     later, and a directory that cannot be used, is [denylist.ErrLost] until the caller
//     begins anew.
//   - Badger merges nothing, since it loses what it cannot read or write. Merged tables
//     are written beside, all or none of them count, and the earlier ones stay until
//     nobody reads them.
//   - If writing fails the store is closed, says so to whoever asks, and is opened again
//     by the next Apply.
//   - Nothing here expires by the clock of the machine.
package badgerstore
