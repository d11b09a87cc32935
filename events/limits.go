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
	// ForeignOverrun is what MaxLeeway and MaxSkew come to for another issuer's token. Its
	// lifetime is all that a verifier can bound: `iat` is of a clock that nobody here
	// watches, and may lie as far ahead as the verifier's own reading and its leeway let
	// pass. So it is over a lifetime, twice the leeway and twice the skew after somebody
	// here looked at the clock to revoke it. Of a clock further ahead fresh tokens are
	// refused everywhere.
	ForeignOverrun = 2*MaxLeeway + 2*MaxSkew
)
