package issue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

// Caller is who a valid access token speaks for.
type Caller struct {
	Subject events.Subject
	Session events.SessionID
	Client  events.ClientID
	Claims  claims.Access

	version uint64 // of the user, under which the session was found alive
}

// Authenticate checks an access token at the issuer's own endpoints: signature
// and claims, then everything that the journal says may deny it (INV-9). current
// asks for a read behind a barrier, which whatever changes something uses.
// Errors match [ErrToken] or mean "try again later".
func (s *Service) Authenticate(ctx context.Context, token string, current bool) (Caller, error) {
	c, kid, err := s.keys.Verify(token, s.now())
	if errors.Is(err, events.ErrUnavailable) {
		return Caller{}, err // its key may be one that another issuer has just made
	}
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	k := s.subjectKey(events.Subject(c.Subject))
	r := s.cfg.Realm
	subjects := append(
		s.subjectsOf(r.Session(k, events.SessionID(c.Session)), k, events.ClientID(c.ClientID)),
		r.Cut(events.KindToken, s.keyer.Key(events.KindToken, s.cfg.Issuer, c.ID)),
		r.Cut(events.KindKey, s.keyer.Key(events.KindKey, s.cfg.Issuer, string(kid))),
	)
	var state session.State
	if current {
		state, _, err = s.loadBehindBarrier(ctx, subjects)
	} else {
		// The token says how far a replica must have read to judge it.
		minted, perr := events.ParsePosition(c.MintedAt)
		if perr != nil {
			return Caller{}, fmt.Errorf("%w: %w", ErrToken, perr)
		}
		state, err = s.load(ctx, minted, subjects)
	}
	switch {
	case err != nil:
		return Caller{}, err
	case state.Unreadable:
		return Caller{}, fmt.Errorf("%w: %w", events.ErrUnavailable, session.ErrUnreadable)
	case !state.Exists() || state.Over():
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, session.ErrOver)
	case denied(state, c, kid):
		return Caller{}, fmt.Errorf("%w: revoked", ErrToken)
	}
	return Caller{
		Subject: events.Subject(c.Subject), Session: events.SessionID(c.Session),
		Client: events.ClientID(c.ClientID), Claims: c, version: state.User.Version,
	}, nil
}

// denied judges a token by the revocations that the journal knows of, those that end
// its session among them.
func denied(state session.State, c claims.Access, kid events.KeyID) bool {
	sessionAt, err1 := events.ParsePosition(c.SessionAt)
	mintedAt, err2 := events.ParsePosition(c.MintedAt)
	if err1 != nil || err2 != nil {
		return true // a token of a session says both, or it is none of ours
	}
	f := events.Facts{
		Issuer: events.Issuer(c.Issuer), Token: events.TokenID(c.ID), Session: events.SessionID(c.Session),
		Subject: events.Subject(c.Subject), Client: events.ClientID(c.ClientID), Key: kid,
		SessionAt: sessionAt, MintedAt: mintedAt, AuthTime: c.AuthTime, IssuedAt: c.IssuedAt,
	}
	return slices.ContainsFunc(state.Cuts, func(r events.Revocation) bool { return r.Denies(&f) })
}

// Sessions lists the living sessions of a subject, oldest first.
func (s *Service) Sessions(ctx context.Context, sub events.Subject) ([]session.State, error) {
	return s.living(ctx, events.Position{}, sub)
}

// living lists sessions as a replica at least that far knows them.
func (s *Service) living(ctx context.Context, atLeast events.Position, sub events.Subject) ([]session.State, error) {
	k := s.subjectKey(sub)
	r := s.cfg.Realm
	places := []string{r.Sessions(k), r.User(k), r.Cut(events.KindSubject, k), r.Cut(events.KindAll, s.keyer.Key(events.KindAll, s.cfg.Issuer, ""))}
	if !atLeast.IsZero() {
		places = append(places, r.Barrier()) // an answer that is never empty
	}
	records, err := s.journal.Load(ctx, atLeast, places...)
	if err != nil {
		return nil, err
	}
	shared, err := s.sharedState(ctx, records)
	if err != nil {
		return nil, err
	}
	var living []session.State
	for _, record := range records {
		state := session.Apply(shared, record)
		if state.Exists() && !state.Over() && !state.Expired(s.now()) {
			living = append(living, state)
		}
	}
	return living, nil
}

// sharedState gives what the sessions of one subject have in common: user and cuts,
// those of the clients they belong to included.
func (s *Service) sharedState(ctx context.Context, records []events.Record) (shared session.State, err error) {
	clients := map[string]bool{}
	for _, r := range records {
		state := session.Apply(session.State{}, r)
		if state.Exists() {
			key := s.keyer.Key(events.KindClient, s.cfg.Issuer, string(state.Session.Client))
			clients[s.cfg.Realm.Cut(events.KindClient, key)] = true
			continue
		}
		shared = session.Apply(shared, r)
	}
	shared.Now = time.Time{}
	if len(clients) == 0 {
		return shared, nil
	}
	byClient, err := s.load(ctx, events.Position{}, slices.Collect(maps.Keys(clients)))
	shared.Cuts = append(shared.Cuts, byClient.Cuts...)
	return shared, err
}

