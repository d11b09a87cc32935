package issue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// faulty is the real journal and the real feed, between which things go wrong. What
// is nil goes right.
type faulty struct {
	*eventstore.Journal
	*eventstore.Feed

	// refuses may keep an append from happening.
	refuses func(a events.Append) error
	// appended is called when an append has succeeded.
	appended func(a events.Append)
	// loads may answer a load before the journal does.
	loads func(atLeast events.Position) bool
	// answers may give a load something else than the journal does.
	answers func(atLeast events.Position) []events.Record
	// publishes may refuse an announcement.
	publishes func() error
}

func (f *faulty) Append(ctx context.Context, a events.Append) (events.Position, error) {
	if f.refuses != nil {
		if err := f.refuses(a); err != nil {
			return events.Position{}, err
		}
	}
	p, err := f.Journal.Append(ctx, a)
	if err == nil && f.appended != nil {
		f.appended(a)
	}
	return p, err
}

func (f *faulty) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	if f.loads != nil && f.loads(atLeast) {
		return nil, nil
	}
	if f.answers != nil {
		if records := f.answers(atLeast); records != nil {
			return records, nil
		}
	}
	return f.Journal.Load(ctx, atLeast, subjects...)
}

func (f *faulty) Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error) {
	if f.publishes != nil {
		if err := f.publishes(); err != nil {
			return 0, err
		}
	}
	return f.Feed.Publish(ctx, subject, e, ttl)
}

// faultyIssuer is one more replica, whose faults the test sets.
func (r *realm) faultyIssuer(t *testing.T) (*issue.Service, *faulty) {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	conn := r.server.Connect(t, topology.Issuer)
	journal, err2 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err3 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	f := &faulty{Journal: journal, Feed: feed}
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: f, Feed: f, Passwords: hasher(t), Keys: keys, Keyer: keys.Keyer(), Root: keys, Announced: feed, Survey: journal}), f
}

func (r *realm) keyer(t *testing.T) func(events.Kind, string) events.SubjectKey {
	t.Helper()
	keys, err := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	return func(kind events.Kind, id string) events.SubjectKey { return keys.Keyer().Key(kind, issuer, id) }
}

func freshID() string { return uuid.Must(uuid.NewV7()).String() }

