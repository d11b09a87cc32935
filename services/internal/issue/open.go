package issue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

const (
	// openAttempts bounds how often a login makes room anew when others of the same
	// user come first.
	openAttempts = 64
	// openPause is the longest that one waits in between, at random, so that they do
	// not meet again. It is reached after openSlower attempts.
	openPause  = 256 * time.Millisecond
	openSlower = 5
)

// opening is one login under way, its password verified.
type opening struct {
	session events.Session
	policy  session.Policy
	began   time.Time
	address netip.Addr
	// token and key are those that name session.Replaces, if it is set.
	token refresh.Token
	key   refresh.Key
}

// open makes room for the session and starts it.
//
// The device limit holds because of one conditional append: every login of a user
// expects the same last message among all of the user's sessions, so of two that
// found room only the first gets it. The guard orders logins alone (ADR-0002); what
// else writes there makes a login look again, and no more. Nobody is ended or refused
// on a read that may be stale.
//
// What must end does so before the session starts, the one that it takes over
// included: an issuer that dies in between leaves a user who has to log in, as a
// step-up wanted anyway, and never a suspected session beside its successor, or one
// session too many.
func (s *Service) open(ctx context.Context, o opening) (Grant, error) {
	done, err := s.turns.take(ctx, s.subjectKey(o.session.Subject))
	if err != nil {
		return Grant{}, err
	}
	defer done()
	behind := false // a barrier
	for attempt := range openAttempts {
		found, err := s.standing(ctx, o, behind)
		if err != nil {
			return Grant{}, err
		}
		leaving, err := session.MakeRoom(found.sessions, o.session, o.policy, s.now())
		if err == nil && !s.replaces(o, found) {
			err = ErrTakeOver
		}
		// A session that a cut has ended takes no room, but the cut may have been lifted.
		unsure := o.policy.MaxSessions > 0 && slices.ContainsFunc(found.sessions, session.State.MayReturn)
		if !behind && (err != nil || len(leaving) > 0 || unsure) {
			behind = true
			continue
		}
		if errors.Is(err, session.ErrLimit) {
			s.noteNoRoom(o)
		}
		if err != nil {
			return Grant{}, err
		}
		if len(leaving) > 0 {
			if err := s.makeLeave(ctx, o, leaving); err != nil {
				return Grant{}, err
			}
			continue
		}
		own, position, err := s.start(ctx, &o, found)
		if err == nil {
			return s.admit(ctx, o, own, position)
		}
		if !errors.Is(err, events.ErrConflict) {
			return Grant{}, err
		}
		behind = true
		// Should that append have happened after all, and its session have ended,
		// nothing may follow the end.
		o.session.ID = events.SessionID(newID())
		if err := pause(ctx, rand.N(openPause>>max(0, openSlower-attempt))); err != nil { //nolint:gosec // spreads load, hides nothing
			return Grant{}, err
		}
	}
	return Grant{}, fmt.Errorf("starting session %s: %w: %d conflicts", o.session.ID, events.ErrUnavailable, openAttempts)
}

func (s *Service) noteNoRoom(o opening) {
	n := o.session
	n.ID = "" // there is none
	s.note(events.ActionSessionRefused, events.Initiator{Role: "policy"}, n, n.DeviceID, o.address, fmt.Sprintf("at most %d", o.policy.MaxSessions))
}

// standing is what the journal says before a session is started.
type standing struct {
	// sessions are the user's, of whatever client and in whatever state; all of them
	// unless partly is set, which then are too many for one answer.
	sessions []session.State
	partly   bool
	// last is the greatest sequence among them, zero for none.
	last uint64
}

