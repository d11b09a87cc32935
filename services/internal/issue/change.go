package issue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// A change of a user or a client is one conditional append. Some entail a revocation of
// everything up to that very append, and then it is written into the change itself, so
// that nobody ever knows of the one without the other (ADR-0015). What is left to do is
// to announce it and to record it among the cuts. Whoever changes does so at once,
// before the caller is answered. If that issuer dies, the finisher does it, and so does
// the next change of the same user before anything else ([Service.Complete]).
//
//	what                      append            entails a revocation of
//	password, by the user     PasswordChanged   sessions but the user's own
//	password, by an operator  PasswordChanged   sessions
//	roles                     UserUpdated       access tokens
//	disable a user            UserUpdated       sessions
//	disable a client          ClientUpdated     sessions
//	enable either             the same          nothing
//
// The append comes first, or logins and refreshes that race the change would be minted
// between a cut and the change that it was made for. Whatever they append before it lies
// below the cut; whatever they append after it, they read it before they mint.
//
// Where an issuer may die, and what is found then:
//
//   - Before the append: nothing happened.
//   - After it: no issuer logs in or refreshes against the change. A user's sessions are
//     over by User.Version, a client's because it is disabled, and tokens with old roles
//     are not minted any more. Sidecars do not know yet. The finisher announces and
//     records; a retry finds the change made, and does the same before it answers.
//   - After the announcement: sidecars deny. The finisher, or a retry, announces once
//     more, since it cannot know that this was done, and records.
//   - After the record: all is done but the answer, and a retry changes nothing.
//
// Enabling waits until what disabling entailed is recorded, so the old sessions stay
// over: a client's by that record, a user's by it and by the version.

// Status says whether a user or a client may be used, and who says so and why.
type Status struct {
	Enabled bool
	// Reason is written into the revocation, and may be empty for the usual one.
	Reason events.Reason
	By     events.Initiator
}

// ChangePassword replaces the caller's password and ends every other session of
// theirs. Errors match [ErrCredentials] for a wrong current password and [ErrToken]
// if the caller's session has ended meanwhile.
func (s *Service) ChangePassword(ctx context.Context, c Caller, current, wanted string) (Revoked, error) {
	r := Revocation{Except: c.Session, Reason: events.ReasonPasswordChange, By: events.Initiator{Role: "user"}}
	return s.setPassword(ctx, c.Subject, wanted, r, func(u events.User) error {
		// The session that is to be spared must live, or sparing it would bring it
		// back: it did under the version that it was found alive under, and does under
		// one that spares it already.
		if u.Disabled || u.Version != c.version && u.Spared != c.Session {
			return ErrToken
		}
		ok, err := s.passwords.Verify(ctx, u.PasswordHash, current)
		if err == nil && !ok {
			return ErrCredentials
		}
		return err
	})
}

// SetPassword replaces any user's password and ends every session of theirs. It
// changes nothing else: whoever was disabled stays so.
func (s *Service) SetPassword(ctx context.Context, sub events.Subject, wanted string, by events.Initiator) (Revoked, error) {
	r := Revocation{Reason: events.ReasonPasswordReset, By: by}
	return s.setPassword(ctx, sub, wanted, r, func(events.User) error { return nil })
}

func (s *Service) setPassword(ctx context.Context, sub events.Subject, wanted string, r Revocation, allowed func(events.User) error) (Revoked, error) {
	hash := ""
	return s.changeUser(ctx, sub, func(u events.User) (_ events.Event, err error) {
		if err := allowed(u); err != nil {
			return nil, err
		}
		if hash == "" {
			if hash, err = s.passwords.Hash(ctx, wanted); err != nil {
				return nil, err
			}
		}
		u.PasswordHash = hash
		u.Version++
		u.Spared = r.Except
		u.Entails = s.entail(events.KindSubject, string(sub), r)
		return events.PasswordChanged{User: u}, nil
	})
}

// SetRoles replaces a user's roles. Sessions go on: access tokens minted before are
// denied, and the next refresh gives one with the new roles.
func (s *Service) SetRoles(ctx context.Context, sub events.Subject, roles []string, by events.Initiator) (events.User, error) {
	var changed events.User
	_, err := s.changeUser(ctx, sub, func(u events.User) (events.Event, error) {
		changed = u
		if slices.Equal(u.Roles, roles) {
			return nil, nil //nolint:nilnil // nothing to append
		}
		changed.Roles = roles
		changed.Entails = s.entail(events.KindSubject, string(sub), Revocation{
			Scope: events.ScopeAccessTokens, Reason: events.ReasonRolesChanged, By: by,
		})
		return events.UserUpdated{User: changed}, nil
	})
	return changed, err
}

