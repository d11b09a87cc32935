package issue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

// Conditions that callers answer differently. They match with errors.Is; all
// others, events.ErrUnavailable among them, mean "try again later".
var (
	// ErrCredentials: no such user, or not this password. Nobody learns which.
	ErrCredentials = errors.New("username or password is wrong")
	// ErrGrant: the refresh token gives nothing. Its text says why, for logs and
	// metrics; clients learn invalid_grant.
	ErrGrant = errors.New("refresh token refused")
	// ErrToken: the access token does not hold.
	ErrToken = errors.New("access token refused")
	// ErrSlowDown: one session is refreshed faster than its history remembers.
	ErrSlowDown = errors.New("refreshed too often")
	// ErrExists: the user is there already.
	ErrExists = errors.New("user exists")
	// ErrNoUser: there is no such user.
	ErrNoUser = errors.New("no such user")
)

const (
	// mintWithin is how old the read before a mint may be.
	mintWithin = 2 * time.Second
	// maxAttempts bounds how often a conflict is decided anew.
	maxAttempts = 32
	// barrierTTL is how long a barrier's record stays readable.
	barrierTTL = time.Minute
)

// Journal is the conditional log (package eventstore, or memlog in tests).
type Journal interface {
	Append(ctx context.Context, a events.Append) (events.Position, error)
	Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error)
}

// Feed is where revocations are announced.
type Feed interface {
	Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error)
}

// Notes is where what changes no state is put on record.
type Notes interface {
	Note(ctx context.Context, subject string, e events.Envelope) error
}

// Passwords hashes and verifies. Verifying against an empty hash takes the same
// time and fails. Outdated says that Hash would now make a hash otherwise.
type Passwords interface {
	Hash(ctx context.Context, password string) (string, error)
	Verify(ctx context.Context, hash, password string) (bool, error)
	Outdated(hash string) bool
}

// Keys signs access tokens, checks them, and knows the refresh tokens' MAC keys. Of a
// token with which nothing is wrong but the time, Verify gives the claims as well as an
// error.
type Keys interface {
	Sign(c claims.Access) (string, error)
	Verify(token string, now time.Time) (claims.Access, events.KeyID, error)
	RefreshKey() refresh.Key
	RefreshKeyByID(id events.KeyID) (refresh.Key, error)
}

// Config is what one realm's issuers have in common.
type Config struct {
	Realm  subject.Realm
	Issuer events.Issuer
	// MaxAccessTTL gives the longest lifetime that any client's access tokens have by
	// the present configuration.
	MaxAccessTTL func() time.Duration
	// ForeignLifetime is for how long another issuer's tokens are revoked where nobody
	// says how long they live; 24 hours if zero.
	ForeignLifetime time.Duration
	// ForeignSession is how long another issuer's session may go on refreshing: as much
	// longer its sessions are revoked where that issuer has not ended them. 720 hours if
	// zero.
	ForeignSession time.Duration
}

// Service carries out the use cases. It holds no state but its dependencies and what
// it has read of the ledger of lifetimes, and is safe for concurrent use.
type Service struct {
	cfg       Config
	journal   Journal
	feed      Feed
	passwords Passwords
	keys      Keys
	keyer     subject.Keyer
	notes     Notes
	noter     Noter
	risk      Risk
	root      Root
	entries   Announced
	survey    Survey
	now       func() time.Time
	lifetimes lifetimes
	turns     turns
}

// Deps are what a Service works with; all are required but Now, Noter and Risk.
type Deps struct {
	Journal Journal
	Feed    Feed
	Notes   Notes
	// Noter takes notes of refusals and the like; nobody does if nil.
	Noter Noter
	// Risk has a say about every refresh; nil for none.
	Risk Risk
	// Now is this issuer's clock, [time.Now] if nil.
	Now       func() time.Time
	Passwords Passwords
	Keys      Keys
	Keyer     subject.Keyer
	// Root, Announced and Survey are needed where something is lifted, listed or
	// estimated.
	Root      Root
	Announced Announced
	Survey    Survey
}

// New puts a Service together.
func New(cfg Config, deps Deps) *Service {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if cfg.ForeignLifetime == 0 {
		cfg.ForeignLifetime = 24 * time.Hour
	}
	if cfg.ForeignSession == 0 {
		cfg.ForeignSession = 720 * time.Hour
	}
	return &Service{
		cfg: cfg, journal: deps.Journal, feed: deps.Feed, notes: deps.Notes,
		passwords: deps.Passwords, keys: deps.Keys, keyer: deps.Keyer, noter: deps.Noter, risk: deps.Risk, now: deps.Now,
		root: deps.Root, entries: deps.Announced, survey: deps.Survey,
	}
}

