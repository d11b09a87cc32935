package issue_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// What the simulation of package proof/simulation found, one by one: reads that come
// late, clocks that differ, tokens that have just expired.

// clockedIssuer is one more replica, whose clock the test sets.
func (r *realm) clockedIssuer(t *testing.T) (*issue.Service, *time.Duration) {
	t.Helper()
	ahead := new(time.Duration)
	now := func() time.Time { return time.Now().Add(*ahead) }
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}, MaxSkew: 2 * events.MaxSkew, Now: now})
	conn := r.server.Connect(t, topology.Issuer)
	journal, err2 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err3 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{
			Journal: journal, Feed: feed, Passwords: hasher(t), Keys: keys, Keyer: keys.Keyer(), Root: keys, Announced: feed, Survey: journal,
			Now: now,
		}), ahead
}

// feedDenies asks whoever has read the whole feed.
func (r *realm) feedDenies(t *testing.T, accessToken string) bool {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	feed, err2 := eventstore.NewFeed(r.server.Connect(t, topology.Issuer), eventstest.Realm.FeedStream())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	c, kid, err := keys.Verify(accessToken, time.Now())
	if err != nil && c.ID == "" {
		t.Fatal(err)
	}
	ssq, err1 := events.ParsePosition(c.SessionAt)
	tsq, err2 := events.ParsePosition(c.MintedAt)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	f := events.Facts{
		Issuer: events.Issuer(c.Issuer), Token: events.TokenID(c.ID), Session: events.SessionID(c.Session), Subject: events.Subject(c.Subject),
		Client: events.ClientID(c.ClientID), Key: kid, SessionAt: ssq, MintedAt: tsq, AuthTime: c.AuthTime, IssuedAt: c.IssuedAt,
	}
	lifted, denied := map[events.RevocationID]bool{}, map[events.RevocationID]bool{}
	for entry, err := range feed.Entries(t.Context(), 0, time.Time{}, "") {
		if err != nil {
			t.Fatal(err)
		}
		switch e := entry.Envelope.Event.(type) {
		case events.Lifted:
			root := keys.Root().Public().(ed25519.PublicKey)
			lifted[e.Lift.RevocationID] = codec.VerifyLift(root, eventstest.Realm, e.Lift)
		case events.Revoked:
			denied[e.Revocation.ID] = e.Revocation.Denies(&f) && time.Now().Before(e.Revocation.Until)
		}
	}
	for id, yes := range denied {
		if yes && !lifted[id] {
			return true
		}
	}
	return false
}

