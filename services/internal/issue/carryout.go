package issue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// denyThenRecord announces n and records it; its cut is where the command appended
// something already. n lasts as long as it must, whatever its Until says.
func (s *Service) denyThenRecord(ctx context.Context, n events.Revocation, began time.Time) (Revoked, error) {
	n.Until = time.Time{}
	return s.carryOut(ctx, command{Revocation: n, began: began})
}

// carryOut announces a revocation and then adds it to the standing ones of its target.
//
// How long it must last follows from what is read, so it is announced before each
// append again if the announcement would not last long enough for that: a conflict or
// a slow broker leaves no token outliving it.
func (s *Service) carryOut(ctx context.Context, c command) (Revoked, error) {
	measured := s.measured(c.Revocation)
	if measured {
		if err := s.Declare(ctx); err != nil {
			return Revoked{}, err
		}
	}
	var done Revoked
	atLeast := c.Cut
	for range maxAttempts {
		v, err := s.look(ctx, c.Revocation, atLeast, measured)
		if err != nil {
			return Revoked{}, err
		}
		switch standing, err := v.find(c, s.now()); {
		case (err != nil || standing != nil) && atLeast.IsZero():
			// A replica that lags may not know what has become of it since.
			if atLeast, err = s.barrier(ctx); err != nil {
				return Revoked{}, err
			}
			continue
		case err != nil:
			return Revoked{}, err
		case standing != nil:
			return Revoked{Revocation: *standing, FeedSequence: done.FeedSequence}, nil
		}
		if err := s.announce(ctx, &c, v, &done); err != nil {
			return Revoked{}, err
		}
		now := s.now()
		next := v.with(c, now)
		_, err = s.journal.Append(ctx, events.Append{
			Subject: v.subject, Envelope: envelope(now, next), After: v.after, TTL: session.Keep(next.Deadline, now),
		})
		if !errors.Is(err, events.ErrConflict) {
			done.Revocation = c.Revocation
			return done, err
		}
		if atLeast, err = s.barrier(ctx); err != nil {
			return Revoked{}, err
		}
	}
	return Revoked{}, fmt.Errorf("recording revocation %s: %w: %d conflicts", c.ID, events.ErrUnavailable, maxAttempts)
}

// announce denies, unless that was done and lasts long enough.
func (s *Service) announce(ctx context.Context, c *command, v *view, done *Revoked) error {
	now := s.now()
	if done.FeedSequence > 0 {
		least, err := s.lasts(ctx, *c, v, now.Add(appendWithin-underWay))
		if err != nil || !c.Until.Before(least) {
			return err
		}
	}
	until, err := s.lasts(ctx, *c, v, now)
	if err != nil {
		return err
	}
	c.Until, c.asked = until, time.Time{} // which was long enough; from here on there is no refusal
	if done.FeedSequence, err = s.deny(ctx, c.Revocation, now); err == nil {
		failpoint("denied")
	}
	return err
}

// measured reports whether how long n lasts follows from the journal: it denies many
// tokens of ours.
func (s *Service) measured(n events.Revocation) bool {
	return n.Issuer == s.cfg.Issuer && n.Kind.Wide() && n.Kind != events.KindKey
}

// lasts says how long the revocation must last that is announced at a moment: until
// the last token that it denies is accepted nowhere, and at least as long as asked.
func (s *Service) lasts(ctx context.Context, c command, v *view, at time.Time) (time.Time, error) {
	var must time.Time
	switch by := at.Add(underWay + events.MaxSkew); {
	case c.Issuer != s.cfg.Issuer:
		return c.Until, nil
	case c.Kind == events.KindKey:
		must = c.began.Add(keyRevocation) // a stolen key signs any time, place and expiry
	case !c.expires.IsZero():
		must = untilAfter(c.expires)
	case !c.Kind.Wide():
		list := v.lifetimes
		if list == nil {
			var err error
			if list, err = s.recentLifetimes(ctx); err != nil {
				return must, err
			}
		}
		must = untilAfter(lastExpiry(list, time.Time{}, by))
	case c.Kind == events.KindSubject && v.every && len(v.sessions) > 0:
		// Their states know of every token but those about to be minted.
		must = untilAfter(later(v.expires(), lastExpiry(v.lifetimes, at.Add(-2*events.MaxSkew), by)))
	default:
		must = untilAfter(lastExpiry(v.lifetimes, time.Time{}, by))
	}
	if !c.asked.IsZero() && c.asked.Before(must) {
		return must, ErrExpiry
	}
	return later(later(must, c.asked), c.Until), nil
}

// view is what the journal says about the target of a revocation.
type view struct {
	subject  string
	standing events.CutsRecorded
	after    uint64
	// lifetimes is the ledger, if it was asked for.
	lifetimes []events.Lifetime
	// sessions are those of the subject; all of them if every is set.
	sessions []events.Session
	every    bool
	// began is where those sessions began that any revocation here excepts.
	began map[events.SessionID]events.Position
}

