//go:build clockoffset

package app

import (
	"os"
	"time"
)

// now is a clock that is off by what the environment says, so that a test can run
// issuers whose clocks disagree: a fake clock that is preloaded does not reach a Go
// program.
func now() time.Time {
	offset, err := time.ParseDuration(os.Getenv("REVOCAST_CLOCK_OFFSET"))
	if err != nil {
		return time.Now()
	}
	return time.Now().Add(offset)
}
