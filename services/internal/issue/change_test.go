package issue_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
)

var olga = events.Initiator{Role: "operator", Name: "olga"}

func TestDisabledUser(t *testing.T) {
	r := newRealm(t)
	f := r.fleet(t)
	a, b := r.issuer(t), r.issuer(t)
	sub := register(t, a, "carol", "reader")
	phone, err := signIn(t, a, "carol", word, client)
	if err != nil {
		t.Fatal(err)
	}
	other := login(t, a)
	// The session that a password change spares is not spared by what comes later.
	me, err := a.Authenticate(t.Context(), phone.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ChangePassword(t.Context(), me, word, "looking-glass"); err != nil {
		t.Fatal(err)
	}
	phone = f.alive(t, b, phone)

	u, err := b.SetStatus(t.Context(), sub, issue.Status{Reason: "fraud", By: olga})
	if err != nil || !u.Disabled {
		t.Fatalf("%+v, %v", u, err)
	}
	f.over(t, a, phone)
	f.alive(t, a, other)
	if living, err := a.Sessions(t.Context(), sub); err != nil || len(living) != 0 {
		t.Errorf("%d sessions live, %v", len(living), err)
	}
	for _, n := range f.announced(t) {
		if n.Target == string(sub) && n.Reason != events.ReasonPasswordChange && (n.Reason != "fraud" || n.By != olga || n.Cut.IsZero()) {
			t.Errorf("announced %+v", n)
		}
	}
	_, right := signIn(t, a, "carol", "looking-glass", client)
	_, wrong := signIn(t, a, "carol", "x", client)
	if !errors.Is(right, issue.ErrCredentials) || right.Error() != wrong.Error() {
		t.Errorf("the right password gave %v, a wrong one %v", right, wrong)
	}
	if _, err := a.ChangePassword(t.Context(), me, "looking-glass", "through-it"); !errors.Is(err, issue.ErrToken) {
		t.Errorf("who was there before changed the password: %v", err)
	}

	// Once more changes nothing and tells nobody.
	before := len(f.announced(t))
	if again, err := a.SetStatus(t.Context(), sub, issue.Status{By: olga}); err != nil || again.Version != u.Version {
		t.Errorf("%+v, %v", again, err)
	}
	if after := len(f.announced(t)); after != before {
		t.Errorf("%d announcements for nothing", after-before)
	}
	// A reset leaves it disabled.
	if _, err := a.SetPassword(t.Context(), sub, word, olga); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, a, "carol", word, client); !errors.Is(err, issue.ErrCredentials) {
		t.Errorf("a reset enabled the user: %v", err)
	}

	if u, err := a.SetStatus(t.Context(), sub, issue.Status{Enabled: true, By: olga}); err != nil || u.Disabled {
		t.Fatalf("%+v, %v", u, err)
	}
	f.over(t, b, phone)
	fresh, err := signIn(t, b, "carol", word, client)
	if err != nil {
		t.Fatalf("after enabling: %v", err)
	}
	f.alive(t, a, fresh)
	if _, err := a.ChangePassword(t.Context(), me, word, "through-it"); !errors.Is(err, issue.ErrToken) {
		t.Errorf("INV-5: who was there before changed the password, which would spare the old session: %v", err)
	}
	f.over(t, b, phone)
}

func TestNobodyCannotBeChanged(t *testing.T) {
	r := newRealm(t)
	f := r.fleet(t)
	s := r.issuer(t)
	for _, sub := range []events.Subject{"", "nobody", "*", ">", "a b", "\x00"} {
		_, err1 := s.SetStatus(t.Context(), sub, issue.Status{By: olga})
		_, err2 := s.SetRoles(t.Context(), sub, []string{"admin"}, olga)
		_, err3 := s.SetPassword(t.Context(), sub, "looking-glass", olga)
		_, err4 := s.User(t.Context(), sub)
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, issue.ErrNoUser) {
				t.Errorf("%q: %v", sub, err)
			}
		}
	}
	if n := f.announced(t); len(n) > 0 {
		t.Errorf("announced %+v", n)
	}
	if _, err := s.UserNamed(t.Context(), "nobody"); !errors.Is(err, issue.ErrNoUser) {
		t.Errorf("by name: %v", err)
	}
	if u, err := s.UserNamed(t.Context(), alice); err != nil || u.Username != alice || u.Version != 1 || u.Disabled {
		t.Errorf("%+v, %v", u, err)
	}
}

