package issue_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

// R5: a benign repetition, a lost answer and theft are told apart in what is answered
// and in what is noted.
func TestReplaysAreToldApart(t *testing.T) {
	r := newRealm(t)
	notes := &noted{}
	s := r.replica(t, func(d *issue.Deps) { d.Noter = notes })
	first := login(t, s)
	bound := func(token string) issue.Refresh {
		u := use(token)
		u.Proof.Authenticated = true
		return u
	}
	second, err := s.Refresh(t.Context(), bound(first.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		again, err := s.Refresh(t.Context(), bound(first.RefreshToken))
		if err != nil || !again.Replayed || again.LostResponse || again.RefreshToken != second.RefreshToken {
			t.Fatalf("concurrent: %+v, %v", again.Session, err)
		}
		if got := len(notes.take(events.ActionConcurrentRefresh)); got != map[bool]int{true: 1}[n == 0] {
			t.Errorf("repetition %d: %d notes", n+1, got)
		}
	}
	late := bound(first.RefreshToken)
	late.Policy.Grace = 0
	lost, err := s.Refresh(t.Context(), late)
	if err != nil || !lost.Replayed || !lost.LostResponse || lost.RefreshToken != second.RefreshToken {
		t.Fatalf("a lost answer: %+v, %v", lost.Session, err)
	}
	if got := notes.take(events.ActionLostResponse); len(got) != 1 || got[0].By.Name != string(client) || got[0].Session != first.Session {
		t.Errorf("noted %+v", got)
	}
	withheld := use(first.RefreshToken)
	withheld.Policy.OnReplay = session.ReplayRefuse
	if _, err := s.Refresh(t.Context(), withheld); !errors.Is(err, session.ErrReplayRefused) || len(notes.take(events.ActionReplayRefused)) != 1 {
		t.Errorf("a refused replay: %v", err)
	}
	if _, err := s.Refresh(t.Context(), bound(second.RefreshToken)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(t.Context(), late); !errors.Is(err, session.ErrReuse) {
		t.Errorf("the successor was used: %v", err)
	}
}

func TestProofMissingIsNoted(t *testing.T) {
	r := newRealm(t)
	notes := &noted{}
	s := r.replica(t, func(d *issue.Deps) { d.Noter = notes })
	l := signingIn(policy())
	l.DeviceSecret = "a secret of the device's own"
	g, err := s.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	thief := use(g.RefreshToken)
	if _, err := s.Refresh(t.Context(), thief); !errors.Is(err, session.ErrProof) {
		t.Fatal(err)
	}
	if got := notes.take(events.ActionProofMissing); len(got) != 1 || got[0].Session != g.Session || got[0].Subject == "" {
		t.Errorf("noted %+v", got)
	}
	thief.Proof.Client = "another"
	if _, err := s.Refresh(t.Context(), thief); !errors.Is(err, session.ErrClient) {
		t.Fatal(err)
	}
	if got := notes.take(events.ActionProofMissing); len(got) != 1 || got[0].By.Name != "another" || got[0].Client != client {
		t.Errorf("noted %+v", got)
	}
	// Noise is not: anybody can make it up.
	thief.Token = g.RefreshToken[:len(g.RefreshToken)-3] + "AAA"
	_, _ = s.Refresh(t.Context(), thief)
	if got := notes.take(events.ActionProofMissing); len(got) != 0 {
		t.Errorf("noted %+v", got)
	}
}

// A client without any proof whose superseded tokens keep being presented is raised,
// once, and asked for a credential where policy says so.
func TestReplaySuspected(t *testing.T) {
	r := newRealm(t)
	notes := &noted{}
	a, b := r.replica(t, func(d *issue.Deps) { d.Noter = notes }), r.issuer(t)
	g := login(t, a)
	u := use(g.RefreshToken)
	u.Policy.OnSuspicion = session.Ignore
	suspected := 0
	for range session.Suspicious + 3 {
		owner, err := a.Refresh(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Refresh(t.Context(), u); err != nil { // the thief keeps pace
			t.Fatal(err)
		}
		u.Token = owner.RefreshToken
		suspected += len(notes.take(events.ActionReplaySuspected))
	}
	if suspected != 1 {
		t.Errorf("raised %d times", suspected)
	}
	u.Policy.OnSuspicion = session.StepUp
	needs(t, b, u, session.SignSuspicion)
	l := signingIn(policy())
	l.RefreshToken = u.Token
	clean, err := a.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Refresh(t.Context(), use(clean.RefreshToken)); err != nil {
		t.Errorf("after the password: %v", err)
	}
}

// ADR-0008: an old record of a superseded token's use tells nobody the time, nor that
// what was read is true.
func TestOldReplaysAreNoBarrier(t *testing.T) {
	r := newRealm(t)
	s, f := r.faultyIssuer(t)
	first := login(t, s)
	if _, err := s.Refresh(t.Context(), use(first.RefreshToken)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Refresh(t.Context(), use(first.RefreshToken)); err != nil {
			t.Fatal(err)
		}
		appended := 0
		f.appended = func(a events.Append) {
			if _, ok := a.Envelope.Event.(events.SessionReplayed); ok {
				appended++
			}
		}
		if _, err := s.Refresh(t.Context(), use(first.RefreshToken)); err != nil || appended != 1 {
			t.Errorf("minted after %d appends, %v", appended, err)
		}
	}
}

// The record of replays is small and counts, and goes away by itself.
func TestReplaysOnRecord(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	first := login(t, s)
	second, err := s.Refresh(t.Context(), use(first.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(t.Context(), use(second.RefreshToken)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		for _, g := range []issue.Grant{first, second} {
			if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var last events.Replay
	r.fleet(t).each(t, eventstest.Realm.JournalStream(), func(record events.Record) {
		last = record.Envelope.Event.(events.SessionReplayed).Replay
	}, eventstest.Realm.Replay("*", first.Session))
	// Two generations, one record: neither hides the other.
	if last != (events.Replay{Session: first.Session, Generation: 1, Count: 10}) {
		t.Errorf("on record: %+v", last)
	}
}

// A confidential client may keep its token; presenting it at once is no replay, and a
// revocation ends it like any other.
func TestNoRotation(t *testing.T) {
	r := newRealm(t)
	replicas := []*issue.Service{r.issuer(t), r.issuer(t)}
	g := login(t, replicas[0])
	u := use(g.RefreshToken)
	u.Policy.NoRotation, u.Proof.Authenticated = true, true
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			got, err := replicas[i%2].Refresh(t.Context(), u)
			if err != nil || got.Replayed || !got.Kept || got.RefreshToken != g.RefreshToken {
				t.Errorf("refresh %d: %t %t, %v", i, got.Replayed, got.Kept, err)
				return
			}
			if _, err := replicas[(i+1)%2].Authenticate(t.Context(), got.AccessToken, false); err != nil {
				t.Errorf("refresh %d: %v", i, err)
			}
		})
	}
	group.Wait()
	u.Policy.NoRotation = false
	next, err := replicas[0].Refresh(t.Context(), u)
	if err != nil || next.Kept || next.RefreshToken == g.RefreshToken {
		t.Fatalf("with rotation: %v", err)
	}
	u.Policy.NoRotation = true
	u.Token = next.RefreshToken
	if kept, err := replicas[1].Refresh(t.Context(), u); err != nil || kept.RefreshToken != next.RefreshToken {
		t.Fatalf("without it again: %v", err)
	}
	// The window of the superseded one did not move.
	u.Token, u.Policy.Grace = g.RefreshToken, 0
	if _, err := replicas[0].Refresh(t.Context(), u); !errors.Is(err, session.ErrReuse) {
		t.Errorf("the superseded token: %v", err)
	}
	r.fleet(t).over(t, replicas[1], next)
}

// R13: the grade is that of the time since the password, and a token of high grade
// does not outlive it.
func TestGradesInTokens(t *testing.T) {
	r := newRealm(t)
	var mu sync.Mutex
	var ahead time.Duration
	later := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		ahead += d
	}
	s := r.replica(t, func(d *issue.Deps) {
		d.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
	})
	p := policy()
	p.HighGradeFor, p.HighGradeScopes = 8*time.Minute, []string{"orders.write"}
	says := func(g issue.Grant) claims.Access {
		t.Helper()
		c, err := s.Authenticate(t.Context(), g.AccessToken, false)
		if err != nil {
			t.Fatal(err)
		}
		if c.Claims.Scope != g.Scope {
			t.Errorf("the token says %q, the answer %q", c.Claims.Scope, g.Scope)
		}
		return c.Claims
	}
	g, err := s.Login(t.Context(), signingIn(p))
	if err != nil {
		t.Fatal(err)
	}
	born := says(g)
	if born.ACR != session.ACRHigh || born.Scope != "orders.read orders.write" || born.Expires != born.IssuedAt+300 {
		t.Errorf("at login: %+v", born)
	}
	u := use(g.RefreshToken)
	u.Policy = p
	later(6 * time.Minute)
	g, err = s.Refresh(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	high := says(g)
	if high.ACR != session.ACRHigh || high.Expires != born.AuthTime+480 || g.ExpiresIn > 2*time.Minute {
		t.Errorf("near the end of the grade: %+v for %s", high, g.ExpiresIn)
	}
	repeated, err := s.Refresh(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if c := says(repeated); c.ACR != high.ACR || c.Expires != high.Expires || c.IssuedAt != high.IssuedAt {
		t.Errorf("the answer repeated: %+v", c)
	}
	u.Token = g.RefreshToken
	later(3 * time.Minute)
	g, err = s.Refresh(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	low := says(g)
	if low.ACR != session.ACRLow || low.Scope != "orders.read" || low.Expires != low.IssuedAt+300 {
		t.Errorf("after it: %+v", low)
	}
	if low.AuthTime != born.AuthTime || fmt.Sprint(low.AMR) != fmt.Sprint(born.AMR) {
		t.Errorf("auth_time and amr changed: %d %v, %d %v", born.AuthTime, born.AMR, low.AuthTime, low.AMR)
	}
	u.Token, u.Policy.HighGradeFor = g.RefreshToken, 0
	if g, err = s.Refresh(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if c := says(g); c.ACR != "" || c.Scope != "orders.read orders.write" {
		t.Errorf("without grades: %+v", c)
	}
}

// R30: an expired access token is enough for nothing.
func TestExpiredAccessTokens(t *testing.T) {
	r := newRealm(t)
	g := login(t, r.issuer(t))
	s := r.replica(t, func(d *issue.Deps) { d.Now = func() time.Time { return time.Now().Add(10 * time.Minute) } })
	for _, current := range []bool{true, false} {
		if _, err := s.Authenticate(t.Context(), g.AccessToken, current); !errors.Is(err, issue.ErrToken) {
			t.Errorf("authenticating, current %t: %v", current, err)
		}
	}
	if got, err := s.Refresh(t.Context(), use(g.AccessToken)); !errors.Is(err, issue.ErrGrant) || got != (issue.Grant{}) {
		t.Errorf("as a refresh token: %v", err)
	}
	l := signingIn(policy())
	l.Password, l.RefreshToken = "", g.AccessToken
	if _, err := s.Login(t.Context(), l); !errors.Is(err, issue.ErrCredentials) {
		t.Errorf("instead of a password: %v", err)
	}
	l.Password = word
	if _, err := s.Login(t.Context(), l); !errors.Is(err, issue.ErrTakeOver) {
		t.Errorf("as what a login takes over: %v", err)
	}
	if err := s.RevokeToken(t.Context(), g.AccessToken, client); err != nil {
		t.Errorf("revoking it: %v", err)
	}
	if n := r.fleet(t).announced(t); len(n) != 0 {
		t.Errorf("it revoked something: %+v", n)
	}
	if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
		t.Errorf("the refresh token, which is enough: %v", err)
	}
}