// Grant is what a login or a refresh gives.
type Grant struct {
	AccessToken string
	// RefreshToken is empty where policy withholds it from a replay.
	RefreshToken string
	ExpiresIn    time.Duration
	Scope        string
	Session      events.SessionID
	// Replayed says that this answer repeats an earlier one; LostResponse, that
	// nobody can have had that one.
	Replayed     bool
	LostResponse bool
	// Kept says that the refresh token is still the one that was sent.
	Kept bool
}

// places of one session and of all that may have ended it.
func (s *Service) subjectsOf(own string, k events.SubjectKey, client events.ClientID) []string {
	r := s.cfg.Realm
	return []string{
		own, r.User(k), r.Cut(events.KindSubject, k), s.clientSubject(client),
		r.Cut(events.KindClient, s.keyer.Key(events.KindClient, s.cfg.Issuer, string(client))),
		r.Cut(events.KindAll, s.keyer.Key(events.KindAll, s.cfg.Issuer, "")),
	}
}

func (s *Service) subjectKey(sub events.Subject) events.SubjectKey {
	return s.keyer.Key(events.KindSubject, s.cfg.Issuer, string(sub))
}

// load folds what one replica, at least as far as an append of this command, knows.
func (s *Service) load(ctx context.Context, atLeast events.Position, subjects []string) (session.State, error) {
	records, err := s.journal.Load(ctx, atLeast, subjects...)
	if err != nil {
		return session.State{}, err
	}
	return session.FoldBehind(atLeast, records), nil
}

// loadBehindBarrier appends a barrier and loads at least as far: what it gives
// was true after the command began, with the broker's time in State.Now.
func (s *Service) loadBehindBarrier(ctx context.Context, subjects []string) (session.State, events.Position, error) {
	barrier, err := s.barrier(ctx)
	if err != nil {
		return session.State{}, events.Position{}, err
	}
	state, err := s.load(ctx, barrier, append(slices.Clip(subjects), s.cfg.Realm.Barrier()))
	return state, barrier, err
}

func (s *Service) barrier(ctx context.Context) (events.Position, error) {
	return s.journal.Append(ctx, events.Append{
		Subject: s.cfg.Realm.Barrier(), Envelope: envelope(s.now(), events.BarrierPassed{}),
		Unguarded: true, TTL: barrierTTL,
	})
}

// mint signs what state says, at position minted. readAt is when the read behind
// it began: a mint follows within two seconds or not at all.
func (s *Service) mint(state session.State, rolesClaim string, grade session.Grade, minted events.Position, readAt time.Time) (string, error) {
	if age := s.now().Sub(readAt); age > mintWithin {
		return "", fmt.Errorf("%w: the read before the mint is %s old", events.ErrUnavailable, age.Round(time.Millisecond))
	}
	if s.outlives(grade.Expires) {
		return "", fmt.Errorf("%w: a token would outlive what is declared", events.ErrUnavailable)
	}
	n := state.Session
	return s.keys.Sign(claims.Access{
		Issuer: string(n.Issuer), Subject: string(n.Subject), Audience: n.Audience, ClientID: string(n.Client),
		Expires: grade.Expires.Unix(), IssuedAt: n.MintedAt.Unix(), ID: newID(), Session: string(n.ID),
		SessionAt: n.Began.String(), MintedAt: minted.String(), Scope: grade.Scope, Roles: state.User.Roles, RolesClaim: rolesClaim,
		AuthTime: n.AuthTime.Unix(), ACR: cmp.Or(grade.ACR, n.ACR), AMR: n.AMR,
	})
}

// refreshToken derives the token of one generation, under that generation's key.
func (s *Service) refreshToken(state session.State, generation uint64) (string, error) {
	n := state.Session
	id, ok := state.KeyOf(generation)
	if !ok {
		id = n.KeyID
	}
	key, err := s.keys.RefreshKeyByID(id)
	if err != nil {
		return "", err
	}
	return refresh.Derive(key, s.cfg.Realm, n.Salt, refresh.Fields{
		Subject: s.subjectKey(n.Subject), Session: n.ID, Generation: generation,
	})
}

func envelope(at time.Time, e events.Event) events.Envelope {
	return events.Envelope{ID: events.EventID(newID()), At: at, Event: e}
}

// newID makes a UUIDv7. The generator fails only if the machine has no
// randomness, and then nothing here may go on.
func newID() string { return uuid.Must(uuid.NewV7()).String() }
