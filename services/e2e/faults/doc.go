// Package faults holds the fault run: real sidecars, a real issuer and a real broker
// under load, in rounds of random faults (processes killed and suspended, the broker
// out of reach, feeds made anew or put back, damaged stores, full disks, clocks that
// jump), and a ledger that judges every single answer.
//
// The ledger knows of each token when its mint was asked for and answered, and of each
// revocation when it was asked for and acknowledged. All clocks but those that a test
// sets wrong are this machine's, so it can hold every answer to what the answer itself
// claims:
//
//   - An answer that claims to be fresh as of a moment must deny whatever was
//     acknowledged before that moment (INV-2); and what a process has once denied it
//     denies until it ends.
//   - Nothing is denied that no revocation names, at any time (INV-3). 503 is for
//     views that are too old by the sidecar's declared policy.
//   - After each round, once a sidecar claims to be fresh, every acknowledged
//     revocation is enforced and everything else passes.
//   - No process panics or ends by itself; readiness tells the truth.
//
// Namespaces and mounts, where the test may make them, are made inside namespaces of its
// own: the machine's interfaces and file systems are not there to be touched, and all of
// it goes when the test's process does.
package faults
