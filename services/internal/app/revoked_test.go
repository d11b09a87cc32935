package app_test

import (
	"strings"
	"testing"
)

// INV-9: a token revoked at one issuer is refused at the endpoints of the other, in
// whatever way it was revoked.
func (p pair) revokedTokensAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		// revoke ends the victim at issuer a.
		revoke func(t *testing.T, victim tokens)
		client string
		// sessionLives: only access tokens were revoked.
		sessionLives bool
	}{
		{name: "log out", revoke: func(t *testing.T, v tokens) {
			p.a.call(t, "DELETE", "/v1/session", v.Access).want(t, 204)
		}},
		{name: "log out from another device", revoke: func(t *testing.T, v tokens) {
			p.a.call(t, "DELETE", "/v1/sessions/"+v.Session, p.a.login(t).Access).want(t, 204)
		}},
		{name: "log out others", revoke: func(t *testing.T, _ tokens) {
			other := p.a.login(t)
			p.a.call(t, "DELETE", "/v1/sessions?which=others", other.Access).want(t, 204)
			p.b.call(t, "GET", "/v1/session", other.Access).want(t, 200)
			p.b.refresh(t, other.Refresh, mobile).want(t, 200)
		}},
		{name: "log out everywhere", revoke: func(t *testing.T, _ tokens) {
			p.a.call(t, "DELETE", "/v1/sessions?which=all", p.a.login(t).Access).want(t, 204)
		}},
		{name: "change of password", revoke: func(t *testing.T, _ tokens) {
			other := p.a.login(t)
			p.a.changePassword(t, other, alicePassword, "looking-glass-7").want(t, 204)
			p.b.call(t, "GET", "/v1/session", other.Access).want(t, 200)
			p.b.changePassword(t, other, "looking-glass-7", alicePassword).want(t, 204)
		}},
		{name: "reuse of a refresh token", client: hasty, revoke: func(t *testing.T, v tokens) {
			p.a.refresh(t, v.Refresh, hasty).want(t, 200)
			p.a.refresh(t, v.Refresh, hasty).want(t, 400)
		}},
		{name: "RFC 7009, refresh token", revoke: func(t *testing.T, v tokens) {
			p.a.postForm(t, "/oauth/revoke", "token", v.Refresh, "client_id", mobile).want(t, 200)
		}},
		{name: "RFC 7009, access token", sessionLives: true, revoke: func(t *testing.T, v tokens) {
			p.a.postForm(t, "/oauth/revoke", "token", v.Access, "client_id", mobile).want(t, 200)
		}},
		{name: "operator, session", revoke: func(t *testing.T, v tokens) {
			p.revoke(t, "kind", "session", "id", v.Session)
		}},
		{name: "operator, token", sessionLives: true, revoke: func(t *testing.T, v tokens) {
			p.revoke(t, "kind", "token", "id", newForger(t, p.a, v.Access).claims["jti"].(string))
		}},
		{name: "operator, subject", revoke: func(t *testing.T, v tokens) {
			p.revoke(t, "kind", "subject", "id", p.subject(t, v))
		}},
		{name: "operator, subject's access tokens", sessionLives: true, revoke: func(t *testing.T, v tokens) {
			p.revoke(t, "kind", "subject", "scope", "access-tokens", "id", p.subject(t, v))
		}},
		{name: "operator, password", revoke: func(t *testing.T, v tokens) {
			p.a.operate(t, "PUT", "/admin/v1/users/"+p.subject(t, v)+"/password", object("password", alicePassword)).want(t, 204)
		}},
		{name: "operator, client", client: tablet, revoke: func(t *testing.T, _ tokens) {
			p.revoke(t, "kind", "client", "id", tablet)
		}},
		{name: "operator, everything", revoke: func(t *testing.T, _ tokens) {
			p.revoke(t, "kind", "all")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.client == "" {
				c.client = mobile
			}
			victim := p.a.login(t, "client_id", c.client)
			p.b.call(t, "GET", "/v1/session", victim.Access).want(t, 200)
			c.revoke(t, victim)
			p.isRefused(t, victim.Access, !c.sessionLives)
			renewed := p.b.refresh(t, victim.Refresh, c.client)
			if !c.sessionLives {
				isInvalidGrant(t, renewed)
				return
			}
			fresh := decode[tokens](t, renewed.want(t, 200))
			p.b.call(t, "GET", "/v1/session", fresh.Access).want(t, 200)
		})
	}
	p.b.call(t, "GET", "/v1/session", p.a.login(t).Access).want(t, 200)
}

// A revoked key ends what it signed, and nothing else.
func (p pair) revokedKeysAreRefused(t *testing.T) {
	mine := p.a.login(t)
	f := newForger(t, p.a, mine.Access)
	byRSA := f.rs(nil, nil)
	p.b.call(t, "GET", "/v1/session", byRSA).want(t, 200)
	p.revoke(t, "kind", "key", "id", f.rsaKeyID)
	p.isRefused(t, byRSA, false)
	p.b.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
}

// isRefused asks the other issuer everywhere. Logging out of what has ended already
// is no error: it is answered like the first time.
func (p pair) isRefused(t *testing.T, token string, ended bool) {
	t.Helper()
	for _, e := range protected {
		got := p.b.ask(t, e.method, e.path, token)
		if ended && e.method == "DELETE" && e.path == "/v1/session" {
			got.want(t, 204)
			continue
		}
		refuses(t, e.method+" "+e.path, got, token)
	}
}

func isInvalidGrant(t *testing.T, got reply) {
	t.Helper()
	got.want(t, 400)
	if !strings.Contains(got.body, `"invalid_grant"`) || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", got.header, got.body)
	}
}

func (i *issuer) changePassword(t *testing.T, who tokens, current, wanted string) reply {
	t.Helper()
	return must(t, request{
		method: "PUT", url: i.public + "/v1/password", bearer: who.Access, contentType: jsonType,
		body: object("current_password", current, "new_password", wanted),
	})
}

func (p pair) revoke(t *testing.T, pairs ...string) reply {
	t.Helper()
	return p.a.operate(t, "POST", "/admin/v1/revocations", object(pairs...)).want(t, 201)
}

func (p pair) subject(t *testing.T, who tokens) string {
	t.Helper()
	return newForger(t, p.a, who.Access).claims["sub"].(string)
}
