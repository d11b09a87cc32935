//go:build !clockoffset

// Package clock is the time by which a sidecar judges tokens and its own freshness. A
// build for tests (clockoffset) may set it wrong while the sidecar runs: a fake clock
// that is preloaded does not reach a Go program.
package clock

import "time"

// Now is [time.Now].
func Now() time.Time { return time.Now() }
