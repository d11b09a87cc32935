// Package fsck compares what a sidecar has on disk with what the feed holds.
//
// Both sides may be ten million entries, and a sidecar has better uses for memory. So
// they are not held against each other one by one: each side adds a keyed hash of every
// entry to one of a million sums, with the other's sign. Sums that come out at zero
// agree. Only entries that fall into the others are read again, as many at a time as
// there is room for, and only of those is anything said by name, after a last look at
// the store itself.
//
// What the feed holds up to the store's cursor must be in the store, unless it was
// lifted or is over. What only the store holds is no fault: it denies until it expires,
// also if the feed it came from is gone.
//
// Invariants:
//
//   - Nothing is written, on either side.
//   - Memory is bounded, however much the sides differ.
//   - A sidecar that goes on working meanwhile causes no fault.
package fsck
