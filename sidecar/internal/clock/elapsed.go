package clock

import "time"

var began = time.Now() //nolint:gochecknoglobals // a process has one beginning

// Elapsed is how long this process has been running. Whatever happens to the wall clock,
// it never jumps.
func Elapsed() time.Duration { return time.Since(began) }
