package events

import "time"

// Report is how far one sidecar enforces the feed: everything up to Sequence denies, in
// memory at least, whether or not it is on disk yet. It is no event: nobody keeps it,
// and the next one says everything again (ADR-0017).
type Report struct {
	// Sidecar is its name, which the subject of the report repeats: 1 to 128 letters,
	// digits, '-' and '_'.
	Sidecar string
	// Instance tells one run of it from the next: a random UUID.
	Instance string
	// Replaces is the instance that had this one's store before, and so runs no more;
	// empty if there was none.
	Replaces string
	// Version is that of the program, for people.
	Version string
	State   SidecarState
	// Epoch is which life of the feed Sequence belongs to; empty before the sidecar
	// knows one.
	Epoch    Epoch
	Sequence uint64
	// Lag is how many numbers lie between Sequence and the last that the sidecar knows
	// to exist.
	Lag uint64
	// FreshAsOf is the moment up to which the view is proved complete, in milliseconds;
	// zero for never.
	FreshAsOf time.Time
	// Entries is how many revocations it holds.
	Entries uint64
	// Asked is the highest sequence that an [Ask] named and that is enforced; zero if
	// none. Held is for how long it had been when the report was sent, in microseconds,
	// measured by one clock; never more than was seen.
	Asked uint64
	Held  time.Duration
}

// SidecarState is how a sidecar stands to the feed. The zero SidecarState is none.
type SidecarState uint8

// The states.
const (
	StateUnknown SidecarState = iota
	// StateCatchingUp: it reads what it has missed.
	StateCatchingUp
	// StateFollowing: it applies what comes as it comes.
	StateFollowing
	// StateStale: its view is older than it was told to call fresh.
	StateStale
	// StateSignedOff: it stops in an orderly way, and answers nobody any more.
	StateSignedOff
)

// String gives the name used in the API.
func (s SidecarState) String() string {
	switch s {
	case StateCatchingUp:
		return "catching-up"
	case StateFollowing:
		return "following"
	case StateStale:
		return "stale"
	case StateSignedOff:
		return "signed-off"
	case StateUnknown:
	}
	return "unknown"
}

// Ask is an issuer's request to the whole fleet: report once Sequence is enforced.
type Ask struct {
	// Epoch is which life of the feed Sequence belongs to.
	Epoch Epoch
	// Sequence zero asks for a report in any case, and needs no Epoch.
	Sequence uint64
	// Spread is the time over which the fleet is to spread its reports, in milliseconds
	// and at most [MaxSpread]; each sidecar waits a random part of it.
	Spread time.Duration
}

// MaxSpread bounds what an ask may want reports spread over.
const MaxSpread = time.Minute