// A replay repeats what another issuer's clock said. One that is behind, as far as
// clocks may be, answers all the same.
func TestReplayByASlowerClock(t *testing.T) {
	r := newRealm(t)
	fast, ahead := r.clockedIssuer(t)
	slow, behind := r.clockedIssuer(t)
	*ahead, *behind = events.MaxSkew, -events.MaxSkew
	g := login(t, fast)
	next, err := fast.Refresh(t.Context(), use(g.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	again, err := slow.Refresh(t.Context(), use(g.RefreshToken))
	if err != nil || again.RefreshToken != next.RefreshToken {
		t.Errorf("the replay: %v", err)
	}
	if _, err := slow.Authenticate(t.Context(), next.AccessToken, true); err != nil {
		t.Errorf("a fresh token of the faster clock: %v", err)
	}
}

// Log out everywhere else reaches a session that has run out, as long as its access
// token has not.
func TestLogOutOthersReachesWhatHasRunOut(t *testing.T) {
	r := newRealm(t)
	s, ahead := r.clockedIssuer(t)
	p := policy()
	p.IdleLimit = time.Second
	idle, err := s.Login(t.Context(), issue.Login{Username: alice, Password: word, Client: client, Policy: p, Audience: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	mine := login(t, s)
	*ahead = 2 * time.Second
	me, err := s.Authenticate(t.Context(), mine.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndAll(t.Context(), me, true); err != nil {
		t.Fatal(err)
	}
	if !r.feedDenies(t, idle.AccessToken) {
		t.Error("the token of a session that has run out still passes a sidecar")
	}
	if r.feedDenies(t, mine.AccessToken) {
		t.Error("and mine does not")
	}
}

// A token that has just expired, or is from a little in the future, is revoked: a
// sidecar with leeway, or with another clock, takes it.
func TestRevokeTokensByAnotherClock(t *testing.T) {
	r := newRealm(t)
	s, ahead := r.clockedIssuer(t)
	for name, c := range map[string]struct {
		ahead   time.Duration
		revoked bool
	}{
		"just expired": {5*time.Minute + 30*time.Second, true}, "accepted nowhere": {7 * time.Minute, false}, "from the future": {-time.Minute, true},
	} {
		*ahead = 0
		g := login(t, s)
		*ahead = c.ahead
		if err := s.RevokeToken(t.Context(), g.AccessToken, client); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		*ahead = 0
		if denied := r.feedDenies(t, g.AccessToken); denied != c.revoked {
			t.Errorf("%s: denied is %t", name, denied)
		}
	}
}

// A compaction that is told of a conflict is not done.
func TestCompactIsToldOfConflicts(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	g := login(t, s)
	me, err := s.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndOwn(t.Context(), me, g.Session); err != nil {
		t.Fatal(err)
	}
	refused := false
	f.refuses = func(a events.Append) error {
		if a.Rollup && !refused {
			refused = true
			return events.ErrConflict
		}
		return nil
	}
	n := events.Session{ID: g.Session, Subject: me.Subject}
	if err := s.Compact(t.Context(), n); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a compaction that another came before: %v", err)
	}
	if err := s.Compact(t.Context(), n); err != nil {
		t.Errorf("the next: %v", err)
	}
}

// INV-5: whoever read before a cut may still append a refresh behind it. Nothing is
// minted; and the cut is remembered longer than what was appended.
func TestCutOutlivesALateRefresh(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	g := login(t, s)
	me, err := s.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	cut := false
	f.refuses = func(a events.Append) error {
		if _, ok := a.Envelope.Event.(events.SessionRefreshed); ok && !cut {
			cut = true
			_, err := s.Revoke(context.WithoutCancel(t.Context()), issue.Revocation{
				Kind: events.KindSubject, Target: string(me.Subject), Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"},
			})
			return err
		}
		return nil
	}
	long := use(g.RefreshToken)
	long.Policy.IdleLimit *= 10
	if _, err := s.Refresh(t.Context(), long); !errors.Is(err, session.ErrOver) {
		t.Fatalf("the late refresh: %v", err)
	}
	key := r.keyer(t)(events.KindSubject, string(me.Subject))
	records, err := f.Journal.Load(t.Context(), events.Position{}, eventstest.Realm.Sessions(key), eventstest.Realm.Cut(events.KindSubject, key))
	if err != nil {
		t.Fatal(err)
	}
	var until time.Time
	var recorded *events.CutsRecorded
	for _, record := range records {
		switch e := record.Envelope.Event.(type) {
		case events.CutsRecorded:
			recorded = &e
		case events.SessionRefreshed:
			until = e.Session.Deadline
		}
	}
	if recorded == nil || until.IsZero() {
		t.Fatalf("%d records, and not those of the story", len(records))
	}
	if d := recorded.Deadline; !d.IsZero() && d.Before(until) {
		t.Errorf("the cut is forgotten at %s, the session at %s", d, until)
	}
}

// lagging makes a replica of one that knows of a user's cut and not of its lift.
func (r *realm) lagging(t *testing.T, f *faulty, sub events.Subject, lift func()) {
	t.Helper()
	key := r.keyer(t)(events.KindSubject, string(sub))
	before, err := f.Journal.Load(t.Context(), events.Position{}, eventstest.Realm.Cut(events.KindSubject, key))
	if err != nil || len(before) != 1 {
		t.Fatal(before, err)
	}
	lift()
	rest, err := f.Journal.Load(t.Context(), events.Position{}, eventstest.Realm.Sessions(key), eventstest.Realm.User(key))
	if err != nil {
		t.Fatal(err)
	}
	f.answers = func(atLeast events.Position) []events.Record {
		if atLeast.IsZero() {
			return append(rest, before...)
		}
		return nil
	}
}

// cutAndLift revokes a user by an operator, and gives what takes that back.
func cutAndLift(t *testing.T, s *issue.Service, sub events.Subject) (lift func()) {
	t.Helper()
	done, err := s.Revoke(t.Context(), issue.Revocation{
		Kind: events.KindSubject, Target: string(sub), Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := s.Lift(t.Context(), done.Revocation.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// INV-3: after a lift nobody is logged out by a replica that has not heard of it.
func TestALaggingReplicaForgivesWhatWasLifted(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	g := login(t, s)
	me, err := s.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	lift := cutAndLift(t, s, me.Subject)
	if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Fatalf("under the cut: %v", err)
	}
	r.lagging(t, f, me.Subject, lift)
	if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
		t.Errorf("after the lift: %v", err)
	}
}

// R11: nor does a login take the place of a session that such a replica calls over.
func TestALaggingReplicaCountsWhatWasLifted(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	p := policy()
	p.MaxSessions, p.OnLimit = 1, session.EvictOldest
	l := issue.Login{Username: alice, Password: word, Client: client, Policy: p, Audience: []string{audience}}
	first, err := s.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	me, err := s.Authenticate(t.Context(), first.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	r.lagging(t, f, me.Subject, cutAndLift(t, s, me.Subject))
	second, err := s.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	f.answers = nil
	living, err := s.Sessions(t.Context(), me.Subject)
	if err != nil || len(living) != 1 || living[0].Session.ID != second.Session {
		t.Errorf("%d sessions live, %v", len(living), err)
	}
}
