package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Refusals of revocations and lifts. They match with errors.Is.
var (
	// ErrExpiry: the expiry asked for comes before that of a token which the
	// revocation denies, or has passed.
	ErrExpiry = errors.New("a revocation would end before what it denies")
	// ErrLifted: a revocation of this id was made and has been lifted.
	ErrLifted = errors.New("revocation was lifted")
	// ErrNoRevocation: no revocation of this id stands.
	ErrNoRevocation = errors.New("no such revocation")
	// ErrEnded: what the revocation has ended cannot be brought back.
	ErrEnded = errors.New("what it ended stays ended")
)

const (
	// keyRevocation is how long a key stays revoked, and how long anything can be:
	// longer than anybody trusts a key.
	keyRevocation = 50 * 365 * 24 * time.Hour
	// appendWithin is how long an append or an announcement is tried.
	appendWithin = 8 * time.Second
	// underWay covers what is minted after a revocation was begun and before it is
	// recorded: by then it has been announced and appended.
	underWay = 2 * appendWithin
)

// Revocation asks that something be denied.
type Revocation struct {
	// ID is for a caller who may have to ask again: a UUID not of version 7, which
	// Revocast itself draws. What stands under it already is not revoked anew. Empty
	// for a revocation that is in any case a new one.
	ID     events.RevocationID
	Kind   events.Kind
	Target string
	// Issuer is whose tokens are meant; empty for this issuer's own. What belongs
	// to another issuer is denied, and has nothing to be recorded in.
	Issuer events.Issuer
	// Scope says what a wide revocation cuts.
	Scope events.Scope
	// CutTime is up to when, by the clock of the other issuer whose sessions or tokens
	// are meant, they are denied; zero for now. Our own are cut by position.
	CutTime time.Time
	Except  events.SessionID
	Reason  events.Reason
	By      events.Initiator
	// Expires is the `exp` of the one token revoked, where it is at hand; zero
	// where it is not known.
	Expires time.Time
	// Until is how long it is to be remembered at least. It can make that longer than
	// it must be and never shorter ([ErrExpiry]), but for other issuers' tokens, of
	// which the caller knows more. Zero leaves it to the issuer.
	Until time.Time
}

// Revoked is a revocation that is durable.
type Revoked struct {
	Revocation events.Revocation
	// FeedSequence is where it stands on the feed: a sidecar that has applied it
	// enforces it. Zero for one that stood already.
	FeedSequence uint64
}

// command is one revocation on its way to the feed and into the journal.
type command struct {
	events.Revocation
	began time.Time
	// expires is the latest expiry of what it denies, where the caller knows.
	expires time.Time
	// asked is how long it is to last at least; zero for no longer than it must.
	asked time.Time
	// ended: the other issuer whose sessions are meant has ended them itself, so that
	// nothing of theirs is refreshed any more.
	ended bool
	// alike: one that stands already and denies the same will do.
	alike bool
	// inPlaceOf is a revocation that this one replaces; empty for none.
	inPlaceOf events.RevocationID
}

// Revoke denies first, then records, and returns when both are durable. What is
// revoked already stays so and is answered alike. Refusals match [ErrExpiry] and
// [ErrLifted].
func (s *Service) Revoke(ctx context.Context, r Revocation) (Revoked, error) {
	return s.revokeBehind(ctx, r, events.Position{})
}

// revokeBehind is Revoke behind a barrier that the command has appended already, if
// it has: what a wide revocation cuts began before it.
func (s *Service) revokeBehind(ctx context.Context, r Revocation, barrier events.Position) (Revoked, error) {
	c := s.command(r)
	switch {
	case c.Issuer != s.cfg.Issuer:
		return s.revokeForeign(ctx, c)
	case c.Kind == events.KindSession:
		return s.revokeSession(ctx, c)
	case c.Kind.Wide() && c.Kind != events.KindKey:
		if barrier.IsZero() {
			var err error
			if barrier, err = s.barrier(ctx); err != nil {
				return Revoked{}, err
			}
		}
		c.Cut = barrier
	}
	return s.carryOut(ctx, c)
}

