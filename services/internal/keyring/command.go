package keyring

import (
	"errors"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// Why an operator's command is refused.
var (
	// ErrNoKey: the journal knows no such key, or none of such an algorithm.
	ErrNoKey = errors.New("no such key")
	// ErrLast: without the key nothing could be signed.
	ErrLast = errors.New("no other key could sign")
	// ErrTooMany: there are [MaxKeys] already that are not gone.
	ErrTooMany = errors.New("too many keys")
	// ErrUnread: the reading is without the broker's time, or holds what this version
	// does not know.
	ErrUnread = errors.New("the keys could not be read")
)

// Rotate decides on a key that an operator wants besides the schedule's: of an
// algorithm, and announced for as long as given before it signs, though not shorter
// than [Propagation].
func Rotate(r Ring, algorithm string, overlap time.Duration) (Make, error) {
	switch {
	case r.Unreadable || r.Now.IsZero():
		return Make{}, ErrUnread
	case len(r.of(algorithm)) == 0:
		return Make{}, ErrNoKey
	case r.standing(algorithm) >= MaxKeys:
		return Make{}, ErrTooMany
	}
	return Make{Algorithm: algorithm, NotBefore: r.Now.Add(max(overlap, Propagation))}, nil
}

// RotateMAC does the same for the keys of refresh tokens.
func RotateMAC(r Ring, overlap time.Duration) (MakeMAC, error) {
	switch {
	case r.Unreadable || r.Now.IsZero():
		return MakeMAC{}, ErrUnread
	case len(r.MACs) == 0:
		return MakeMAC{}, ErrNoKey
	case len(r.MACCandidates()) >= MaxKeys:
		return MakeMAC{}, ErrTooMany
	}
	return MakeMAC{Since: r.Now.Add(max(overlap, Propagation))}, nil
}

// End decides on retiring one signing key before its time. One that is retired
// already gives no step and no error.
func End(r Ring, p Policy, id events.KeyID) (Step, error) {
	if r.Unreadable || r.Now.IsZero() {
		return nil, ErrUnread
	}
	k, ok := r.Key(id)
	switch {
	case !ok:
		return nil, ErrNoKey
	case k.Retired:
		return nil, nil //nolint:nilnil // nothing is left to be done
	}
	left := slices.DeleteFunc(r.Candidates(k.Algorithm), func(c Candidate) bool { return c.ID == id || r.Now.Before(c.From) })
	if len(left) == 0 {
		return nil, ErrLast
	}
	return Retire{k.retired(r.Now.Add(p.outstanding(r)))}, nil
}
