package events

import "time"

// How far verifiers may differ from the issuer's idea of time. An entry of the
// denylist lives this much longer than the last token it can deny, so a verifier
// more lenient than this would accept a token whose entry is forgotten.
const (
	// MaxLeeway is the most that a verifier may add to `exp`.
	MaxLeeway = time.Minute
	// MaxSkew is the most that a clock may differ from the broker's.
	MaxSkew = 2 * time.Second
)
