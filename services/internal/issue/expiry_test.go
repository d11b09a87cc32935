package issue_test

import (
	"errors"
	"slices"
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

const foreign = events.Issuer("https://other.example")

var operator = events.Initiator{Role: "operator", Name: "ops"}

// clocked is one more replica with a clock and a configuration that the test sets.
type clocked struct {
	*issue.Service
	*faulty

	ahead   time.Duration
	longest time.Duration
}

func (r *realm) clocked(t *testing.T) *clocked {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	conn := r.server.Connect(t, topology.Issuer)
	journal, err2 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err3 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	c := &clocked{longest: 5 * time.Minute, faulty: &faulty{Journal: journal, Feed: feed}}
	c.Service = issue.New(issue.Config{
		Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return c.longest }, ForeignLifetime: 3 * time.Hour, ForeignSession: 48 * time.Hour,
	}, issue.Deps{
		Journal: c.faulty, Feed: c.faulty, Passwords: hasher(t), Keys: keys, Keyer: keys.Keyer(), Root: keys,
		Announced: feed, Survey: journal, Now: func() time.Time { return time.Now().Add(c.ahead) },
	})
	return c
}

func (c *clocked) now() time.Time { return time.Now().Add(c.ahead) }

// lasts is in how long a revocation ends, from now, to the second.
func (c *clocked) lasts(t *testing.T, r issue.Revocation) time.Duration {
	t.Helper()
	r.Reason, r.By = "test", operator
	now := c.now()
	done, err := c.Revoke(t.Context(), r)
	if err != nil {
		t.Fatalf("revoking %s %s: %v", r.Kind, r.Target, err)
	}
	return done.Revocation.Until.Sub(now)
}

// about reports whether a duration is what was wanted, or a little more on a slow machine.
func about(got, want time.Duration) bool {
	return got >= want-time.Second && got <= want+15*time.Second
}

func shortLived() session.Policy {
	p := policy()
	p.AccessTTL = time.Minute
	return p
}

