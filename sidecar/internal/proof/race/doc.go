// Package race proves that an applied revocation is applied: while a slow disk
// writes, while the index grows, entries expire and lifts come, no request that
// begins after the moment of application passes (INV-2), and none is denied before
// it or by another's entry (INV-3).
//
// Its tests do a few hundred rounds in passing and 10,000 with PROOF=full in the
// environment.
package race