// R27: the old token is denied at once, the same session gets the new roles silently.
func TestRolesChange(t *testing.T) {
	r := newRealm(t)
	f := r.fleet(t)
	a, b := r.issuer(t), r.issuer(t)
	g := login(t, a)
	superseded := g.RefreshToken
	sub := events.Subject(read(t, g.AccessToken).Subject)
	u, err := b.SetRoles(t.Context(), sub, []string{"customer", "editor"}, olga)
	if err != nil || len(u.Roles) != 2 || u.Version != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	if _, err := a.Authenticate(t.Context(), g.AccessToken, true); !errors.Is(err, issue.ErrToken) || errors.Is(err, session.ErrOver) {
		t.Errorf("the old token: %v", err)
	}
	if !f.denies(t, g.AccessToken) {
		t.Error("no sidecar was told")
	}
	next, err := a.Refresh(t.Context(), use(g.RefreshToken))
	if err != nil || next.Session != g.Session {
		t.Fatalf("%+v, %v", next, err)
	}
	again, err := b.Refresh(t.Context(), use(superseded))
	if err != nil || !again.Replayed {
		t.Fatalf("%+v, %v", again, err)
	}
	for _, token := range []string{next.AccessToken, again.AccessToken} {
		if roles := read(t, token).Roles; !slices.Equal(roles, []string{"customer", "editor"}) {
			t.Errorf("new token with roles %v", roles)
		}
		if f.denies(t, token) {
			t.Error("INV-3: sidecars deny the new token")
		}
		if _, err := b.Authenticate(t.Context(), token, true); err != nil {
			t.Errorf("the new token: %v", err)
		}
	}
	before := len(f.announced(t))
	if _, err := a.SetRoles(t.Context(), sub, []string{"customer", "editor"}, olga); err != nil {
		t.Fatal(err)
	}
	if after := len(f.announced(t)); after != before {
		t.Errorf("%d announcements for the same roles", after-before)
	}
	if _, err := a.SetRoles(t.Context(), sub, nil, olga); err != nil {
		t.Fatal(err)
	}
	last, err := b.Refresh(t.Context(), use(next.RefreshToken))
	if err != nil || len(read(t, last.AccessToken).Roles) != 0 {
		t.Errorf("%v, %v", read(t, last.AccessToken).Roles, err)
	}
}

func TestPasswordResetEndsEverySession(t *testing.T) {
	r := newRealm(t)
	f := r.fleet(t)
	a, b := r.issuer(t), r.issuer(t)
	phone, laptop := login(t, a), login(t, b)
	sub := events.Subject(read(t, phone.AccessToken).Subject)
	done, err := a.SetPassword(t.Context(), sub, "looking-glass", olga)
	if n := done.Revocation; err != nil || n.Reason != events.ReasonPasswordReset || n.By != olga || n.Except != "" || done.FeedSequence == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, g := range []issue.Grant{phone, laptop} {
		f.over(t, b, g)
	}
	if _, err := signIn(t, b, alice, word, client); !errors.Is(err, issue.ErrCredentials) {
		t.Errorf("the old password: %v", err)
	}
	fresh, err := signIn(t, b, alice, "looking-glass", client)
	if err != nil {
		t.Fatal(err)
	}
	f.alive(t, a, fresh)
	if u, err := a.User(t.Context(), sub); err != nil || !slices.Equal(u.Roles, []string{"customer"}) || u.Disabled || u.Version != 2 {
		t.Errorf("the reset changed more than the password: %+v, %v", u, err)
	}
}

