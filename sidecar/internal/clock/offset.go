//go:build clockoffset

// Package clock is described in the other file.
package clock

import (
	"os"
	"strings"
	"sync"
	"time"
)

// rereadEvery is how often the file is looked at.
const rereadEvery = 20 * time.Millisecond

// offset is what the clock is off by: the file that REVOCAST_CLOCK_OFFSET_FILE names
// says it, for as long as it can be read, or else REVOCAST_CLOCK_OFFSET.
type offset struct {
	mu   sync.Mutex
	read time.Time
	is   time.Duration
}

var current offset //nolint:gochecknoglobals // a process has one clock; this build is for tests

// Now is a clock that is off, and may jump.
func Now() time.Time {
	now := time.Now()
	current.mu.Lock()
	defer current.mu.Unlock()
	if now.Sub(current.read) >= rereadEvery {
		current.read, current.is = now, configured()
	}
	return now.Add(current.is)
}

func configured() time.Duration {
	text := os.Getenv("REVOCAST_CLOCK_OFFSET")
	if path := os.Getenv("REVOCAST_CLOCK_OFFSET_FILE"); path != "" {
		content, err := os.ReadFile(path) //nolint:gosec // the test names it
		if err != nil {
			return 0
		}
		text = strings.TrimSpace(string(content))
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}
