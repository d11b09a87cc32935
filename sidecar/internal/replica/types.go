package replica

import (
	"time"

	"github.com/revocast/revocast/events"
)

// Cursor is how far the feed has been applied. It is stored together with what
// was applied, and a restart goes on from it.
type Cursor struct {
	// Epoch names the life of the stream that Sequence belongs to. Without one
	// the cursor says nothing.
	Epoch events.Epoch
	// Sequence is the last one applied; zero is before the first.
	Sequence uint64
	// FreshAsOf: every entry that the feed held at that time had been applied. It
	// is the earlier of broker and local time; zero if nothing was ever proved.
	FreshAsOf time.Time
}

// Message is one message of the republished feed.
type Message struct {
	// Sequence is the message's own in the stream, never zero.
	Sequence uint64
	// Stored is the broker's timestamp, Arrived the local clock's.
	Stored, Arrived time.Time
	// Elapsed is Arrived by a clock that never jumps, since whenever it began to run.
	Elapsed time.Duration
	// Size is what holding the message costs, in bytes.
	Size int
	// Event is nil if the payload could not be decoded.
	Event events.Event
}

// Batch is a whole answer to a [Fetch]: the stretch of the stream that begins
// where the fetch said. Half a batch is none; see [Machine.Failed].
type Batch struct {
	// ID is the fetch's.
	ID uint64
	// Last is the sequence of the last event, as the server gave it.
	Last uint64
	// Entries are the revocations among the events, as far as the caller sorted them
	// out, Events all others, nil for those that could not be decoded. Both are handed
	// over.
	Entries []events.Revocation
	Events  []events.Event
}

// Effects are what the caller has to do after an input; at most one is set.
type Effects struct {
	// Apply goes into the denylist; then [Machine.Applied] or [Machine.NotApplied]
	// says how that went. Any other input before them counts as NotApplied.
	Apply *Apply
	// Fetch asks for a batch. It replaces one asked for before.
	Fetch *Fetch
	// Load asks for a snapshot. It replaces one asked for before.
	Load *Load
}

// Apply is what has to be taken in, in one step: by the denylist entries, lifts and
// cursor, by the key sets keys. Any of it may have been applied before. The receiver
// owns it.
type Apply struct {
	Entries []events.Revocation
	// Lifts, Keys and Retired carry a valid signature of the realm's root key. Keys
	// are signing keys announced, Retired those withdrawn.
	Lifts   []events.Lift
	Keys    []events.Key
	Retired []events.Key
	// Cursor may lie behind an earlier one, after a new epoch or a rollback.
	Cursor Cursor
	// Begins: from here on everything that the feed holds is given, whatever was before.
	Begins bool
}

// Fetch asks for what the stream holds from a sequence on. It must end with one
// of [Machine.Fetched], [Machine.Nothing] and [Machine.Failed].
type Fetch struct {
	ID   uint64
	From uint64
	// Since, unless zero, makes it begin earlier: with the first message that the
	// broker stored at that time or later, if that one lies before From. A server on
	// which nothing is that young has nothing.
	Since time.Time
	// After is how long to wait first. Many sidecars may wait for the same
	// reason, so the caller waits anything between half of it and all.
	After time.Duration
}

// Phase is where the machine stands. The zero Phase is Offline.
type Phase uint8

// The phases; the package comment shows how they follow each other.
const (
	// Offline: there is no connection.
	Offline Phase = iota
	// CatchUp: it is not known yet that live messages continue what is applied.
	CatchUp
	// Following: live messages are applied as they come.
	Following
	// Repair: live messages wait until a hole before them has been read.
	Repair
)

// String gives the name used in status and metrics.
func (p Phase) String() string {
	switch p {
	case Offline:
		return "offline"
	case CatchUp:
		return "catch-up"
	case Following:
		return "following"
	case Repair:
		return "repair"
	}
	return "unknown"
}

// State is what may be claimed, after everything handed out has been applied.
type State struct {
	Phase Phase
	Cursor
	// Target is the highest sequence known to exist. What lies between the
	// cursor and it has not been applied yet.
	Target uint64
	// CaughtUp: a heartbeat proved this process's view at least once.
	CaughtUp bool
	// Origin is what the broker's clock said when the one of [Message].Elapsed began to
	// run; zero before the first heartbeat. See [State.Skew].
	Origin time.Time
	Counters
}

// Skew is how much a local clock that says now is ahead of the broker's, less than zero
// if it is behind. Elapsed is the same moment by the clock of [Message].Elapsed. It is
// zero before the first heartbeat.
func (s State) Skew(now time.Time, elapsed time.Duration) time.Duration {
	if s.Origin.IsZero() {
		return 0
	}
	return now.Sub(s.Origin.Add(elapsed))
}

// Counters count since the machine was made.
type Counters struct {
	// Resyncs: times the feed was followed from its beginning again. Snapshots: times
	// it was begun with one. Repairs: holes among live messages. Overflows: times the
	// buffer was dropped.
	Resyncs, Snapshots, Repairs, Overflows uint64
	// Duplicates are live messages that had been applied, or were waiting, already.
	Duplicates uint64
	// FailedFetches and FailedApplies are tried again.
	FailedFetches, FailedApplies uint64
	// Malformed, Unknown, Unsigned and Ignored are events without effect: not
	// decodable, of a kind this version lacks, allowing something without the root
	// key's word for it, and of no use to a sidecar. An event read twice counts twice.
	Malformed, Unknown, Unsigned, Ignored uint64
}
