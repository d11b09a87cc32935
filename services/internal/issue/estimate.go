package issue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// surveyFor bounds how long counting sessions may take.
const surveyFor = 5 * time.Second

// Survey goes through everything that the journal holds, see package eventstore.
type Survey interface {
	Latest(ctx context.Context, subjects ...string) iter.Seq2[events.Record, error]
}

// Estimate is what a revocation would do.
type Estimate struct {
	// Sessions is how many living sessions it would end. Renewing is how many would
	// go on, with a refresh before their access tokens pass again.
	Sessions, Renewing int
	// Complete is false if there may be more: they were too many to count in time,
	// or are another issuer's, whose sessions are not known here.
	Complete bool
	// Until is how long it would be remembered.
	Until time.Time
}

// Estimate says what [Service.Revoke] would do, as one replica knows the journal,
// and writes nothing. Refusals are Revoke's.
func (s *Service) Estimate(ctx context.Context, r Revocation) (Estimate, error) {
	c := s.command(r)
	if c.Issuer != s.cfg.Issuer {
		until, err := s.foreignUntil(c)
		return Estimate{Until: until}, err
	}
	v, err := s.look(ctx, c.Revocation, events.Position{}, true)
	if err != nil {
		return Estimate{}, fmt.Errorf("estimating a revocation: %w", err)
	}
	var n int
	e := Estimate{Complete: true}
	switch c.Kind {
	case events.KindToken, events.KindKey, events.KindUnknown: // sessions outlive both
		e.Until, err = s.lasts(ctx, c, v, c.began)
		return e, err
	case events.KindSession:
		return s.estimateSession(ctx, c, v)
	case events.KindSubject:
		n, err = s.countOf(ctx, events.Subject(c.Target), func(id events.SessionID) bool { return id != c.Except })
		if errors.Is(err, events.ErrTooMany) {
			n, e.Complete, err = s.countMany(ctx, c)
		}
	case events.KindClient, events.KindAll:
		n, e.Complete, err = s.countMany(ctx, c)
	}
	if err != nil {
		return Estimate{}, fmt.Errorf("estimating a revocation: %w", err)
	}
	if c.Scope == events.ScopeAccessTokens {
		e.Renewing = n
	} else {
		e.Sessions = n
	}
	e.Until, err = s.lasts(ctx, c, v, c.began)
	return e, err
}

func (s *Service) estimateSession(ctx context.Context, c command, v *view) (Estimate, error) {
	e := Estimate{Complete: true}
	var state session.State
	var err error
	if isID(c.Target) {
		state, err = s.load(ctx, events.Position{}, []string{s.cfg.Realm.SessionByID(events.SessionID(c.Target))})
	}
	if err != nil || !state.Exists() {
		if err == nil {
			e.Until, err = s.lasts(ctx, c, v, c.began)
		}
		return e, err
	}
	if e.Until, err = s.sessionLasts(c, state); err != nil {
		return e, err
	}
	e.Sessions, err = s.countOf(ctx, state.Session.Subject, func(id events.SessionID) bool { return id == state.Session.ID })
	return e, err
}

// countOf counts those among the living sessions of a subject that are meant.
func (s *Service) countOf(ctx context.Context, sub events.Subject, meant func(events.SessionID) bool) (n int, err error) {
	living, err := s.living(ctx, events.Position{}, sub)
	for _, state := range living {
		if meant(state.Session.ID) {
			n++
		}
	}
	return n, err
}

// countMany goes through every session there is, for as long as it may take: first
// through the revocations that may have ended one, then through the sessions.
func (s *Service) countMany(ctx context.Context, c command) (n int, complete bool, err error) {
	within, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	r := s.cfg.Realm
	every := strings.TrimSuffix(r.Journal(), ">")
	ended := []string{r.Clients()}
	for _, kind := range []events.Kind{events.KindSubject, events.KindClient, events.KindAll} {
		ended = append(ended, r.Cut(kind, "*"))
	}
	cuts := map[target][]events.Revocation{}
	disabled := map[events.ClientID]bool{}
	sessions := every + "session.*.*"
	if c.Kind == events.KindSubject {
		sessions = r.Sessions(s.subjectKey(events.Subject(c.Target)))
	}
	for _, places := range [][]string{ended, {sessions}} {
		for record, err := range s.survey.Latest(within, places...) {
			if err != nil {
				if within.Err() != nil && ctx.Err() == nil {
					return n, false, nil
				}
				return n, false, fmt.Errorf("counting sessions: %w", err)
			}
			switch e := record.Envelope.Event.(type) { //nolint:gochecksumtype // of what was asked for
			case events.CutsRecorded:
				for _, cut := range e.Cuts {
					at := target{cut.Kind, cut.Issuer, cut.Target}
					cuts[at] = append(cuts[at], cut)
				}
			case events.ClientUpdated:
				disabled[e.Client.ID] = e.Client.Disabled
			default:
				if s.lives(record, c, cuts, disabled) {
					n++
				}
			}
		}
	}
	return n, true, nil
}

// target is what a revocation names.
type target struct {
	kind   events.Kind
	issuer events.Issuer
	name   string
}

// lives reports whether a record is of a living session that c names.
func (s *Service) lives(record events.Record, c command, cuts map[target][]events.Revocation, disabled map[events.ClientID]bool) bool {
	state := session.Apply(session.State{}, record)
	n := state.Session
	named := c.Kind == events.KindAll || c.Kind == events.KindClient && string(n.Client) == c.Target ||
		c.Kind == events.KindSubject && string(n.Subject) == c.Target && n.ID != c.Except
	if !state.Exists() || !named {
		return false
	}
	state.Client.Disabled = disabled[n.Client]
	for _, at := range []target{
		{events.KindSubject, n.Issuer, string(n.Subject)}, {events.KindClient, n.Issuer, string(n.Client)}, {events.KindAll, n.Issuer, ""},
	} {
		state.Cuts = append(state.Cuts, cuts[at]...)
	}
	return !state.Over() && !state.Expired(s.now())
}
