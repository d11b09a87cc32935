package issue_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// replica is one more issuer, whose dependencies the test may change.
func (r *realm) replica(t *testing.T, change func(*issue.Deps)) *issue.Service {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	conn := r.server.Connect(t, topology.Issuer)
	journal, err2 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err3 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	notes, err4 := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	deps := issue.Deps{Journal: journal, Feed: feed, Notes: notes, Passwords: hasher(t), Keys: keys, Keyer: keys.Keyer(), Root: keys, Announced: feed, Survey: journal}
	change(&deps)
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }}, deps)
}

// noted keeps the notes taken.
type noted struct {
	mu    sync.Mutex
	notes []events.Note
}

func (n *noted) Note(note events.Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, note)
}

// take gives the notes about an action, and forgets all.
func (n *noted) take(a events.Action) []events.Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := slices.DeleteFunc(n.notes, func(note events.Note) bool { return note.Action != a })
	n.notes = nil
	return all
}

// counted counts what an issuer asks of the journal.
type counted struct {
	issue.Journal

	appends, loads atomic.Int32
}

func (c *counted) Append(ctx context.Context, a events.Append) (events.Position, error) {
	c.appends.Add(1)
	return c.Journal.Append(ctx, a)
}

func (c *counted) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	c.loads.Add(1)
	return c.Journal.Load(ctx, atLeast, subjects...)
}

func (c *counted) want(t *testing.T, what string, appends, loads int32) {
	t.Helper()
	if a, l := c.appends.Swap(0), c.loads.Swap(0); a != appends || l != loads {
		t.Errorf("%s: %d appends and %d loads, want %d and %d", what, a, l, appends, loads)
	}
}

func signingIn(p session.Policy) issue.Login {
	return issue.Login{
		Username: alice, Password: word, Client: client, Policy: p, Scope: "orders.read orders.write", Audience: []string{audience},
	}
}

func limited(most int, on session.OnLimit) session.Policy {
	p := policy()
	p.MaxSessions, p.OnLimit = most, on
	return p
}

// living replays the journal and gives the greatest number of sessions that lived at
// one time, and those that live at its end.
func (f fleet) living(t *testing.T) (most int, now map[events.SessionID]bool) {
	t.Helper()
	now = map[events.SessionID]bool{}
	f.each(t, eventstest.Realm.JournalStream(), func(r events.Record) {
		switch e := r.Envelope.Event.(type) {
		case events.SessionStarted:
			now[e.Session.ID] = true
		case events.SessionRevoked:
			delete(now, e.Session.ID)
		}
		most = max(most, len(now))
	}, eventstest.Realm.Journal())
	return most, now
}

// R11: whichever replicas the logins hit, there is never one session too many at any
// instant seen in the journal.
func TestLimitHoldsUnderConcurrentLogins(t *testing.T) {
	for _, c := range []struct {
		most int
		on   session.OnLimit
	}{{3, session.EvictOldest}, {1, session.EvictOldest}, {3, session.RefuseNew}, {1, session.RefuseNew}} {
		t.Run(fmt.Sprintf("%d, policy %d", c.most, c.on), func(t *testing.T) {
			t.Parallel()
			r := newRealm(t)
			replicas := []*issue.Service{r.issuer(t), r.issuer(t), r.issuer(t)}
			const logins = 50
			var granted, refused atomic.Int32
			var group sync.WaitGroup
			for i := range logins {
				group.Go(func() {
					_, err := replicas[i%len(replicas)].Login(t.Context(), signingIn(limited(c.most, c.on)))
					switch {
					case err == nil:
						granted.Add(1)
					case errors.Is(err, session.ErrLimit) && c.on == session.RefuseNew:
						refused.Add(1)
					case errors.Is(err, issue.ErrDisplaced) && c.on == session.EvictOldest:
						refused.Add(1)
					default:
						t.Errorf("login %d: %v", i, err)
					}
				})
			}
			group.Wait()
			most, now := r.fleet(t).living(t)
			if most != c.most || len(now) != c.most {
				t.Errorf("at most %d sessions lived, and %d do; want %d", most, len(now), c.most)
			}
			if c.on == session.RefuseNew && granted.Load() != int32(c.most) {
				t.Errorf("%d logins were granted", granted.Load())
			}
			t.Logf("%d granted, %d refused", granted.Load(), refused.Load())
		})
	}
}