// command fills in what does not depend on the journal.
func (s *Service) command(r Revocation) command {
	c := command{began: s.now(), expires: r.Expires, asked: r.Until, alike: true, Revocation: events.Revocation{
		ID: r.ID, Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Scope: r.Scope, Except: r.Except,
		Reason: r.Reason, By: r.By,
	}}
	if c.ID == "" {
		c.ID = events.RevocationID(newID())
	}
	if c.Issuer == "" {
		c.Issuer = s.cfg.Issuer
	}
	if c.Kind.Wide() && c.Kind != events.KindKey {
		c.CutTime = c.began
		if c.Issuer != s.cfg.Issuer && !r.CutTime.IsZero() {
			c.CutTime = r.CutTime
		}
	}
	return c
}

// revokeForeign denies what another issuer made. There is nothing to record, but that
// it was done, for a caller who may ask again.
func (s *Service) revokeForeign(ctx context.Context, c command) (_ Revoked, err error) {
	if c.Until, err = s.foreignUntil(c); err != nil {
		return Revoked{}, err
	}
	if session.Named(c.ID) {
		return s.carryOut(ctx, c)
	}
	sequence, err := s.deny(ctx, c.Revocation, c.began)
	return Revoked{Revocation: c.Revocation, FeedSequence: sequence}, err
}

// foreignUntil is how long a revocation of what another issuer made lasts. How long its
// tokens live and its sessions go on, only the caller can know; without a word, the
// realm's bounds count.
func (s *Service) foreignUntil(c command) (time.Time, error) {
	switch {
	case !c.asked.IsZero() && !c.asked.After(c.began):
		return time.Time{}, ErrExpiry
	case !c.asked.IsZero():
		return c.asked, nil
	case c.Kind == events.KindKey:
		return c.began.Add(keyRevocation), nil
	}
	last := later(c.expires, c.began.Add(s.cfg.ForeignLifetime))
	if c.outlastsTokens() {
		// The other issuer has not heard of this, and goes on refreshing.
		last = last.Add(s.cfg.ForeignSession)
	}
	return last.Add(events.ForeignOverrun), nil
}

// outlastsTokens reports whether c denies, by `sid` or `auth_time`, also what another
// issuer gives to the same sessions from now on.
func (c *command) outlastsTokens() bool {
	return !c.ended && (c.Kind == events.KindSession ||
		c.Kind.Wide() && c.Kind != events.KindKey && c.Scope == events.ScopeSessions)
}

// untilAfter is when no verifier accepts any more what expires at last, by whatever
// leeway and clock the protocol allows. It is for our own tokens: those of others are
// dated by clocks of theirs, see [events.ForeignOverrun].
func untilAfter(last time.Time) time.Time { return last.Add(events.MaxLeeway + events.MaxSkew) }

// until is the same for what expires at the given time or could still be minted in a
// command under way, as far as is known without asking.
func (s *Service) until(now, expires time.Time) time.Time {
	last := later(expires, now.Add(s.cfg.MaxAccessTTL()+underWay+events.MaxSkew))
	known := lastExpiry(s.lifetimes.known.Load().entries(), time.Time{}, now.Add(underWay+events.MaxSkew))
	return untilAfter(later(last, known))
}

// deny announces n: from here on every sidecar rejects it. The feed keeps it a little
// longer than its word, since each server expires by its own clock.
func (s *Service) deny(ctx context.Context, n events.Revocation, now time.Time) (uint64, error) {
	e := envelope(now, events.Revoked{Revocation: n})
	return s.feed.Publish(ctx, s.cfg.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, n.Until.Sub(now)+2*events.MaxSkew)
}

// revokeSession ends one session, ours whoever it belongs to. A session that the
// journal does not know is denied all the same: it may have just expired there,
// with its last access token still alive.
func (s *Service) revokeSession(ctx context.Context, c command) (Revoked, error) {
	state, err := s.sessionByID(ctx, c.Target)
	switch {
	case err != nil:
		return Revoked{}, err
	case state.Exists():
		if c.Until, err = s.sessionLasts(c, state); err != nil {
			return Revoked{}, err
		}
		return s.endAs(ctx, s.cfg.Realm.Session(s.subjectKey(state.Session.Subject), state.Session.ID), state, c.Revocation)
	case session.Named(c.ID):
		return s.carryOut(ctx, c)
	}
	if c.Until, err = s.lasts(ctx, c, &view{}, c.began); err != nil {
		return Revoked{}, err
	}
	sequence, err := s.deny(ctx, c.Revocation, c.began)
	return Revoked{Revocation: c.Revocation, FeedSequence: sequence}, err
}

