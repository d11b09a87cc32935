package issue_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

func TestPasswordChangeEndsEveryOtherSession(t *testing.T) {
	r := newRealm(t)
	a, b := r.issuer(t), r.issuer(t)
	mine, other := login(t, a), login(t, b)
	me, err := a.Authenticate(t.Context(), mine.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ChangePassword(t.Context(), me, "wrong", "looking-glass"); !errors.Is(err, issue.ErrCredentials) {
		t.Fatalf("a wrong current password: %v", err)
	}
	done, err := a.ChangePassword(t.Context(), me, word, "looking-glass")
	if err != nil || done.Revocation.Except != mine.Session || done.Revocation.Cut.IsZero() {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := b.Refresh(t.Context(), use(mine.RefreshToken)); err != nil {
		t.Errorf("my own session: %v", err)
	}
	if _, err := a.Refresh(t.Context(), use(other.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Errorf("the other session: %v", err)
	}
	if _, err := b.Authenticate(t.Context(), other.AccessToken, false); !errors.Is(err, issue.ErrToken) {
		t.Errorf("the other's access token: %v", err)
	}
	if _, err := a.Login(t.Context(), issue.Login{Username: alice, Password: word, Client: client, Policy: policy()}); !errors.Is(err, issue.ErrCredentials) {
		t.Errorf("the old password: %v", err)
	}
}

// A login that verified the old password while it was being changed gets nothing
// that lives on, however the two interleave.
func TestLoginsRacingAPasswordChange(t *testing.T) {
	r := newRealm(t)
	a, b := r.issuer(t), r.issuer(t)
	current := word
	for round := range 10 {
		me, err := a.Login(t.Context(), issue.Login{Username: alice, Password: current, Client: client, Policy: policy(), Audience: []string{audience}})
		if err != nil {
			t.Fatal(err)
		}
		caller, err := a.Authenticate(t.Context(), me.AccessToken, true)
		if err != nil {
			t.Fatal(err)
		}
		next := fmt.Sprintf("looking-glass-%d", round)
		var mu sync.Mutex
		var grants []issue.Grant
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				g, err := b.Login(t.Context(), issue.Login{Username: alice, Password: current, Client: client, Policy: policy(), Audience: []string{audience}})
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					grants = append(grants, g)
				} else if !errors.Is(err, issue.ErrCredentials) {
					t.Error(err)
				}
			})
		}
		group.Go(func() {
			if _, err := a.ChangePassword(t.Context(), caller, current, next); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		for _, g := range grants {
			if _, err := a.Authenticate(t.Context(), g.AccessToken, true); !errors.Is(err, issue.ErrToken) {
				t.Errorf("round %d: a session of the old password outlived it: %v", round, err)
			}
			if _, err := b.Refresh(t.Context(), use(g.RefreshToken)); !errors.Is(err, issue.ErrGrant) {
				t.Errorf("round %d: and could be refreshed: %v", round, err)
			}
		}
		living, err := a.Sessions(t.Context(), caller.Subject)
		if err != nil || len(living) != 1 || living[0].Session.ID != me.Session {
			t.Fatalf("round %d: %d sessions live, %v; want the changer's own", round, len(living), err)
		}
		current = next
	}
}

func TestLogOutHereThereOthersAll(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	phone, laptop, tablet := login(t, s), login(t, s), login(t, s)
	me, err := s.Authenticate(t.Context(), phone.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	alive := func(want ...issue.Grant) {
		t.Helper()
		living, err := s.Sessions(t.Context(), me.Subject)
		if err != nil || len(living) != len(want) {
			t.Fatalf("%d sessions live, %v; want %d", len(living), err, len(want))
		}
		for i, g := range want {
			if living[i].Session.ID != g.Session {
				t.Errorf("session %d is %s, want %s", i, living[i].Session.ID, g.Session)
			}
		}
	}
	alive(phone, laptop, tablet)
	if err := s.EndOwn(t.Context(), me, laptop.Session); err != nil {
		t.Fatal(err)
	}
	if err := s.EndOwn(t.Context(), me, laptop.Session); err != nil {
		t.Errorf("a second time: %v", err)
	}
	alive(phone, tablet)
	if err := s.EndAll(t.Context(), me, true); err != nil {
		t.Fatal(err)
	}
	alive(phone)
	fresh := login(t, s)
	alive(phone, fresh)
	if err := s.EndAll(t.Context(), me, false); err != nil {
		t.Fatal(err)
	}
	alive()
	again := login(t, s)
	alive(again)
	if _, err := s.Authenticate(t.Context(), again.AccessToken, true); err != nil {
		t.Errorf("a login after the cut: %v", err)
	}
}

func TestRevokeTokens(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	g := login(t, s)
	next, err := s.Refresh(t.Context(), use(g.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	for _, nothing := range []string{"", "x", "a.b.c"} {
		if err := s.RevokeToken(t.Context(), nothing, client); err != nil {
			t.Errorf("%q: %v", nothing, err)
		}
	}
	for _, token := range []string{g.AccessToken, g.RefreshToken} {
		if err := s.RevokeToken(t.Context(), token, "another"); !errors.Is(err, session.ErrClient) {
			t.Errorf("another client's: %v", err)
		}
	}
	if err := s.RevokeToken(t.Context(), g.AccessToken, client); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), g.AccessToken, true); !errors.Is(err, issue.ErrToken) {
		t.Errorf("the revoked token: %v", err)
	}
	if _, err := s.Authenticate(t.Context(), next.AccessToken, true); err != nil {
		t.Errorf("its sister: %v", err)
	}
	if err := s.RevokeToken(t.Context(), next.RefreshToken, client); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), next.AccessToken, true); !errors.Is(err, issue.ErrToken) {
		t.Errorf("the session's token: %v", err)
	}
}