func TestDisabledClient(t *testing.T) {
	r := newRealm(t)
	f := r.fleet(t)
	a, b := r.issuer(t), r.issuer(t)
	old := login(t, a)
	other, err := signIn(t, a, alice, word, "another")
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.SetClientStatus(t.Context(), client, issue.Status{By: olga})
	if err != nil || !c.Disabled || c.Reason != events.ReasonClientDisabled || c.By != olga {
		t.Fatalf("%+v, %v", c, err)
	}
	f.over(t, a, old)
	if _, err := a.Authenticate(t.Context(), other.AccessToken, true); err != nil || f.denies(t, other.AccessToken) {
		t.Errorf("another client's token: %v", err)
	}
	for _, word := range []string{word, "wrong"} {
		if _, err := signIn(t, a, alice, word, client); !errors.Is(err, issue.ErrClientDisabled) {
			t.Errorf("password %q: %v", word, err)
		}
	}
	changes, err := a.ClientChanges(t.Context())
	if err != nil || len(changes) != 1 || !changes[client].Disabled {
		t.Errorf("%+v, %v", changes, err)
	}
	before := len(f.announced(t))
	if _, err := a.SetClientStatus(t.Context(), client, issue.Status{By: olga}); err != nil {
		t.Fatal(err)
	}
	if after := len(f.announced(t)); after != before {
		t.Errorf("%d announcements for nothing", after-before)
	}
	if c, err := a.SetClientStatus(t.Context(), client, issue.Status{Enabled: true, By: olga}); err != nil || c.Disabled {
		t.Fatalf("%+v, %v", c, err)
	}
	f.over(t, b, old)
	fresh := login(t, b)
	f.alive(t, a, fresh)
}

// A right password whose hash is not made as new ones are is hashed again; sessions
// live on, and a wrong one changes nothing.
func TestOutdatedHashesAreReplaced(t *testing.T) {
	r := newRealm(t)
	f := r.fleet(t)
	costlier, err := password.New(password.Config{Memory: 128, Time: 1, Queue: 100})
	if err != nil {
		t.Fatal(err)
	}
	cheap := r.issuer(t)
	g := login(t, cheap)
	sub := events.Subject(read(t, g.AccessToken).Subject)
	s := r.issuerWith(t, costlier)
	if _, err := signIn(t, s, alice, "wrong", client); !errors.Is(err, issue.ErrCredentials) {
		t.Fatal(err)
	}
	if u, err := s.User(t.Context(), sub); err != nil || !costlier.Outdated(u.PasswordHash) {
		t.Fatalf("a wrong password replaced the hash: %v", err)
	}
	for range 2 {
		if _, err := signIn(t, s, alice, word, client); err != nil {
			t.Fatal(err)
		}
		if u, err := s.User(t.Context(), sub); err != nil || costlier.Outdated(u.PasswordHash) || u.Version != 1 {
			t.Errorf("%+v, %v", u, err)
		}
	}
	updates := 0
	f.each(t, eventstest.Realm.JournalStream(), func(record events.Record) {
		if _, ok := record.Envelope.Event.(events.UserUpdated); ok {
			updates++
		}
	}, eventstest.Realm.Users())
	if updates != 1 {
		t.Errorf("%d updates for two logins", updates)
	}
	f.alive(t, s, g)

	// What the change before entailed is not lost by it.
	dying, m := r.mortalIssuer(t, 0)
	m.left.Store(2) // a barrier and the change
	if _, err := dying.SetPassword(t.Context(), sub, "looking-glass", olga); !errors.Is(err, events.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := signIn(t, s, alice, "looking-glass", client); err != nil {
		t.Fatal(err)
	}
	f.over(t, s, g)
}