func loginWith(t *testing.T, s *issue.Service, p session.Policy) issue.Grant {
	t.Helper()
	g, err := s.Login(t.Context(), issue.Login{Username: alice, Password: word, Client: client, Policy: p, Audience: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// leeway is what comes on top of the last token's expiry: leeway and skew of verifiers.
// slack is what comes on top of that for what is being minted meanwhile; overrun is both
// of them for tokens of others, whose clock may be ahead.
const (
	leeway  = time.Minute + 2*time.Second
	slack   = 18 * time.Second
	overrun = 2 * leeway
)

// A revocation lasts until the last token it denies is accepted nowhere, and no longer
// than it takes to know that.
func TestRevocationsLastAsLongAsTheyMust(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	g := loginWith(t, c.Service, shortLived())
	me, err := c.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	expires := time.Unix(me.Claims.Expires, 0)
	for name, w := range map[string]struct {
		r    issue.Revocation
		want time.Duration
	}{
		"a token that is at hand":   {issue.Revocation{Kind: events.KindToken, Target: me.Claims.ID, Expires: expires}, time.Minute + leeway},
		"a token":                   {issue.Revocation{Kind: events.KindToken, Target: "some-jti"}, 5*time.Minute + slack + leeway},
		"a session":                 {issue.Revocation{Kind: events.KindSession, Target: string(g.Session)}, 5*time.Minute + slack + leeway},
		"a session gone":            {issue.Revocation{Kind: events.KindSession, Target: freshID()}, 5*time.Minute + slack + leeway},
		"a client":                  {issue.Revocation{Kind: events.KindClient, Target: "c"}, 5*time.Minute + slack + leeway},
		"everyone":                  {issue.Revocation{Kind: events.KindAll, Scope: events.ScopeAccessTokens}, 5*time.Minute + slack + leeway},
		"a key":                     {issue.Revocation{Kind: events.KindKey, Target: "k"}, 50 * 365 * 24 * time.Hour},
		"another issuer's token":    {issue.Revocation{Kind: events.KindToken, Issuer: foreign, Target: "j"}, 3*time.Hour + overrun},
		"another issuer's session":  {issue.Revocation{Kind: events.KindSession, Issuer: foreign, Target: "s"}, 51*time.Hour + overrun},
		"another issuer's user":     {issue.Revocation{Kind: events.KindSubject, Issuer: foreign, Target: "u"}, 51*time.Hour + overrun},
		"another issuer's client":   {issue.Revocation{Kind: events.KindClient, Issuer: foreign, Target: "c"}, 51*time.Hour + overrun},
		"another issuer's users":    {issue.Revocation{Kind: events.KindAll, Issuer: foreign}, 51*time.Hour + overrun},
		"their access tokens":       {issue.Revocation{Kind: events.KindAll, Issuer: foreign, Scope: events.ScopeAccessTokens}, 3*time.Hour + overrun},
		"theirs, named":             {issue.Revocation{ID: chosenID(), Kind: events.KindSession, Issuer: foreign, Target: "s2"}, 51*time.Hour + overrun},
		"another issuer's key":      {issue.Revocation{Kind: events.KindKey, Issuer: foreign, Target: "k"}, 50 * 365 * 24 * time.Hour},
		"another issuer's, as told": {issue.Revocation{Kind: events.KindSubject, Issuer: foreign, Target: "u", Until: c.now().Add(time.Minute)}, time.Minute},
		"a token, for longer":       {issue.Revocation{Kind: events.KindToken, Target: "j2", Until: c.now().Add(time.Hour)}, time.Hour},
		"a client, for longer":      {issue.Revocation{Kind: events.KindClient, Target: "c2", Until: c.now().Add(time.Hour)}, time.Hour},
	} {
		if got := c.lasts(t, w.r); !about(got, w.want) {
			t.Errorf("%s: %s, want %s", name, got, w.want)
		}
	}
	for name, short := range map[string]issue.Revocation{
		"a token":                   {Kind: events.KindToken, Target: "j3", Until: c.now().Add(time.Minute)},
		"a token that is at hand":   {Kind: events.KindToken, Target: "j4", Expires: c.now().Add(time.Minute), Until: c.now().Add(2 * time.Minute)},
		"a subject":                 {Kind: events.KindSubject, Target: string(me.Subject), Until: c.now().Add(5 * time.Minute)},
		"a session":                 {Kind: events.KindSession, Target: string(login(t, c.Service).Session), Until: c.now().Add(5 * time.Minute)},
		"a session gone":            {Kind: events.KindSession, Target: freshID(), Until: c.now().Add(5 * time.Minute)},
		"a key":                     {Kind: events.KindKey, Target: "k3", Until: c.now().Add(24 * time.Hour)},
		"another issuer's, in vain": {Kind: events.KindToken, Issuer: foreign, Target: "j", Until: c.now().Add(-time.Second)},
	} {
		before := len(r.announced(t, c))
		if _, err := c.Revoke(t.Context(), short); !errors.Is(err, issue.ErrExpiry) {
			t.Errorf("%s, shorter than it must: %v", name, err)
		}
		if after := len(r.announced(t, c)); after != before {
			t.Errorf("%s: refused, and announced", name)
		}
	}
}

// announced reads back what stands on the feed.
func (r *realm) announced(t *testing.T, c *clocked) []events.Revocation {
	t.Helper()
	var all []events.Revocation
	for record, err := range c.Entries(t.Context(), 0, time.Time{}, "") {
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := record.Envelope.Event.(events.Revoked); ok {
			all = append(all, e.Revocation)
		}
	}
	return all
}

// R20: a lifetime that was lowered goes on lengthening what revokes a multitude, and a
// user's revocations only if they have such a token; a day later it is forgotten.
func TestALoweredLifetimeIsRemembered(t *testing.T) {
	r := newRealm(t)
	a, b := r.clocked(t), r.clocked(t)
	b.longest = 24 * time.Hour
	day := policy()
	day.AccessTTL = 24 * time.Hour
	g := loginWith(t, b.Service, day)
	me, err := a.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	b.longest = time.Minute // that issuer is configured anew, the other never knew
	b.ahead, a.ahead = time.Hour, time.Hour
	if err := errors.Join(a.Declare(t.Context()), b.Declare(t.Context())); err != nil {
		t.Fatal(err)
	}
	left := 23*time.Hour + 10*time.Minute
	for name, w := range map[string]struct {
		r    issue.Revocation
		want time.Duration
	}{
		"a client":                 {issue.Revocation{Kind: events.KindClient, Target: "c"}, left + leeway},
		"a token":                  {issue.Revocation{Kind: events.KindToken, Target: "j"}, left + leeway},
		"a user whom nobody knows": {issue.Revocation{Kind: events.KindSubject, Target: "u"}, left + leeway},
		"the user who has one":     {issue.Revocation{Kind: events.KindSubject, Scope: events.ScopeAccessTokens, Target: string(me.Subject)}, 23*time.Hour + leeway},
	} {
		if got := a.lasts(t, w.r); !about(got, w.want) {
			t.Errorf("%s: %s, want %s", name, got, w.want)
		}
	}
	hash, err := hasher(t).Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	bob, err := a.Register(t.Context(), "bob", hash, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Login(t.Context(), issue.Login{Username: "bob", Password: word, Client: client, Policy: shortLived(), Audience: []string{audience}}); err != nil {
		t.Fatal(err)
	}
	if got := a.lasts(t, issue.Revocation{Kind: events.KindSubject, Target: string(bob)}); !about(got, 5*time.Minute+slack+leeway) {
		t.Errorf("a user who has none of a day: %s", got)
	}
	a.ahead = 26 * time.Hour
	if got := a.lasts(t, issue.Revocation{Kind: events.KindClient, Target: "c"}); !about(got, 5*time.Minute+slack+leeway) {
		t.Errorf("a day later: %s", got)
	}
}

// A longer lifetime is given only after everybody who revokes knows of it; meanwhile
// people log in, for as long as before.
func TestARaisedLifetimeIsGivenLater(t *testing.T) {
	r := newRealm(t)
	c, other := r.clocked(t), r.clocked(t)
	lives := func(ttl time.Duration) time.Duration {
		t.Helper()
		p := policy()
		p.AccessTTL = ttl
		// What is left is told at the end of the login, of a life that counts whole seconds
		// from its start.
		began := time.Now()
		return loginWith(t, c.Service, p).ExpiresIn + time.Since(began)
	}
	if got := lives(5 * time.Minute); !about(got, 5*time.Minute) {
		t.Fatalf("first: %s", got)
	}
	if err := other.Declare(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.longest = time.Hour
	if got := lives(time.Hour); !about(got, 5*time.Minute) {
		t.Errorf("just raised: %s", got)
	}
	if got := other.lasts(t, issue.Revocation{Kind: events.KindClient, Target: "c"}); !about(got, time.Hour+slack+leeway) {
		t.Errorf("and the other issuer's revocations: %s", got)
	}
	c.ahead = 31 * time.Second
	if got := lives(time.Hour); !about(got, time.Hour) {
		t.Errorf("half a minute later: %s", got)
	}
}

// Without the ledger nothing is minted, and no session begins that nobody could use.
func TestNothingIsMintedUndeclared(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	g := loginWith(t, c.Service, policy())
	c.ahead = 11 * time.Minute // its lease has run out
	down := true
	c.refuses = func(a events.Append) error {
		if _, ok := a.Envelope.Event.(events.LifetimesDeclared); ok && down {
			return events.ErrUnavailable
		}
		return nil
	}
	if _, err := c.Login(t.Context(), issue.Login{Username: alice, Password: word, Client: client, Policy: policy()}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a login: %v", err)
	}
	if _, err := c.Refresh(t.Context(), use(g.RefreshToken)); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a refresh: %v", err)
	}
	down = false
	next, err := c.Refresh(t.Context(), use(g.RefreshToken))
	if err != nil || next.Replayed {
		t.Errorf("the same refresh token, later: %+v, %v", next, err)
	}
}

// Many issuers need no more declarations than one.
func TestIssuersShareALease(t *testing.T) {
	r := newRealm(t)
	declared := 0
	for range 5 {
		c := r.clocked(t)
		c.appended = func(a events.Append) {
			if _, ok := a.Envelope.Event.(events.LifetimesDeclared); ok {
				declared++
			}
		}
		for _, c.ahead = range []time.Duration{0, time.Second, 4 * time.Minute} {
			if err := c.Declare(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if declared != 1 {
		t.Errorf("%d declarations, want 1", declared)
	}
}

// What takes longer than expected is announced anew: until it is recorded, tokens are
// minted that must not outlive it.
func TestALateRecordIsAnnouncedAgain(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	attempts := 0
	c.refuses = func(a events.Append) error {
		if _, ok := a.Envelope.Event.(events.CutsRecorded); !ok {
			return nil
		}
		if attempts++; attempts > 2 {
			return nil
		}
		c.ahead += time.Duration(attempts) * 5 * time.Second
		return events.ErrConflict
	}
	done, err := c.Revoke(t.Context(), issue.Revocation{Kind: events.KindClient, Target: "c", Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	all := r.announced(t, c)
	if len(all) != 2 || all[0].ID != all[1].ID || all[0].Cut != all[1].Cut || all[1].Until.Sub(all[0].Until) < 14*time.Second {
		t.Errorf("announced %+v", all)
	}
	if left := done.Revocation.Until.Sub(c.now()); left < 5*time.Minute+leeway {
		t.Errorf("it ends in %s", left)
	}
}

// A refresh that comes between the announcement and the record has its token denied as
// long as it lives.
func TestAnAnnouncementIsRenewed(t *testing.T) {
	r := newRealm(t)
	a, b := r.clocked(t), r.clocked(t)
	b.longest = time.Hour
	hour := policy()
	hour.AccessTTL = time.Hour
	g := loginWith(t, b.Service, hour)
	mine := use(g.RefreshToken)
	mine.Policy = hour
	b.ahead = 30 * time.Minute
	var next issue.Grant
	published := 0
	a.publishes = func() error {
		if published++; published == 1 {
			var err error
			next, err = b.Refresh(t.Context(), mine)
			return err
		}
		return nil
	}
	done, err := a.Revoke(t.Context(), issue.Revocation{Kind: events.KindSession, Target: string(g.Session), Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	last := b.now().Add(next.ExpiresIn)
	if next.ExpiresIn == 0 || done.Revocation.Until.Before(last.Add(time.Minute)) {
		t.Errorf("it ends %s, the last token %s", done.Revocation.Until, last)
	}
	until := slices.MaxFunc(r.announced(t, a), func(x, y events.Revocation) int { return x.Until.Compare(y.Until) }).Until
	if published != 2 || until.Before(last.Add(time.Minute)) {
		t.Errorf("announced %d times, until %s", published, until)
	}
}
