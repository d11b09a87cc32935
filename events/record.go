package events

import (
	"errors"
	"time"
)

// Record is an envelope as a log gave it back, with what only the log knows.
type Record struct {
	// Subject is the full NATS subject.
	Subject string
	// Position is the record's place; it orders records whatever clocks say.
	Position Position
	// Time is the broker's timestamp: the one clock by which windows are judged.
	Time     time.Time
	Envelope Envelope
}

// Append is one conditional write to the journal.
type Append struct {
	// Subject is where the event goes, fully written out.
	Subject string
	// Envelope's ID makes the write recognisable when its answer is lost.
	Envelope Envelope
	// After is the sequence of the last message that the writer knows on
	// Subject (or on Guard); zero claims that there is none.
	After uint64
	// Guard, if set, is the wildcard whose last message After speaks about. It
	// orders only writers that use the identical string.
	Guard string
	// Unguarded makes the write unconditional (barriers); After and Guard must
	// then be empty.
	Unguarded bool
	// TTL is how long the log must keep the message, rounded up to seconds;
	// zero keeps it for ever.
	TTL time.Duration
	// Rollup replaces every earlier message of Subject by this one.
	Rollup bool
}

// Conditions every log reports alike. They match with errors.Is.
var (
	// ErrConflict says that another append came first: nothing was written, or
	// what was written has already been followed by something else. Load again
	// and decide anew.
	ErrConflict = errors.New("another append came first")
	// ErrUnavailable says that the log did not answer in time. An append may or
	// may not have happened; repeating it with the same event id is safe.
	ErrUnavailable = errors.New("log unavailable")
	// ErrTooMany says that a load matched more subjects than one answer holds.
	ErrTooMany = errors.New("too many subjects for one load")
)

// MaxLoad is how many subjects one load may answer with: what the server allows
// for one multi_last direct get.
const MaxLoad = 1024

// Entailed is the revocation that follows from a change of a user or a client, cut at
// the change's own position; false if none does.
func Entailed(change Record) (Revocation, bool) {
	var n *Revocation
	switch e := change.Envelope.Event.(type) { //nolint:gochecksumtype // nothing follows from any other
	case PasswordChanged:
		n = e.User.Entails
	case UserUpdated:
		n = e.User.Entails
	case ClientUpdated:
		n = e.Client.Entails
	}
	if n == nil {
		return Revocation{}, false
	}
	follows := *n
	follows.Cut = change.Position
	return follows, true
}
