//go:build !unix

package measure

import "time"

// CPU cannot tell here.
func CPU() (time.Duration, bool) { return 0, false }
