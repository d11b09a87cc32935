package issue_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

var home, abroad, home6 = netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")

// needs wants a refresh to need a credential, for the reason given.
func needs(t *testing.T, s *issue.Service, r issue.Refresh, sign session.Sign) {
	t.Helper()
	g, err := s.Refresh(t.Context(), r)
	needed, _ := errors.AsType[*issue.StepUpError](err)
	cause, _ := errors.AsType[*session.StepUpError](err)
	if needed == nil || needed.Session == "" || cause == nil || cause.Sign != sign || g != (issue.Grant{}) || errors.Is(err, issue.ErrGrant) {
		t.Fatalf("got %+v, %v; want a step-up for %s", g.Session, err, sign)
	}
}

// R13: a refresh from another device asks for the password, changes nothing, and
// giving it starts a clean lineage and ends the old one.
func TestStepUp(t *testing.T) {
	r := newRealm(t)
	notes := &noted{}
	a, b := r.replica(t, func(d *issue.Deps) { d.Noter = notes }), r.issuer(t)
	l := signingIn(policy())
	l.DeviceID = "phone"
	old, err := a.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	stolen := use(old.RefreshToken)
	stolen.DeviceID = "laptop"
	for range 3 {
		needs(t, a, stolen, session.SignDevice)
		needs(t, b, stolen, session.SignDevice)
	}
	if got := notes.take(events.ActionStepUpRequired); len(got) != 3 || got[0].Session != old.Session || got[0].DeviceID != "laptop" {
		t.Errorf("noted %+v", got)
	}
	f := r.fleet(t)
	if n := f.announced(t); len(n) != 0 {
		t.Fatalf("somebody was logged out: %+v", n)
	}
	owner := use(old.RefreshToken)
	owner.DeviceID = "phone"
	current, err := b.Refresh(t.Context(), owner)
	if err != nil {
		t.Fatalf("the owner: %v", err)
	}

	// The password, from the other device.
	l.DeviceID, l.RefreshToken = "laptop", current.RefreshToken
	wrong := l
	wrong.Password = "wrong"
	if _, err := a.Login(t.Context(), wrong); !errors.Is(err, issue.ErrCredentials) {
		t.Fatalf("a wrong password: %v", err)
	}
	f.alive(t, b, issue.Grant{AccessToken: current.AccessToken, RefreshToken: current.RefreshToken, Session: current.Session})
	clean, err := a.Login(t.Context(), l)
	if err != nil || clean.Session == old.Session {
		t.Fatalf("%+v, %v", clean.Session, err)
	}
	f.over(t, b, current)
	n := f.announced(t)
	if len(n) != 1 || n[0].Target != string(old.Session) || n[0].Reason != events.ReasonStepUp || n[0].By.Role != "user" {
		t.Errorf("announced %+v", n)
	}
	me, err := b.Authenticate(t.Context(), clean.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	living, err := b.Sessions(t.Context(), me.Subject)
	if err != nil || len(living) != 1 || living[0].Session.Replaces != old.Session || living[0].Session.Generation != 0 {
		t.Errorf("%+v, %v", living, err)
	}
	// What was given once is given again: the answer may have been lost.
	if _, err := b.Login(t.Context(), l); err != nil {
		t.Errorf("the same token again: %v", err)
	}
}

// A login takes nothing over that is not the user's own, of that client.
func TestTakingOver(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	register(t, s, "bob")
	mine := login(t, s)
	theirs, err := signIn(t, s, "bob", word, client)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := signIn(t, s, alice, word, "another")
	if err != nil {
		t.Fatal(err)
	}
	damaged := []byte(mine.RefreshToken)
	damaged[len(damaged)-3] ^= 1
	gone := mine.RefreshToken[:len(mine.RefreshToken)-20]
	for name, token := range map[string]string{
		"another user's": theirs.RefreshToken, "another client's": elsewhere.RefreshToken,
		"damaged": string(damaged), "cut short": gone, "an access token": mine.AccessToken, "noise": "x",
	} {
		l := signingIn(limited(1, session.EvictOldest))
		l.RefreshToken = token
		if g, err := s.Login(t.Context(), l); !errors.Is(err, issue.ErrTakeOver) || g != (issue.Grant{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := r.fleet(t)
	if most, now := f.living(t); most != 3 || len(now) != 3 {
		t.Errorf("%d sessions live, %d at most; want 3", len(now), most)
	}
	if n := f.announced(t); len(n) != 0 {
		t.Errorf("announced %+v", n)
	}
	// Its own limit is no hindrance: the session gives its place.
	l := signingIn(limited(1, session.RefuseNew))
	l.RefreshToken = mine.RefreshToken
	if _, err := s.Login(t.Context(), l); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	f.over(t, s, mine)
	f.alive(t, s, theirs)
}

// An issuer that dies between the two leaves nobody with both sessions, or with one
// too many: the old one is over, and the user logs in again.
func TestDyingBetweenOldAndNew(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	old := login(t, s)
	ctx, die := context.WithCancel(t.Context())
	f.appended = func(a events.Append) {
		if _, ended := a.Envelope.Event.(events.SessionRevoked); ended {
			die()
		}
	}
	l := signingIn(limited(1, session.RefuseNew))
	l.RefreshToken = old.RefreshToken
	if _, err := s.Login(ctx, l); !errors.Is(err, events.ErrUnavailable) {
		t.Fatalf("dying: %v", err)
	}
	f.appended = nil
	most, now := r.fleet(t).living(t)
	if most != 1 || len(now) != 0 {
		t.Errorf("%d sessions live, %d at most", len(now), most)
	}
	if _, err := s.Login(t.Context(), l); err != nil {
		t.Errorf("logging in again: %v", err)
	}
}

func TestSigns(t *testing.T) {
	r := newRealm(t)
	var mu sync.Mutex
	ahead := time.Duration(0)
	s := r.replica(t, func(d *issue.Deps) {
		d.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
	})
	begin := func(change func(*issue.Login)) issue.Refresh {
		t.Helper()
		l := signingIn(policy())
		change(&l)
		g, err := s.Login(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		return use(g.RefreshToken)
	}
	passes := func(u issue.Refresh) issue.Refresh {
		t.Helper()
		g, err := s.Refresh(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		u.Token = g.RefreshToken
		return u
	}

	t.Run("network", func(t *testing.T) {
		u := begin(func(l *issue.Login) { l.Address = home })
		u.Address = netip.MustParseAddr("192.0.2.200") // a neighbour
		u = passes(u)
		u.Address = home6
		u = passes(u)
		u.Address = netip.MustParseAddr("2001:db8:0:ffff::1") // of the same site
		u = passes(u)
		u.Address = netip.MustParseAddr("2001:db8:1::7")
		needs(t, s, u, session.SignNetwork)
		u.Policy.OnNetworkChange = session.Ignore
		passes(u)
	})
	t.Run("a replay from another network", func(t *testing.T) {
		u := begin(func(l *issue.Login) { l.Address = home })
		u.Policy.OnNetworkChange, u.Address = session.Ignore, abroad
		next := passes(u)
		u.Address = home
		needs(t, s, u, session.SignNetwork)
		u.Address = abroad
		passes(u)
		passes(next)
	})
	t.Run("device id required", func(t *testing.T) {
		l := signingIn(policy())
		l.Policy.DeviceIDRequired = true
		if _, err := s.Login(t.Context(), l); !errors.Is(err, session.ErrDevice) {
			t.Errorf("a login without: %v", err)
		}
		u := begin(func(l *issue.Login) { l.Policy.DeviceIDRequired, l.DeviceID = true, "phone" })
		u.Policy.DeviceIDRequired = true
		needs(t, s, u, session.SignDevice)
		u.DeviceID = "phone"
		passes(u)
	})
	t.Run("a clock that is fast makes nobody idle", func(t *testing.T) {
		u := begin(func(*issue.Login) {})
		u.Policy.StepUpAfterIdle = time.Minute
		mu.Lock()
		ahead = 2 * time.Minute
		mu.Unlock()
		u = passes(u)
		u.Policy.StepUpAfterIdle = time.Nanosecond // R29: broker time has passed
		needs(t, s, u, session.SignIdle)
	})
}

// judge is an operator's own judgement.
type judge struct {
	mu      sync.Mutex
	verdict issue.RiskVerdict
	err     error
	asked   []issue.RiskRequest
}

func (j *judge) Judge(_ context.Context, r issue.RiskRequest) (issue.RiskVerdict, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, r)
	return j.verdict, j.err
}

func TestRiskHook(t *testing.T) {
	r := newRealm(t)
	j := &judge{verdict: issue.RiskAllow}
	s := r.replica(t, func(d *issue.Deps) { d.Risk = j })
	l := signingIn(policy())
	l.DeviceID, l.Address = "phone", home
	g, err := s.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	u := use(g.RefreshToken)
	u.Address, u.DeviceID, u.Policy.OnNetworkChange = abroad, "phone", session.Ignore
	next, err := s.Refresh(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if len(j.asked) != 1 {
		t.Fatalf("asked %d times", len(j.asked))
	}
	got := j.asked[0]
	if got.Subject == "" || got.Session != g.Session || got.Client != client || got.DeviceID != "phone" || got.SessionDeviceID != "phone" ||
		got.Address != abroad || !got.NetworkChanged || got.AuthTime.IsZero() || got.LastRefresh.IsZero() {
		t.Errorf("asked %+v", got)
	}
	// Not about noise, nor about what others forbid, nor about a repeated answer.
	u.Address = abroad
	if _, err := s.Refresh(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	damaged := use(next.RefreshToken[:len(next.RefreshToken)-3] + "AAA")
	_, _ = s.Refresh(t.Context(), damaged)
	other := use(next.RefreshToken)
	other.Proof.Client = "another"
	_, _ = s.Refresh(t.Context(), other)
	if len(j.asked) != 1 {
		t.Errorf("asked %d times", len(j.asked))
	}
	u.Token = next.RefreshToken
	j.verdict = issue.RiskStepUp
	needs(t, s, u, session.SignPolicy)
	if len(j.asked) != 2 {
		t.Errorf("asked %d times", len(j.asked))
	}
	j.verdict, j.err = issue.RiskAllow, context.DeadlineExceeded
	if _, err := s.Refresh(t.Context(), u); !errors.Is(err, events.ErrUnavailable) || errors.Is(err, issue.ErrGrant) {
		t.Errorf("without a verdict: %v", err)
	}
	j.err = nil
	if _, err := s.Refresh(t.Context(), u); err != nil {
		t.Errorf("the token was not left as it was: %v", err)
	}
}
