// Package simulation holds a test: several issuers on one log, under a scheduler
// that lets one call happen at a time, in an order and with faults drawn from a
// seed. After every step it asks whether what was promised still holds.
//
// The issuers are package issue as it is. The log is events/memlog, read through
// replicas that lag; calls are lost before or after they took effect, take effect
// late, conflict for no reason; processes pause and die between any two calls;
// clocks differ; what the feed announced reaches the finisher's work late, twice
// and in any order. Time is the bubble's (testing/synctest).
//
// What is asserted comes from answers that callers were given and from what the
// log accepted, never from package session:
//
//   - INV-1: a revocation that was acknowledged denies on the feed and in the
//     journal from then on, whatever dies.
//   - INV-3: nobody is logged out, and no token denied, for no reason.
//   - INV-4: a generation has one successor, byte for byte.
//   - INV-5: what has ended is never refreshed again, whatever expires.
//   - INV-7: the log lets go of what has expired.
//   - INV-9: the issuers' own endpoints obey.
//
// One seed gives one history. A failure prints the seed and the end of the history;
// see CONTRIBUTING.md for how to run it again, and at full length.
package simulation
