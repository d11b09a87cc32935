package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
)

// Refusals of [Decide]. They match with errors.Is.
var (
	// ErrBarrier: a read that may be stale cannot decide this. Append a barrier,
	// load at least as far with the barrier's record among the subjects, and
	// decide again.
	ErrBarrier = errors.New("needs a read behind a barrier")
	// ErrNotFound: there is no such session (any more).
	ErrNotFound = errors.New("no such session")
	// ErrOver: the session has ended, been cut, expired or its user is disabled.
	ErrOver = errors.New("the session is over")
	// ErrClient: the session belongs to another client.
	ErrClient = errors.New("the session belongs to another client")
	// ErrProof: what must prove who is asking is missing or wrong. It changes
	// nothing, so nobody can log another out by it.
	ErrProof = errors.New("proof of possession missing or wrong")
	// ErrSuperseded is ErrBarrier for an earlier generation: the barrier is the
	// append of what [State.NextReplay] gives, so that its use is on record.
	ErrSuperseded = fmt.Errorf("%w: superseded", ErrBarrier)
	// ErrReplay: this generation was rotated already, moments ago. Answer with
	// the same successor again.
	ErrReplay = errors.New("already refreshed: the same successor again")
	// ErrLostResponse: it was rotated longer ago by a client that has proved who it
	// is, and whose successor nobody ever used. Answer with the same successor again.
	ErrLostResponse = errors.New("already refreshed, and the answer was lost: the same successor again")
	// ErrReplayAccessOnly is ErrReplay for a client that proves nothing, where
	// policy gives it an access token but no refresh token.
	ErrReplayAccessOnly = errors.New("already refreshed: an access token only")
	// ErrReplayRefused is ErrReplay where policy gives nothing.
	ErrReplayRefused = errors.New("already refreshed: refused by policy")
	// ErrReuse: a generation long superseded. Somebody else has it: the session
	// must be revoked.
	ErrReuse = errors.New("refresh token used again")
	// ErrAhead: a generation that was never issued, as after a restored backup.
	ErrAhead = errors.New("generation beyond the current one")
	// ErrTooFast: more rotations inside one grace window than are remembered, or
	// more replays of one generation than anybody needs.
	ErrTooFast = errors.New("refreshed too often")
	// ErrDevice: policy starts no session without a device id.
	ErrDevice = errors.New("a device id is needed")
	// ErrUnreadable: the journal holds an event this version does not know.
	ErrUnreadable = errors.New("written by a newer version")
)

// Proof is what a refresh brings to show who is asking.
type Proof struct {
	// Client is who authenticated, or says it is; Authenticated tells which.
	Client        events.ClientID
	Authenticated bool
	// DeviceSecret is as the client sent it; empty for none.
	DeviceSecret string
}

// Command is what a caller wants done to a session. The set is closed.
//
//sumtype:decl
type Command interface{ command() }

type (
	// Start begins a session for a user whose credential has been verified.
	Start struct {
		// Session holds what the login says: ids, client, scope, audience, salt,
		// key id, device, auth time. Decide fills in the rest.
		Session events.Session
		Policy  Policy
	}
	// Refresh uses a refresh token whose MAC has been verified.
	Refresh struct {
		Generation uint64
		Proof      Proof
		// KeyID is the MAC key of the successor.
		KeyID events.KeyID
		// DeviceID is as the client sent it, Network as in [events.Session]; empty
		// where not known.
		DeviceID string
		Network  string
		Policy   Policy
	}
	// Revoke ends a session.
	Revoke struct{ Ending events.Ending }
)

func (Start) command()   {}
func (Refresh) command() {}
func (Revoke) command()  {}

const (
	// maxRotations is how many superseded generations a session remembers.
	maxRotations = 8
	// MaxReplays bounds how often superseded tokens give an answer while one
	// generation is current.
	MaxReplays = 1000
	// expiryMargin keeps a message beyond its session's end, since every server
	// expires by its own clock.
	expiryMargin = time.Minute
	// expiryStep is how much later than its predecessor a message expires at
	// least: more than two issuers' clocks may differ together.
	expiryStep = 10 * time.Second
)

// Decide says what a command makes of a state: the one event to append, or why
// not. now is the issuer's clock when the command began; windows are judged by
// s.Now. It performs nothing.
func Decide(s State, c Command, now time.Time) (events.Event, error) {
	if s.Unreadable {
		return nil, ErrUnreadable
	}
	switch c := c.(type) {
	case Start:
		return start(s, c, now)
	case Refresh:
		return refresh(s, c, now)
	case Revoke:
		return revoke(s, c)
	}
	return nil, ErrNotFound
}

func start(s State, c Start, now time.Time) (events.Event, error) {
	if s.Exists() {
		return nil, ErrOver
	}
	n := c.Session
	if c.Policy.DeviceIDRequired && n.DeviceID == "" {
		return nil, ErrDevice
	}
	n.Generation, n.Rotations, n.Ended, n.Began, n.ReplayStreak = 0, nil, nil, events.Position{}, 0
	n.IdleLimit = c.Policy.IdleLimit
	if c.Policy.AbsoluteLimit > 0 {
		n.AbsoluteExpires = now.Add(c.Policy.AbsoluteLimit)
	}
	n.MintedAt = now
	n.AccessExpires = now.Add(c.Policy.AccessTTL)
	n.Deadline = deadline(n, now)
	return events.SessionStarted{Session: n}, nil
}