// sessionLasts is how long the revocation of a session that exists lasts.
func (s *Service) sessionLasts(c command, state session.State) (time.Time, error) {
	must := s.until(c.began, state.Session.AccessExpires)
	if !c.asked.IsZero() && c.asked.Before(must) {
		return must, ErrExpiry
	}
	return later(must, c.asked), nil
}

// sessionByID loads a session whose subject is not known. What a replica knows of it
// will do: whoever changes it proves by that that nothing has come since.
func (s *Service) sessionByID(ctx context.Context, id string) (session.State, error) {
	if !isID(id) {
		return session.State{}, nil // no session of ours is called that
	}
	own := []string{s.cfg.Realm.SessionByID(events.SessionID(id))}
	state, err := s.load(ctx, events.Position{}, own)
	if err == nil && !state.Exists() {
		state, _, err = s.loadBehindBarrier(ctx, own)
	}
	return state, err
}

// isID tells ids of ours from what else may stand in a revocation.
func isID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}

// end denies a session that exists and then records its end.
func (s *Service) end(ctx context.Context, own string, state session.State, reason events.Reason, by events.Initiator) (Revoked, error) {
	return s.endAs(ctx, own, state, events.Revocation{ID: events.RevocationID(newID()), Reason: reason, By: by})
}

// endAs is end under n's id, to last until n's Until at least.
func (s *Service) endAs(ctx context.Context, own string, state session.State, n events.Revocation) (Revoked, error) {
	n.Kind, n.Issuer, n.Target = events.KindSession, state.Session.Issuer, string(state.Session.ID)
	if ended := state.Session.Ended; ended != nil {
		n.ID, n.Reason, n.By = ended.RevocationID, ended.Reason, ended.By
		n.Until = s.until(s.now(), state.Session.AccessExpires)
		return Revoked{Revocation: n}, nil // denied before it was recorded
	}
	done := Revoked{}
	ending := events.Ending{RevocationID: n.ID, Reason: n.Reason, By: n.By, At: s.now()}
	err := s.appendEnd(ctx, own, state, ending, func(state session.State) (err error) {
		now := s.now()
		if done.FeedSequence > 0 && !n.Until.Before(s.until(now.Add(appendWithin-underWay), state.Session.AccessExpires)) {
			return nil
		}
		n.Until = later(n.Until, s.until(now, state.Session.AccessExpires))
		if done.FeedSequence, err = s.deny(ctx, n, now); err == nil {
			failpoint("denied")
		}
		return err
	})
	done.Revocation = n
	return done, err
}

// recordEnd appends a session's end, whatever else happens to it meanwhile.
func (s *Service) recordEnd(ctx context.Context, own string, state session.State, ending events.Ending) error {
	return s.appendEnd(ctx, own, state, ending, func(session.State) error { return nil })
}

// appendEnd is recordEnd with what must be done before each append, for the state that
// it comes after.
func (s *Service) appendEnd(ctx context.Context, own string, state session.State, ending events.Ending, before func(session.State) error) error {
	for range maxAttempts {
		event, refusal := session.Decide(state, session.Revoke{Ending: ending}, s.now())
		switch {
		case errors.Is(refusal, session.ErrOver), errors.Is(refusal, session.ErrNotFound):
			return nil
		case refusal == nil:
			revoked, ok := event.(events.SessionRevoked)
			if !ok {
				return fmt.Errorf("ending a session: decided %T", event)
			}
			if err := before(state); err != nil {
				return err
			}
			now := s.now()
			_, err := s.journal.Append(ctx, events.Append{
				Subject: own, Envelope: envelope(now, revoked), After: state.Position.Sequence,
				TTL: session.Keep(revoked.Session.Deadline, now),
			})
			if !errors.Is(err, events.ErrConflict) {
				return err
			}
		case !errors.Is(refusal, session.ErrBarrier):
			return fmt.Errorf("ending a session: %w", refusal)
		}
		var err error
		if state, _, err = s.loadBehindBarrier(ctx, []string{own}); err != nil {
			return err
		}
	}
	return fmt.Errorf("ending a session: %w: %d conflicts", events.ErrUnavailable, maxAttempts)
}