// SetStatus disables a user, which ends every session of theirs for good, or enables
// them again.
func (s *Service) SetStatus(ctx context.Context, sub events.Subject, status Status) (events.User, error) {
	var changed events.User
	_, err := s.changeUser(ctx, sub, func(u events.User) (events.Event, error) {
		changed = u
		if u.Disabled == !status.Enabled {
			return nil, nil //nolint:nilnil // nothing to append
		}
		changed.Disabled = !status.Enabled
		if changed.Disabled {
			changed.Version++
			changed.Spared = ""
			changed.Entails = s.entail(events.KindSubject, string(sub), Revocation{
				Reason: cmp.Or(status.Reason, events.ReasonUserDisabled), By: status.By,
			})
		}
		return events.UserUpdated{User: changed}, nil
	})
	return changed, err
}

// entail is the revocation that follows from a change that begins now.
func (s *Service) entail(kind events.Kind, target string, r Revocation) *events.Revocation {
	now := s.now()
	return &events.Revocation{
		ID: events.RevocationID(newID()), Kind: kind, Issuer: s.cfg.Issuer, Target: target, CutTime: now,
		Scope: r.Scope, Except: r.Except, Reason: r.Reason, By: r.By, Until: s.until(now, time.Time{}),
	}
}

// changeUser is change for a user that exists. What decide is given entails nothing.
func (s *Service) changeUser(ctx context.Context, sub events.Subject, decide func(u events.User) (events.Event, error)) (Revoked, error) {
	own := s.cfg.Realm.User(s.subjectKey(sub))
	done, err := s.change(ctx, own, func(last events.Event) (events.Event, error) {
		u, err := userOf(last)
		if err != nil {
			return nil, err
		}
		u.Entails = nil
		return decide(u)
	})
	if err != nil {
		return done, fmt.Errorf("changing user %s: %w", sub, err)
	}
	return done, nil
}

// change appends what decide makes of the last event on own (nil if there is none),
// as read behind a barrier, and does what follows from it. If something else comes
// between, decide is asked again. It appends nothing if decide gives nothing.
func (s *Service) change(ctx context.Context, own string, decide func(last events.Event) (events.Event, error)) (Revoked, error) {
	for range maxAttempts {
		records, err := s.recordsBehindBarrier(ctx, own)
		if err != nil {
			return Revoked{}, err
		}
		last := lastOf(records, own)
		if err := s.Complete(ctx, last); err != nil {
			return Revoked{}, err
		}
		event, err := decide(last.Envelope.Event)
		if event == nil || err != nil {
			return Revoked{}, err
		}
		// From here on it is done or not: a caller that hangs up must not leave the
		// change without what follows from it.
		ctx := context.WithoutCancel(ctx)
		now := s.now()
		changed := events.Record{Subject: own, Envelope: envelope(now, event)}
		changed.Position, err = s.journal.Append(ctx, events.Append{
			Subject: own, Envelope: changed.Envelope, After: last.Position.Sequence,
		})
		if errors.Is(err, events.ErrConflict) {
			continue
		}
		if err != nil {
			return Revoked{}, err
		}
		failpoint("changed")
		n, ok := events.Entailed(changed)
		if !ok {
			return Revoked{}, nil
		}
		return s.denyThenRecord(ctx, n, now)
	}
	return Revoked{}, fmt.Errorf("%w: %d conflicts", events.ErrConflict, maxAttempts)
}

// Complete announces and records what a change of a user or a client entails, if
// that is not recorded yet; change is the change's record. It is idempotent.
func (s *Service) Complete(ctx context.Context, change events.Record) error {
	n, ok := events.Entailed(change)
	if !ok {
		return nil
	}
	if n.Kind == events.KindSubject && s.now().After(n.Until) {
		// No token from before the change is accepted any more, and the user's
		// version keeps the sessions ended. Of a client, the cut alone does.
		return nil
	}
	return s.Record(ctx, n)
}
