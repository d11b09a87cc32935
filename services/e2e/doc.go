// Package e2e holds the tests that run the real binaries as processes: the
// promises of docs/invariants.md, watched from outside, through kill -9.
package e2e