func TestTheOldestLeaves(t *testing.T) {
	r := newRealm(t)
	notes := &noted{}
	s := r.replica(t, func(d *issue.Deps) { d.Noter = notes })
	signIn := func(p session.Policy) (issue.Grant, error) { return s.Login(t.Context(), signingIn(p)) }
	var grants []issue.Grant
	for range 4 {
		g, err := signIn(limited(3, session.EvictOldest))
		if err != nil {
			t.Fatal(err)
		}
		grants = append(grants, g)
	}
	f := r.fleet(t)
	f.over(t, s, grants[0])
	n := f.announced(t)
	if len(n) != 1 || n[0].Kind != events.KindSession || n[0].Reason != events.ReasonSessionLimit || n[0].By.Role != "policy" {
		t.Errorf("announced %+v", n)
	}
	for _, g := range grants[1:] {
		f.alive(t, s, g)
	}
	// Another client's sessions and limits are its own, a wrong password learns
	// nothing, and no limit at all is one.
	other := signingIn(limited(1, session.RefuseNew))
	other.Client = "another"
	if _, err := s.Login(t.Context(), other); err != nil {
		t.Errorf("another client: %v", err)
	}
	if _, err := s.Login(t.Context(), other); !errors.Is(err, session.ErrLimit) {
		t.Errorf("another client again: %v", err)
	}
	if got := notes.take(events.ActionSessionRefused); len(got) != 1 || got[0].Client != "another" || got[0].Session != "" || got[0].Subject == "" {
		t.Errorf("noted %+v", got)
	}
	other.Password = "wrong"
	if _, err := s.Login(t.Context(), other); !errors.Is(err, issue.ErrCredentials) || len(notes.take(events.ActionSessionRefused)) != 0 {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := signIn(policy()); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// A user with more sessions than one answer holds can log in where there is no limit,
// and is refused in clear words where there is one.
func TestMoreSessionsThanOneAnswerHolds(t *testing.T) {
	r := newRealm(t)
	s := r.replica(t, func(d *issue.Deps) { d.Journal = crowded{d.Journal} })
	g, err := s.Login(t.Context(), signingIn(policy()))
	if err != nil {
		t.Fatalf("without a limit: %v", err)
	}
	if _, err := s.Login(t.Context(), signingIn(limited(3, session.EvictOldest))); !errors.Is(err, events.ErrTooMany) {
		t.Errorf("with a limit: %v", err)
	}
	l := signingIn(policy())
	l.RefreshToken = g.RefreshToken
	if _, err := s.Login(t.Context(), l); err != nil {
		t.Errorf("taking over one of them: %v", err)
	}
	r.fleet(t).over(t, s, g)
}

// crowded is a journal in which everybody has too many sessions.
type crowded struct{ issue.Journal }

func (c crowded) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	for _, place := range subjects {
		if len(place) > 2 && place[len(place)-2:] == ".*" {
			return nil, events.ErrTooMany
		}
	}
	return c.Journal.Load(ctx, atLeast, subjects...)
}

func TestNewDevices(t *testing.T) {
	r := newRealm(t)
	notes := &noted{}
	s := r.replica(t, func(d *issue.Deps) { d.Noter = notes })
	from := func(device string) issue.Grant {
		l := signingIn(policy())
		l.DeviceID, l.DeviceName, l.Address = device, "name of "+device, netip.MustParseAddr("192.0.2.7")
		g, err := s.Login(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	from("phone")
	from("phone")
	from("")
	if got := notes.take(events.ActionNewDevice); len(got) != 0 {
		t.Errorf("noted of the first device: %+v", got)
	}
	g := from("laptop")
	got := notes.take(events.ActionNewDevice)
	if len(got) != 1 || got[0].DeviceID != "laptop" || got[0].DeviceName != "name of laptop" || got[0].Address != "192.0.2.7" || got[0].Session != g.Session {
		t.Errorf("noted %+v", got)
	}
	me, err := s.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	states, err := s.Sessions(t.Context(), me.Subject)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		if state.Session.NewDevice != (state.Session.ID == g.Session) {
			t.Errorf("session of %q: new device %t", state.Session.DeviceID, state.Session.NewDevice)
		}
	}
}

// The ways that users wait for cost what they always did.
func TestRoundTrips(t *testing.T) {
	r := newRealm(t)
	count := &counted{}
	s := r.replica(t, func(d *issue.Deps) { count.Journal = d.Journal; d.Journal = count })
	if err := s.Declare(t.Context()); err != nil {
		t.Fatal(err)
	}
	count.want(t, "declaring lifetimes", 1, 1)
	p := limited(3, session.EvictOldest)
	g, err := s.Login(t.Context(), signingIn(p))
	if err != nil {
		t.Fatal(err)
	}
	// One load to verify the password, then load, append, load.
	count.want(t, "a login", 1, 3)
	u := use(g.RefreshToken)
	next, err := s.Refresh(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	count.want(t, "a refresh", 1, 2)
	if _, err := s.Refresh(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	count.want(t, "a replay", 1, 2)
	u = use(next.RefreshToken)
	u.Policy.NoRotation, u.Proof.Authenticated = true, true
	if _, err := s.Refresh(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	count.want(t, "a refresh without rotation", 1, 2)
	bad := signingIn(p)
	bad.Password = "wrong"
	if _, err := s.Login(t.Context(), bad); !errors.Is(err, issue.ErrCredentials) {
		t.Fatal(err)
	}
	count.want(t, "a wrong password", 0, 1)
}