// A client that hangs up, or an issuer that dies, right after the new password is
// stored must not leave the old password's sessions alive: whoever changes a password
// does it because of them.
func TestPasswordChangeIsAllOrNothing(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	thief, mine := login(t, s), login(t, s)
	me, err := s.Authenticate(t.Context(), mine.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	f.appended = func(a events.Append) {
		if _, ok := a.Envelope.Event.(events.PasswordChanged); ok {
			hangUp()
		}
	}
	_, changed := s.ChangePassword(ctx, me, word, "looking-glass")
	f.appended = nil
	_, old := s.Login(t.Context(), issue.Login{Username: alice, Password: word, Client: client, Policy: policy(), Audience: []string{audience}})
	if old == nil {
		t.Fatal("the password was not changed")
	}
	if _, err := s.Refresh(t.Context(), use(thief.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Errorf("the password was changed (%v), and a session of the old one refreshes: %v", changed, err)
	}
	if _, err := s.Refresh(t.Context(), use(mine.RefreshToken)); err != nil {
		t.Errorf("the changer's own session: %v", err)
	}
}

// An operator's entry may name anything. What is no session's id ends no session, and
// is dealt with at once: whoever waits for it holds up all that comes after.
func TestRecordTakesIdsAsTheyAre(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	g := login(t, s)
	for _, target := range []string{"*", ">", "*.*", "a b", ".", "a..b", " ", string(g.Session) + ".>", string(g.Session)[:35] + "*", "ü"} {
		n := events.Revocation{
			ID: events.RevocationID(freshID()), Kind: events.KindSession, Issuer: issuer, Target: target,
			Reason: "stolen", By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := s.Record(ctx, n); err != nil {
			t.Errorf("%q: %v", target, err)
		}
		cancel()
	}
	if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
		t.Errorf("a session that nobody named: %v", err)
	}
}

// A revocation recorded late is announced again even if the first try fails: tokens
// minted until it was recorded must not outlive it.
func TestLateRecordsAreAnnounced(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	g := login(t, s)
	n := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindSession, Issuer: issuer, Target: string(g.Session),
		Reason: "stolen", By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(-time.Second),
	}
	announced, down := 0, true
	f.publishes = func() error {
		if down {
			return events.ErrUnavailable
		}
		announced++
		return nil
	}
	if err := s.Record(t.Context(), n); !errors.Is(err, events.ErrUnavailable) {
		t.Fatalf("without a feed: %v", err)
	}
	down = false
	if err := s.Record(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if announced == 0 {
		t.Error("the feed never heard of it")
	}
}

// However often somebody logs out everywhere else, it works: an application for one
// device at a time does that at every login.
func TestLogOutOthersNeverWearsOut(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	me, err := s.Authenticate(t.Context(), login(t, s).AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	barrier, err := f.Append(t.Context(), events.Append{
		Subject:  eventstest.Realm.Barrier(),
		Envelope: events.Envelope{ID: events.EventID(freshID()), At: time.Now(), Event: events.BarrierPassed{}}, Unguarded: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	// As 511 log-outs have left it, each from a session of its own.
	var standing events.CutsRecorded
	for n := range uint64(511) {
		standing.Cuts = append(standing.Cuts, events.Revocation{
			ID: events.RevocationID(freshID()), Kind: events.KindSubject, Issuer: issuer, Target: string(me.Subject),
			Cut: events.Position{Sequence: barrier.Sequence - 511 + n}, CutTime: time.Now(), Except: events.SessionID(freshID()),
			Reason: events.ReasonLogoutOthers, By: events.Initiator{Role: "user"}, Until: time.Now().Add(time.Minute),
		})
	}
	if _, err := f.Append(t.Context(), events.Append{
		Subject:  eventstest.Realm.Cut(events.KindSubject, r.keyer(t)(events.KindSubject, string(me.Subject))),
		Envelope: events.Envelope{ID: events.EventID(freshID()), At: time.Now(), Event: standing},
	}); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		old, fresh := login(t, s), login(t, s)
		me, err := s.Authenticate(t.Context(), fresh.AccessToken, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.EndAll(t.Context(), me, true); err != nil {
			t.Fatalf("log-out %d: %v", 512+n, err)
		}
		if _, err := s.Refresh(t.Context(), use(old.RefreshToken)); !errors.Is(err, session.ErrOver) {
			t.Errorf("log-out %d left another session: %v", 512+n, err)
		}
		if _, err := s.Refresh(t.Context(), use(fresh.RefreshToken)); err != nil {
			t.Errorf("log-out %d ended the one it spares: %v", 512+n, err)
		}
	}
}

// A list names no session that cannot be refreshed any more, whatever ended it.
func TestListsLeaveOutWhatACutHasEnded(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	me, err := s.Authenticate(t.Context(), login(t, s).AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []issue.Revocation{
		{Kind: events.KindClient, Target: string(client)},
		{Kind: events.KindSubject, Target: string(me.Subject)},
		{Kind: events.KindAll},
	} {
		g := login(t, s)
		c.Reason, c.By = events.ReasonAdmin, events.Initiator{Role: "operator"}
		if _, err := s.Revoke(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); !errors.Is(err, session.ErrOver) {
			t.Fatalf("%s: %v", c.Kind, err)
		}
		if living, err := s.Sessions(t.Context(), me.Subject); err != nil || len(living) != 0 {
			t.Errorf("after a revocation by %s the list has %d sessions, %v", c.Kind, len(living), err)
		}
	}
}

// A stolen key signs whatever expiry it likes: its revocation must not end while
// anyone trusts the key.
func TestKeyRevocationsLast(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	done, err := s.Revoke(t.Context(), issue.Revocation{
		Kind: events.KindKey, Target: "stolen-key", Reason: "stolen", By: events.Initiator{Role: "operator"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if lasts := time.Until(done.Revocation.Until); lasts < 365*24*time.Hour {
		t.Errorf("it ends in %s", lasts.Round(time.Second))
	}
}

// INV-3: a replica that lags denies nothing. A token says how far one must have read
// to judge it.
func TestLaggingReplicaDeniesNoFreshToken(t *testing.T) {
	r := newRealm(t)
	g := login(t, r.issuer(t))
	lagging, f := r.faultyIssuer(t)
	f.loads = func(atLeast events.Position) bool { return atLeast.IsZero() } // it has nothing yet
	if _, err := lagging.Authenticate(t.Context(), g.AccessToken, false); errors.Is(err, issue.ErrToken) {
		t.Errorf("a fresh token: %v", err)
	}
	if _, err := lagging.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
		t.Errorf("a fresh refresh token: %v", err)
	}
}

// An ended session is compacted even if the first replica asked has not heard of its
// end: the finisher is told of it once.
func TestCompactDoesNotTrustALaggingReplica(t *testing.T) {
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
	f.loads = func(atLeast events.Position) bool { return atLeast.IsZero() }
	rolledUp := false
	f.appended = func(a events.Append) { rolledUp = rolledUp || a.Rollup }
	err = s.Compact(t.Context(), events.Session{ID: g.Session, Subject: me.Subject})
	if err == nil && !rolledUp {
		t.Error("the event counts as handled, and nothing was done")
	}
}

// Two changes of one password at once: one is done, the other says so.
func TestPasswordChangesAtOnce(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	me, err := s.Authenticate(t.Context(), login(t, s).AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 4)
	for n := range cap(results) {
		go func() {
			_, err := s.ChangePassword(t.Context(), me, word, fmt.Sprintf("looking-glass-%d", n))
			results <- err
		}()
	}
	done := 0
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			done++
		case !errors.Is(err, events.ErrConflict) && !errors.Is(err, issue.ErrCredentials):
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d changes were done", done)
	}
}