func (s *Service) standing(ctx context.Context, o opening, behind bool) (standing, error) {
	k := s.subjectKey(o.session.Subject)
	all := s.cfg.Realm.Sessions(k)
	records, err := s.records(ctx, behind, s.subjectsOf(all, k, o.session.Client))
	partly := errors.Is(err, events.ErrTooMany) && o.policy.MaxSessions <= 0
	if partly {
		one := s.cfg.Realm.Session(k, cmp.Or(o.session.Replaces, o.session.ID))
		records, err = s.records(ctx, behind, s.subjectsOf(one, k, o.session.Client))
	}
	if err != nil {
		return standing{}, err
	}
	var shared session.State
	own := records[:0]
	for _, r := range records {
		if strings.HasPrefix(r.Subject, strings.TrimSuffix(all, "*")) {
			own = append(own, r)
			continue
		}
		shared = session.Apply(shared, r)
	}
	found := standing{partly: partly}
	unreadable := shared.Unreadable
	for _, r := range own {
		state := session.Apply(shared, r)
		unreadable = unreadable || state.Unreadable
		found.sessions = append(found.sessions, state)
		found.last = max(found.last, r.Position.Sequence)
	}
	if unreadable {
		return standing{}, fmt.Errorf("%w: %w", events.ErrUnavailable, session.ErrUnreadable)
	}
	return found, nil
}

// records loads what one replica knows, or what was true after the command began.
func (s *Service) records(ctx context.Context, behind bool, subjects []string) ([]events.Record, error) {
	var barrier events.Position
	if behind {
		var err error
		if barrier, err = s.barrier(ctx); err != nil {
			return nil, err
		}
		subjects = append(slices.Clip(subjects), s.cfg.Realm.Barrier())
	}
	return s.journal.Load(ctx, barrier, subjects...)
}

// replaces reports whether the session that a login takes over is there to be taken:
// the token that names it is one of its own, and it is of the same client.
func (s *Service) replaces(o opening, found standing) bool {
	return o.session.Replaces == "" || slices.ContainsFunc(found.sessions, func(state session.State) bool {
		n := state.Session
		return n.ID == o.session.Replaces && n.Client == o.session.Client && o.token.Verify(o.key, s.cfg.Realm, n.Salt)
	})
}

// makeLeave ends what a login has no room for, oldest first.
func (s *Service) makeLeave(ctx context.Context, o opening, leaving []session.State) error {
	for _, state := range leaving {
		reason, by := events.ReasonSessionLimit, events.Initiator{Role: "policy"}
		if state.Session.ID == o.session.Replaces {
			reason, by = events.ReasonStepUp, events.Initiator{Role: "user"}
		}
		own := s.cfg.Realm.Session(s.subjectKey(state.Session.Subject), state.Session.ID)
		if _, err := s.end(ctx, own, state, reason, by); err != nil {
			return err
		}
	}
	return nil
}

// start appends the session where nothing has happened to the user's sessions since
// they were found. Where they are too many to be found, there is no limit either, and
// the session's own subject is guard enough.
func (s *Service) start(ctx context.Context, o *opening, found standing) (own string, at events.Position, err error) {
	o.session.NewDevice = !found.partly && session.NewDevice(found.sessions, o.session.DeviceID)
	event, err := session.Decide(session.State{}, session.Start{Session: o.session, Policy: o.policy}, o.began)
	if err != nil {
		return "", at, err
	}
	started, ok := event.(events.SessionStarted)
	if !ok {
		return "", at, fmt.Errorf("starting session %s: decided %T", o.session.ID, event)
	}
	k := s.subjectKey(o.session.Subject)
	a := events.Append{
		Subject: s.cfg.Realm.Session(k, o.session.ID), Envelope: envelope(o.began, started),
		TTL: session.Keep(started.Session.Deadline, o.began),
	}
	if !found.partly {
		a.Guard, a.After = s.cfg.Realm.Sessions(k), found.last
	}
	at, err = s.journal.Append(ctx, a)
	return a.Subject, at, err
}

// pause waits, or says that the caller will not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", events.ErrUnavailable, ctx.Err())
	case <-t.C:
		return nil
	}
}