func refresh(s State, c Refresh, now time.Time) (events.Event, error) {
	switch {
	case !s.Exists():
		return nil, behindBarrier(s, ErrNotFound)
	case s.overForGood():
		return nil, ErrOver
	case s.Over():
		return nil, behindBarrier(s, ErrOver)
	case c.Proof.Client != s.Session.Client:
		return nil, ErrClient
	case !proved(s.Session, c.Proof):
		return nil, ErrProof
	case s.Expired(now):
		return nil, behindBarrier(s, ErrOver)
	case c.Generation > s.Session.Generation:
		return nil, behindBarrier(s, ErrAhead)
	case c.Generation < s.Session.Generation:
		return nil, superseded(s, c)
	}
	if sign := signOf(s, c, now); sign != "" {
		return nil, behindBarrier(s, &StepUpError{Sign: sign})
	}
	// The key of a token that stays the same may go out of use.
	keep := c.Policy.NoRotation && c.Proof.Authenticated && s.Session.KeyID == c.KeyID
	n := s.Session
	n.Rotations = rotations(s, c.Policy.Grace, keep)
	if len(n.Rotations) > maxRotations {
		return nil, behindBarrier(s, ErrTooFast)
	}
	if !keep {
		n.Generation++
		n.KeyID = c.KeyID
		n.ReplayStreak = s.nextStreak(c.Proof)
	}
	n.Network = c.Network
	n.MintedAt = now
	n.AccessExpires = later(n.AccessExpires, now.Add(c.Policy.AccessTTL))
	n.IdleLimit = c.Policy.IdleLimit
	n.Deadline = notBefore(s.Session.Deadline, deadline(n, now))
	return events.SessionRefreshed{Session: n}, nil
}

func revoke(s State, c Revoke) (events.Event, error) {
	if !s.Exists() {
		return nil, behindBarrier(s, ErrNotFound)
	}
	if s.Session.Ended != nil {
		return nil, ErrOver
	}
	n := s.Session
	n.Ended = &c.Ending
	n.Rotations = nil
	n.Deadline = notBefore(s.Session.Deadline, s.Session.Deadline)
	return events.SessionRevoked{Session: n}, nil
}

// behindBarrier gives err if the state was read behind a barrier.
func behindBarrier(s State, err error) error {
	if s.Now.IsZero() {
		return ErrBarrier
	}
	return err
}

// proved reports whether the proof that opened the session is there again.
func proved(s events.Session, p Proof) bool {
	if len(s.DeviceSecretHash) == 0 {
		return true
	}
	if p.DeviceSecret == "" {
		return false
	}
	sum := sha256.Sum256([]byte(p.DeviceSecret))
	return subtle.ConstantTimeCompare(sum[:], s.DeviceSecretHash) == 1
}

// Expired judges the idle and absolute limits, in broker time where it is known.
func (s State) Expired(now time.Time) bool {
	if !s.Now.IsZero() {
		now = s.Now
	}
	if a := s.Session.AbsoluteExpires; !a.IsZero() && now.After(a) {
		return true
	}
	return s.Session.IdleLimit > 0 && now.Sub(s.RotatedAt) > s.Session.IdleLimit
}

// rotations lists the superseded generations that may still be replayed: those
// inside the grace window at the latest broker time known, and the one that the
// rotation under way supersedes. Of a generation that stays current, the last one
// before it is kept for as long: the record about to be written says nothing else
// of when that ended.
func rotations(s State, grace time.Duration, keep bool) []events.Rotation {
	now := later(s.Now, s.RotatedAt)
	g := s.Session.Generation
	var kept []events.Rotation
	for _, r := range s.Session.Rotations {
		if now.Sub(r.At) <= grace || keep && r.Generation+1 == g {
			kept = append(kept, r)
		}
	}
	if g > 0 && !s.kept() {
		kept = append(kept, events.Rotation{Generation: g - 1, At: s.RotatedAt, SuccessorKey: s.Session.KeyID})
	}
	return kept
}

// deadline is when the broker may forget a session that is not refreshed again;
// zero for never.
func deadline(s events.Session, now time.Time) time.Time {
	var end time.Time
	if s.IdleLimit > 0 {
		end = now.Add(s.IdleLimit)
	}
	if a := s.AbsoluteExpires; !a.IsZero() && (end.IsZero() || a.Before(end)) {
		end = a
	}
	if end.IsZero() {
		return end
	}
	return later(end, s.AccessExpires).Add(expiryMargin)
}

// notBefore keeps a message at least as long as its predecessor on the subject,
// however policy has changed. Zero is for ever.
func notBefore(predecessor, wanted time.Time) time.Time {
	if predecessor.IsZero() || wanted.IsZero() {
		return time.Time{}
	}
	return later(wanted, predecessor.Add(expiryStep))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Keep is how long the log must keep an event appended at now; zero for ever.
func Keep(deadline, now time.Time) time.Duration {
	if deadline.IsZero() {
		return 0
	}
	return max(deadline.Sub(now), time.Second)
}

// Unchanged reports whether what was appended at p is still the last word on the
// session: nothing came after it and nothing has ended it. The one read between
// append and mint asks this (ADR-0008).
func (s State) Unchanged(p events.Position) bool {
	return !s.Unreadable && s.Exists() && s.Position == p && !s.Over()
}