// What an operator announced while no issuer was there is recorded by whoever
// comes first, and only once.
func TestRecordFinishesWhatWasOnlyAnnounced(t *testing.T) {
	r := newRealm(t)
	a, b := r.issuer(t), r.issuer(t)
	g := login(t, a)
	me, err := a.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	announced := events.Revocation{
		ID: "01935f6a-0c00-7000-8000-000000000003", Kind: events.KindSession, Issuer: issuer, Target: string(g.Session),
		Reason: "stolen", By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(-time.Hour),
	}
	var group sync.WaitGroup
	for _, s := range []*issue.Service{a, b, a, b} {
		group.Go(func() {
			if err := s.Record(t.Context(), announced); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if _, err := b.Refresh(t.Context(), use(g.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Errorf("refresh: %v", err)
	}

	wide := events.Revocation{
		ID: "01935f6a-0c00-7000-8000-000000000004", Kind: events.KindSubject, Issuer: issuer, Target: string(me.Subject),
		Reason: "fired", By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
	}
	before := login(t, a)
	if err := a.Record(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	if err := b.Record(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Refresh(t.Context(), use(before.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Errorf("a session before the cut: %v", err)
	}
	after := login(t, b)
	if _, err := a.Refresh(t.Context(), use(after.RefreshToken)); err != nil {
		t.Errorf("a session after the cut: %v", err)
	}
}

func TestCompactKeepsTheEnd(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	g := login(t, s)
	next, err := s.Refresh(t.Context(), use(g.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	me, err := s.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	n := events.Session{ID: g.Session, Subject: me.Subject}
	if err := s.Compact(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(t.Context(), use(next.RefreshToken)); err != nil {
		t.Fatalf("compacting a living session ended it: %v", err)
	}
	if err := s.EndOwn(t.Context(), me, g.Session); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Compact(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Refresh(t.Context(), use(next.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Errorf("after compaction: %v", err)
	}
}

func TestRegistrationIsOnce(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	if _, err := s.Register(t.Context(), alice, "$argon2id$x", nil); !errors.Is(err, issue.ErrExists) {
		t.Errorf("got %v", err)
	}
	if known, err := s.HasUser(t.Context(), alice); err != nil || !known {
		t.Errorf("alice: %v, %v", known, err)
	}
	if known, err := s.HasUser(t.Context(), "mallory"); err != nil || known {
		t.Errorf("mallory: %v, %v", known, err)
	}
	for _, l := range []issue.Login{
		{Username: "mallory", Password: word}, {Username: alice, Password: "x"}, {Username: "Alice", Password: word}, {},
	} {
		if _, err := s.Login(t.Context(), l); !errors.Is(err, issue.ErrCredentials) || err.Error() != issue.ErrCredentials.Error() {
			t.Errorf("%q: %v", l.Username, err)
		}
	}
}

// INV-6: no part of a token is in what the journal keeps of a session.
func TestTheStateHoldsNoSecret(t *testing.T) {
	secret := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	sum := sha256.Sum256([]byte(secret))
	r := newRealm(t)
	s := r.issuer(t)
	g, err := s.Login(t.Context(), issue.Login{
		Username: alice, Password: word, Client: client, Policy: policy(), Audience: []string{audience}, DeviceSecret: secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	me, err := s.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	living, err := s.Sessions(t.Context(), me.Subject)
	if err != nil || len(living) != 1 {
		t.Fatal(living, err)
	}
	if got := living[0].Session.DeviceSecretHash; string(got) != string(sum[:]) {
		t.Error("the secret is not kept as its hash")
	}
}
