//go:build !clockoffset

package app

import "time"

// now is this issuer's clock. A build for tests may set it wrong.
func now() time.Time { return time.Now() }