// EndOwn ends one session of the caller's. Any other id changes nothing and is no
// error: whether it exists is not the caller's business.
func (s *Service) EndOwn(ctx context.Context, c Caller, sid events.SessionID) error {
	own := s.cfg.Realm.Session(s.subjectKey(c.Subject), sid)
	state, _, err := s.loadBehindBarrier(ctx, []string{own})
	if err != nil || !state.Exists() {
		return err
	}
	_, err = s.end(ctx, own, state, events.ReasonLogout, events.Initiator{Role: "user"})
	return err
}

// EndAll ends every session of the caller's, or every other.
func (s *Service) EndAll(ctx context.Context, c Caller, spareThis bool) error {
	barrier, err := s.barrier(ctx)
	if err != nil {
		return err
	}
	if spareThis {
		// Where nothing is left to end, nothing is announced: every announcement
		// goes to every sidecar.
		if alone, err := s.alone(ctx, barrier, c); alone || err != nil {
			return err
		}
	}
	r := Revocation{
		Kind: events.KindSubject, Target: string(c.Subject),
		Reason: events.ReasonLogoutAll, By: events.Initiator{Role: "user"},
	}
	if spareThis {
		r.Except, r.Reason = c.Session, events.ReasonLogoutOthers
	}
	_, err = s.revokeBehind(ctx, r, barrier)
	return err
}

// alone reports whether nobody has a token of another session of the caller's that is
// accepted anywhere, or could get one. That a session has run out does not mean that
// its last access token has; and a cut that has ended one may be lifted again, unless
// it is the caller's own, made for the same.
func (s *Service) alone(ctx context.Context, barrier events.Position, c Caller) (bool, error) {
	r, k := s.cfg.Realm, s.subjectKey(c.Subject)
	records, err := s.journal.Load(ctx, barrier, r.Sessions(k), r.Cut(events.KindSubject, k), r.Barrier())
	if errors.Is(err, events.ErrTooMany) {
		return false, nil
	}
	now := s.now()
	mine := slices.DeleteFunc(session.Fold(records).Cuts, func(n events.Revocation) bool {
		return n.By.Role != "user" || n.Scope != events.ScopeSessions || n.Except != c.Session
	})
	return err == nil && !slices.ContainsFunc(records, func(record events.Record) bool {
		state := session.Apply(session.State{Cuts: mine}, record)
		n := state.Session
		_, cut := state.CutBy()
		over := state.Expired(now) && now.After(untilAfter(n.AccessExpires))
		return state.Exists() && n.ID != c.Session && n.Ended == nil && !over && !cut
	}), err
}

// RevokeToken is RFC 7009: a refresh token ends its session, an access token
// itself. A token that means nothing here is no error; one that belongs to
// another client is [session.ErrClient].
func (s *Service) RevokeToken(ctx context.Context, token string, client events.ClientID) error {
	by := events.Initiator{Role: "client", Name: string(client)}
	if t, err := refresh.Parse(token); err == nil {
		return s.revokeRefreshToken(ctx, t, client, by)
	}
	c, _, err := s.keys.Verify(token, s.now())
	if errors.Is(err, events.ErrUnavailable) {
		return err
	}
	gone := untilAfter(time.Unix(c.Expires, 0)).Add(events.MaxSkew) // by a clock that may be ahead
	if err != nil && (c.ID == "" || s.now().After(gone)) {
		return nil // not a token that holds anywhere: nothing to revoke (section 2.2)
	}
	if events.ClientID(c.ClientID) != client {
		return session.ErrClient
	}
	_, err = s.Revoke(ctx, Revocation{
		Kind: events.KindToken, Target: c.ID, Reason: events.ReasonClientRequest, By: by, Expires: time.Unix(c.Expires, 0),
	})
	return err
}

func (s *Service) revokeRefreshToken(ctx context.Context, t refresh.Token, client events.ClientID, by events.Initiator) error {
	key, err := s.keys.RefreshKeyByID(t.KeyID())
	if err != nil {
		return err
	}
	if !t.Plausible(key, s.cfg.Realm) {
		return nil
	}
	own := s.cfg.Realm.Session(t.Fields().Subject, t.Fields().Session)
	state, _, err := s.loadBehindBarrier(ctx, []string{own})
	switch {
	case err != nil:
		return err
	case !state.Exists() || !t.Verify(key, s.cfg.Realm, state.Session.Salt):
		return nil
	case state.Session.Client != client:
		return session.ErrClient
	}
	_, err = s.end(ctx, own, state, events.ReasonClientRequest, by)
	return err
}
