package keycloak

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// R25: a Keycloak, trusted beside our own issuer and beside one that logs nobody in. Its
// tokens pass every front and are revoked in every way, its log-outs arrive, its keys
// are followed, and it may go away.
func TestKeycloak(t *testing.T) {
	control, full := newRelay(t), newRelay(t)
	file := realmFile(t)
	keycloak := startKeycloak(t, map[string]string{
		// As it stands, and with another algorithm and address.
		"shop": file,
		"ours": replaced(t, file, `"realm": "shop"`, `"realm": "ours"`, "RS256", "ES256", "${REVOCAST_URL}", full.URL),
	}, "REVOCAST_URL="+control.URL)
	worlds := []*world{
		{realm: realm{keycloak, "shop", "RS256"}, relay: control},
		{realm: realm{keycloak, "ours", "ES256"}, relay: full, full: true},
	}
	for _, w := range worlds {
		w.start(t)
	}
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			t.Run("tokens", w.tokens)
			t.Run("diagnosis", w.diagnosis)
			t.Run("revocations", w.revocations)
			t.Run("cut in the past", w.cutInThePast)
			if w.full {
				t.Run("two issuers", w.twoIssuers)
			}
			t.Run("log-outs", w.logouts)
			t.Run("replay", w.replay)
			t.Run("what nobody is told of", w.untold)
			t.Run("keys", w.keys)
			if w.full {
				t.Run("Spring Security", w.spring)
			}
		})
	}
	t.Run("without Keycloak", func(t *testing.T) {
		withoutKeycloak(t, keycloak, worlds)
	})
}

// Access tokens pass, whichever way they were had; what else Keycloak gives does not.
func (w *world) tokens(t *testing.T) {
	s, direct := w.login(t, "anna"), w.direct(t, "bert")
	w.passes(t, s.Access)
	w.passes(t, w.refresh(t, s).Access)
	w.passes(t, direct.Access)
	if roles := w.fronts[0].ask(t, direct.Access).identity["X-Auth-Roles"]; !slices.Contains(strings.Split(roles, ","), "clerk") {
		t.Errorf("bert's roles are %s", roles)
	}
	w.denies(t, s.ID)
	w.denies(t, s.Refresh)
	w.denies(t, direct.ID)
	w.denies(t, direct.Refresh)
	t.Logf("an access token: %v %v", part(t, s.Access, 0), part(t, s.Access, 1))
}