// look reads what a revocation must know. measured asks for ledger and sessions too.
func (s *Service) look(ctx context.Context, n events.Revocation, atLeast events.Position, measured bool) (*view, error) {
	r := s.cfg.Realm
	key := s.keyer.Key(n.Kind, n.Issuer, n.Target)
	v := &view{subject: r.Cut(n.Kind, key), began: map[events.SessionID]events.Position{}}
	places := []string{v.subject, r.Barrier()} // of which there is one if atLeast is one
	if measured {
		places = append(places, r.Lifetimes())
	}
	var records []events.Record
	err := events.ErrTooMany
	if measured && n.Kind == events.KindSubject {
		records, err = s.journal.Load(ctx, atLeast, append(slices.Clip(places), r.Sessions(key))...)
		v.every = err == nil
	}
	if errors.Is(err, events.ErrTooMany) {
		records, err = s.journal.Load(ctx, atLeast, places...)
	}
	if err == nil {
		err = v.fold(records, r.Lifetimes())
	}
	if err != nil || v.every || n.Kind != events.KindSubject {
		return v, err
	}
	if excepted := s.excepted(key, v.standing, n); len(excepted) > 0 {
		records, err = s.journal.Load(ctx, atLeast, append(excepted, r.Barrier(), r.Lifetimes())...)
		v.remember(records)
	}
	return v, err
}

// excepted lists the sessions that any of the revocations excepts.
func (s *Service) excepted(key events.SubjectKey, standing events.CutsRecorded, n events.Revocation) (places []string) {
	for _, c := range append(slices.Clip(standing.Cuts), n) {
		if place := s.cfg.Realm.Session(key, c.Except); isID(string(c.Except)) && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return places
}

func (v *view) fold(records []events.Record, ledger string) (err error) {
	for _, r := range records {
		if cuts, ok := r.Envelope.Event.(events.CutsRecorded); ok && r.Subject == v.subject {
			v.standing, v.after = cuts, r.Position.Sequence
		}
	}
	v.lifetimes, err = lifetimesOf(lastOf(records, ledger).Envelope.Event)
	v.remember(records)
	return err
}

func (v *view) remember(records []events.Record) {
	for _, r := range records {
		if state := session.Apply(session.State{}, r); state.Exists() {
			v.sessions = append(v.sessions, state.Session)
			v.began[state.Session.ID] = state.Session.Began
		}
	}
}

// find gives what stands already of what c asks for; nil for nothing.
func (v *view) find(c command, now time.Time) (*events.Revocation, error) {
	if session.Lifted(v.standing, c.ID) {
		return nil, ErrLifted
	}
	for _, n := range v.standing.Cuts {
		// Another issuer's may have been revoked for less than it lives.
		token := c.alike && c.Kind == events.KindToken && !now.After(n.Until) && !n.Until.Before(later(c.asked, c.Until))
		if token || n.ID == c.ID {
			return &n, nil
		}
	}
	if session.Covered(v.standing, c.Revocation, now) {
		return &c.Revocation, nil
	}
	return nil, nil //nolint:nilnil // nothing stands
}

// with gives the record that has c as well.
func (v *view) with(c command, now time.Time) events.CutsRecorded {
	cut := session.Cut{Revocation: c.Revocation, Keep: v.keep(c.Revocation), Began: v.began}
	replaced := now.Add(liftRemembered)
	if c.inPlaceOf != "" && !cut.Keep.IsZero() {
		cut.Keep = later(cut.Keep, replaced)
	}
	next := session.AddCut(v.standing, v.after > 0, cut, now)
	if c.inPlaceOf != "" {
		next.Lifted = append(next.Lifted, events.LiftedRevocation{ID: c.inPlaceOf, Until: replaced})
	}
	return next
}

// expires is the greatest expiry that any of the sessions has given.
func (v *view) expires() (last time.Time) {
	for _, n := range v.sessions {
		last = later(last, n.AccessExpires)
	}
	return last
}

// keep says how long the journal must remember n: a cut of sessions longer than every
// session that existed when it was made, anything else as long as the tokens it
// denies. Zero is for ever.
func (v *view) keep(n events.Revocation) time.Time {
	keep := n.Until
	if session.Named(n.ID) && n.Kind.Wide() {
		keep = keep.Add(session.NamedFor)
	}
	if n.Kind == events.KindKey || !n.Kind.Wide() || n.Scope == events.ScopeAccessTokens || n.Cut.IsZero() {
		return keep
	}
	// Not as long as the deadlines of the sessions that there are: whoever has read
	// before the cut, from a replica that lags, may still append a refresh, which
	// mints nothing and lives on. Of each target there is one record.
	if n.Kind != events.KindSubject || !v.every || len(v.sessions) > 0 {
		return time.Time{}
	}
	return keep.Add(time.Minute)
}
