package app_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/config"
)

// controlOn configures an issuer in control mode on a broker of the test's.
func controlOn(t *testing.T, s *eventstest.Server, more ...string) config.Config {
	t.Helper()
	return configured(t, t.TempDir(), append([]string{
		"--mode", "control", "--nats-url", s.URL(), "--nats-creds", s.Credentials(topology.Issuer),
	}, more...)...)
}

// In control mode nobody logs in and nothing is signed: what would do so is not there.
func TestControlModeIsClosed(t *testing.T) {
	t.Parallel()
	i := start(t, configured(t, t.TempDir(), "--mode", "control"))
	for _, e := range []struct{ method, path string }{
		{"POST", "/v1/login"},
		{"POST", "/oauth/token"},
		{"POST", "/oauth/revoke"},
		{"POST", "/oauth/introspect"},
		{"GET", "/oauth/authorize"},
		{"GET", "/.well-known/oauth-authorization-server"},
		{"GET", "/.well-known/openid-configuration"},
		{"GET", "/.well-known/jwks.json"},
		{"GET", "/v1/session"},
		{"DELETE", "/v1/session"},
		{"GET", "/v1/sessions"},
		{"DELETE", "/v1/sessions"},
		{"DELETE", "/v1/sessions/01890a5d-ac96-774b-bcce-b302099a8057"},
		{"PUT", "/v1/password"},
		{"GET", "/"},
	} {
		got := must(t, request{
			method: e.method, url: i.public + e.path, contentType: formType,
			body: form("grant_type", "client_credentials", "client_id", backend, "client_secret", backendSecret),
		})
		isProblem(t, e.method+" "+e.path, got, 404)
	}
	for _, e := range []struct{ method, path string }{
		{"GET", "/admin/v1/users?username=alice"},
		{"POST", "/admin/v1/users"},
		{"GET", "/admin/v1/users/u"},
		{"PUT", "/admin/v1/users/u/password"},
		{"PUT", "/admin/v1/users/u/roles"},
		{"PUT", "/admin/v1/users/u/status"},
		{"GET", "/admin/v1/subjects/u/sessions"},
		{"GET", "/admin/v1/clients"},
		{"PUT", "/admin/v1/clients/c/status"},
		{"GET", "/admin/v1/keys"},
		{"POST", "/admin/v1/keys:rotate"},
		{"DELETE", "/admin/v1/keys/k"},
	} {
		isProblem(t, e.method+" "+e.path, i.operate(t, e.method, e.path, "{}"), 404)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		i.call(t, "GET", path, "").want(t, 200)
	}
	for _, path := range []string{revocationsPath, fleetPath, auditPath, operatorsPath} {
		i.operate(t, "GET", path, "").want(t, 200)
	}
	if strings.Contains(i.log.String(), "no clients are configured") {
		t.Error("it misses clients")
	}
	// Whoever declares no provider is logged out by none.
	p := newIdentityProvider(t)
	i.logOut(t, p.token("s", nil, nil)).want(t, 400)
}

// A revocation that names no issuer means the only provider's tokens; of several one
// must be named, for a revocation of nobody's tokens would look as if it denied some.
func TestWhoseTokensControlModeMeans(t *testing.T) {
	t.Parallel()
	p, other := newIdentityProvider(t), newIdentityProvider(t)
	one := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule("")))
	for _, body := range []string{
		`{"kind":"token","id":"x"}`, `{"kind":"session","id":"x"}`, `{"kind":"subject","id":"x"}`, `{"kind":"client","id":"x"}`, `{"kind":"key","id":"x"}`, `{"kind":"all"}`,
	} {
		got := one.operate(t, "POST", revocationsPath, body).want(t, 201)
		if done := decode[revoked](t, got); done.Issuer != p.URL {
			t.Errorf("%s: %s", body, got.body)
		}
		if got := one.operate(t, "POST", revocationsPath, strings.TrimSuffix(body, "}")+`,"dry_run":true}`).want(t, 200); !strings.Contains(got.body, `"complete":false`) {
			t.Errorf("%s, tried: %s", body, got.body)
		}
	}
	eventually(t, func() error {
		for _, e := range one.audited(t, "subject=x") {
			if e.Issuer == p.URL && e.Kind == "subject" {
				return nil
			}
		}
		return fmt.Errorf("the audit of subject x does not have its revocation")
	})

	several := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule(""), "--provider", other.rule("")))
	none := start(t, configured(t, t.TempDir(), "--mode", "control"))
	for name, i := range map[string]*issuer{"several": several, "none": none} {
		isProblem(t, name, i.operate(t, "POST", revocationsPath, `{"kind":"subject","id":"x"}`), 400)
		done := decode[revoked](t, i.operate(t, "POST", revocationsPath, `{"kind":"subject","id":"x","issuer":"https://elsewhere.example"}`).want(t, 201))
		if list := i.revokedOf(t, "subject", "x"); len(list) != 1 || list[0].ID != done.ID || list[0].Issuer != "https://elsewhere.example" {
			t.Errorf("%s: %+v", name, list)
		}
		i.operate(t, "DELETE", revocationsPath+"/"+done.ID, "").want(t, 204)
	}
}

// The time of a cut can be told where tokens are another issuer's, and wherever else it
// would mean nothing it is refused.
func TestCutTimes(t *testing.T) {
	t.Parallel()
	i := start(t, configure(t, t.TempDir()))
	const elsewhere = "https://id.example"
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	ask := func(kind, id, issuer, cut string) reply {
		t.Helper()
		return i.operate(t, "POST", revocationsPath, object("kind", kind, "id", id, "issuer", issuer, "cut_time", cut))
	}
	for kind, id := range map[string]string{"subject": "x", "client": "x", "all": ""} {
		done := decode[revoked](t, ask(kind, id, elsewhere, at.Format(time.RFC3339)).want(t, 201))
		if list := i.revokedOf(t, kind, id); len(list) != 1 || !list[0].CutTime.Equal(at) || list[0].ID != done.ID {
			t.Errorf("%s: %+v", kind, list)
		}
		ask(kind, id, i.Issuer, at.Format(time.RFC3339)).want(t, 400)
		ask(kind, id, elsewhere, "yesterday").want(t, 400)
		ask(kind, id, elsewhere, "1969-12-31T23:59:59Z").want(t, 400)
		ask(kind, id, elsewhere, time.Now().Add(2*time.Minute).Format(time.RFC3339)).want(t, 400)
		ask(kind, id, elsewhere, time.Now().Add(30*time.Second).Format(time.RFC3339)).want(t, 201)
	}
	for _, kind := range []string{"token", "session", "key"} {
		ask(kind, "x", elsewhere, at.Format(time.RFC3339)).want(t, 400)
	}
	// It is on record who asked for it.
	eventually(t, func() error {
		for _, e := range i.audited(t, "subject=x&issuer="+url.QueryEscape(elsewhere)) {
			if strings.Contains(e.Detail, at.Format(time.RFC3339)) {
				return nil
			}
		}
		return fmt.Errorf("no note has the time of the cut")
	})
}
