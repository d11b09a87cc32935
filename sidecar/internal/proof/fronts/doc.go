// Package fronts measures what a sidecar's fronts carry: requests a second on one
// core, and how long they wait at half of that, over TCP and Unix sockets. Beside
// each, in the same run, stands a bare server of the same protocol whose answer is a
// constant, which says what share of the cost is the protocol's, and Open Policy
// Agent doing the same check: signature, claims, and a look-up among 100,000 revoked
// ids.
//
// Each server is a process of its own, kept to one core; the client is kept to another. The
// broker feeds the sidecars and is quiet while they are measured. Comparisons are
// ratios within one run; runs take turns and medians are told.
package fronts