// revocast doctor says of its tokens what is so.
func (w *world) diagnosis(t *testing.T) {
	s := w.login(t, "anna")
	type diagnosis struct {
		Taken, Verified bool
		Checks          []struct {
			Check  string
			Passes bool
		}
		Reach []struct {
			Kind    string
			Reaches bool
		}
		Cuts struct{ Sessions string }
	}
	ask := func(status int, token string) (d diagnosis) {
		t.Helper()
		out := revocast(t, status, token, "doctor", "-o", "json", "--sidecar-url", w.stack.Sidecars()[0].AdminURL())
		if err := json.Unmarshal(out, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := ask(0, s.Access)
	reached := map[string]bool{}
	for _, r := range d.Reach {
		reached[r.Kind] = r.Reaches
	}
	all := map[string]bool{"token": true, "session": true, "subject": true, "client": true, "key": true, "all": true}
	if !d.Taken || !d.Verified || !maps.Equal(reached, all) || d.Cuts.Sessions != "auth_time" {
		t.Errorf("of an access token: %+v", d)
	}
	faults := func(d diagnosis) (names []string) {
		for _, c := range d.Checks {
			if !c.Passes {
				names = append(names, c.Check)
			}
		}
		return names
	}
	if d := ask(1, s.ID); d.Taken || !d.Verified || !slices.Equal(faults(d), []string{"kind", "audience", "require"}) {
		t.Errorf("of an ID token: %+v", d)
	}
	if d := ask(1, s.Refresh); d.Taken || d.Verified || !slices.Equal(faults(d), []string{"form"}) { // HS512: a secret of Keycloak's own
		t.Errorf("of a refresh token: %+v", d)
	}
}

// By jti, sid and subject: each denies what it names and nothing else.
func (w *world) revocations(t *testing.T) {
	anna, other, bert := w.login(t, "anna"), w.login(t, "anna"), w.login(t, "bert")
	next := w.refresh(t, anna)
	w.revoke(t, "token", anna.claim(t, "jti"))
	w.denies(t, anna.Access)
	w.passes(t, next.Access)

	w.revoke(t, "session", anna.claim(t, "sid"))
	w.denies(t, next.Access)
	w.denies(t, w.refresh(t, next).Access)
	w.passes(t, other.Access)

	w.revoke(t, "subject", anna.claim(t, "sub"))
	w.denies(t, other.Access)
	w.denies(t, w.refresh(t, other).Access) // its auth_time tells when it began
	w.passes(t, bert.Access)
	w.passes(t, w.after(t, "anna", time.Now()).Access)
}

// after logs a user in, as often as it takes for the login to be dated in a later second:
// cuts by time count whole ones.
func (w *world) after(t *testing.T, user string, cut time.Time) (s session) {
	t.Helper()
	eventually(t, 20*time.Second, "a login in the next second", func() bool {
		s = w.login(t, user)
		return part(t, s.Access, 1).time(t, "auth_time").After(cut)
	})
	return s
}

// By a time: who logged in up to then is out.
func (w *world) cutInThePast(t *testing.T) {
	early := w.login(t, "anna")
	cut := part(t, early.Access, 1).time(t, "auth_time")
	late := w.after(t, "bert", cut)
	id := w.revoke(t, "all", "", "--cut-time", cut.UTC().Format(time.RFC3339))
	w.denies(t, early.Access)
	w.denies(t, w.refresh(t, early).Access)
	w.passes(t, late.Access)
	w.lift(t, id)
	w.passes(t, early.Access)
}

// What is revoked of one issuer is none of the other's business.
func (w *world) twoIssuers(t *testing.T) {
	theirs, ours := w.login(t, "anna"), w.ours(t)
	passes := func(token string) {
		t.Helper()
		for _, f := range w.fronts {
			if v := f.ask(t, token); !v.allowed || v.identity["X-Auth-Subject"] != part(t, token, 1).text(t, "sub") {
				t.Errorf("%s: our own token: %s", f.name, v.said)
			}
		}
	}
	passes(ours)
	w.passes(t, theirs.Access)
	id := w.revoke(t, "all", "")
	w.denies(t, theirs.Access)
	passes(ours)
	w.lift(t, id)
	w.passes(t, theirs.Access)
	id = w.revokeAny(t, "all", "")
	w.denies(t, ours)
	w.passes(t, theirs.Access)
	w.lift(t, id)
	passes(ours)
}

// loggedOut waits until no front lets a token pass any more and says how long that took
// since a moment before the log-out.
func (w *world) loggedOut(t *testing.T, how string, s session, since time.Time) {
	t.Helper()
	eventually(t, 20*time.Second, "the end of a session by "+how, func() bool { return w.allowing(t, s.Access) == 0 })
	t.Logf("%s: denied by every front %.0f ms after it was asked for", how, time.Since(since).Seconds()*1000)
	w.denies(t, s.Access)
}

// However a session ends at Keycloak, the issuer is told of it, and that session's
// tokens are denied and no others.
func (w *world) logouts(t *testing.T) {
	for _, c := range []struct {
		how string
		do  func(t *testing.T, s session)
	}{
		{"the end-session endpoint", w.logout},
		{"a refresh token", w.logoutByRefreshToken},
		{"an administrator, one session", func(t *testing.T, s session) {
			w.keycloak.admin(t, http.MethodDelete, w.name+"/sessions/"+s.claim(t, "sid"), nil)
		}},
	} {
		mine, other := w.login(t, "anna"), w.login(t, "anna")
		w.passes(t, mine.Access)
		n := w.relay.count()
		began := time.Now()
		c.do(t, mine)
		w.loggedOut(t, c.how, mine, began)
		w.passes(t, other.Access)
		told := w.relay.since(n)
		if len(told) != 1 || told[0].status != http.StatusOK {
			t.Fatalf("%s: the issuer was told %+v", c.how, told)
		}
		t.Logf("%s: the issuer took %.1f ms to answer", c.how, told[0].took.Seconds()*1000)
		if claims := part(t, told[0].token, 1); claims.text(t, "sid") != mine.claim(t, "sid") {
			t.Errorf("%s: logged out %v", c.how, claims)
		}
	}

	one, two, bert := w.login(t, "anna"), w.login(t, "anna"), w.login(t, "bert")
	began := time.Now()
	w.keycloak.admin(t, http.MethodPost, w.name+"/users/"+one.claim(t, "sub")+"/logout", nil)
	w.loggedOut(t, "an administrator, all of a user's", one, began)
	w.loggedOut(t, "an administrator, all of a user's", two, began)
	w.passes(t, bert.Access)
	w.passes(t, w.login(t, "anna").Access)
}

// Keycloak ends sessions in further ways of which it tells no client, as
// docs/identity-provider.md says: then an operator has to.
func (w *world) untold(t *testing.T) {
	user := func(s session) string { return w.name + "/users/" + s.claim(t, "sub") }
	enable := func(s session, enabled bool) {
		w.keycloak.admin(t, http.MethodPut, user(s), map[string]any{"enabled": enabled})
	}
	for _, c := range []struct {
		how string
		do  func(s session)
	}{
		{"the refresh token's revocation", func(s session) {
			send(t.Context(), plain(), http.MethodPost, w.endpoint("revoke"), form(),
				url.Values{"client_id": {app}, "token": {s.Refresh}, "token_type_hint": {"refresh_token"}}.Encode()).want(t, http.StatusOK)
		}},
		{"the end of all sessions of the realm", func(session) { w.keycloak.admin(t, http.MethodPost, w.name+"/logout-all", nil) }},
		{"a disabled user", func(s session) { enable(s, false) }},
	} {
		s := w.login(t, "bert")
		n := w.relay.count()
		c.do(s)
		if w.alive(t.Context(), s) || w.relay.count() != n {
			t.Errorf("%s: Keycloak ends it %t, and has told of %d", c.how, !w.alive(t.Context(), s), w.relay.count()-n)
		}
		w.passes(t, s.Access)
		w.revoke(t, "session", s.claim(t, "sid"))
		w.denies(t, s.Access)
		enable(s, true)
	}

	// Nor is a client told with which nobody logged in.
	w.keycloak.admin(t, http.MethodPost, w.name+"/clients", map[string]any{
		"clientId": "listener", "frontchannelLogout": false,
		"attributes": map[string]string{"backchannel.logout.url": w.relay.URL + "/v1/backchannel-logout", "backchannel.logout.session.required": "true"},
	})
	n := w.relay.count()
	w.logout(t, w.login(t, "bert"))
	eventually(t, 20*time.Second, "a log-out token", func() bool { return w.relay.count() > n })
	for _, l := range w.relay.since(n) {
		if to := part(t, l.token, 1)["aud"]; to != app {
			t.Errorf("%v was told", to)
		}
	}
}

// A log-out token counts once, and is no access token.
func (w *world) replay(t *testing.T) {
	s := w.login(t, "bert")
	n := w.relay.count()
	w.logout(t, s)
	eventually(t, 20*time.Second, "a log-out token", func() bool { return w.relay.count() > n })
	l := w.relay.since(n)[0]
	if l.status != http.StatusOK {
		t.Fatalf("the issuer answered %s", l)
	}
	t.Logf("a log-out token: %v %v", part(t, l.token, 0), part(t, l.token, 1))
	if a := w.deliver(t, l.token); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "taken before") {
		t.Errorf("a second time: %s", a)
	}
	w.denies(t, l.token)
}

// When Keycloak signs with another key, tokens and log-outs with it are taken at once,
// and tokens with the one before go on until it is revoked.
func (w *world) keys(t *testing.T) {
	old := w.login(t, "anna")
	w.keycloak.rotate(t, w.name, w.algorithm)
	var renewed, ended session
	eventually(t, time.Minute, "a token with the next key", func() bool {
		renewed, ended = w.login(t, "bert"), w.login(t, "anna")
		return renewed.kid(t) != old.kid(t) && ended.kid(t) != old.kid(t)
	})
	began := time.Now()
	eventually(t, time.Minute, "the next key at the sidecars", func() bool { return w.allowing(t, renewed.Access) == len(w.fronts) })
	t.Logf("the next key passed after %.1f s", time.Since(began).Seconds())
	w.passes(t, renewed.Access)
	w.passes(t, old.Access)

	n := w.relay.count()
	began = time.Now()
	w.logout(t, ended)
	w.loggedOut(t, "a log-out signed with the next key", ended, began)
	if l := w.relay.since(n); len(l) != 1 || l[0].status != http.StatusOK || part(t, l[0].token, 0).text(t, "kid") == old.kid(t) {
		t.Errorf("the issuer was told %+v", l)
	}

	w.revoke(t, "key", old.kid(t))
	w.denies(t, old.Access)
	w.passes(t, renewed.Access)
}

// Keycloak may be away: its tokens pass and are revoked by the keys that are known, also
// at a sidecar that starts anew, and a log-out that comes late counts.
func withoutKeycloak(t *testing.T, keycloak *server, worlds []*world) {
	staying, leaving, late := map[*world]session{}, map[*world]session{}, map[*world]string{}
	for _, w := range worlds {
		staying[w], leaving[w] = w.login(t, "bert"), w.login(t, "anna")
		w.relay.lead("")
		n := w.relay.count()
		w.logout(t, leaving[w])
		eventually(t, 20*time.Second, "a log-out token", func() bool { return w.relay.count() > n })
		if w.alive(t.Context(), leaving[w]) {
			t.Error("Keycloak keeps a session since nobody could be told of its end")
		}
		late[w] = w.relay.since(n)[0].token
		w.passes(t, leaving[w].Access)
	}
	if err := keycloak.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, w := range worlds {
		w.passes(t, staying[w].Access)
		w.revoke(t, "session", staying[w].claim(t, "sid"))
		for _, sidecar := range w.stack.Sidecars() {
			w.up(t, sidecar)
		}
		w.denies(t, staying[w].Access)
		w.passes(t, leaving[w].Access)
		w.deliver(t, late[w]).want(t, http.StatusOK)
		w.loggedOut(t, "a log-out that comes late", leaving[w], time.Now())
	}
}
