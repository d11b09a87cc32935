package app_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/session"
)

var errNotNoted = errors.New("the step-up was not noted")

// deviceSession is one entry of GET /v1/sessions.
type deviceSession struct {
	ID        string `json:"sid"`
	NewDevice bool   `json:"new_device"`
}

func (i *issuer) sessions(t *testing.T, access string) map[string]deviceSession {
	t.Helper()
	list := decode[struct {
		Sessions []deviceSession `json:"sessions"`
	}](t, i.call(t, "GET", "/v1/sessions", access).want(t, 200))
	byID := map[string]deviceSession{}
	for _, s := range list.Sessions {
		byID[s.ID] = s
	}
	return byID
}

// R13, R29: another device is asked for the password, and with it takes the session's
// place.
func (p pair) otherDevicesStepUp(t *testing.T) {
	mine := p.a.login(t, "device_id", "phone")
	use := func(token, device string) reply {
		return p.b.postForm(t, "/oauth/token", "grant_type", "refresh_token", "client_id", mobile, "refresh_token", token, "device_id", device)
	}
	before := p.announced(t)
	for range 2 {
		got := use(mine.Refresh, "laptop").want(t, 400)
		said := decode[struct {
			Error     string `json:"error"`
			ACRValues string `json:"acr_values"`
			MaxAge    *int   `json:"max_age"`
			Session   string `json:"session_id"`
		}](t, got)
		if said.Error != "insufficient_user_authentication" || said.ACRValues != "urn:revocast:password" || said.MaxAge == nil || *said.MaxAge != 0 ||
			said.Session != mine.Session || got.header.Get(outcome) != "step-up" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v, %s", got.header, got.body)
		}
	}
	mine = decode[tokens](t, use(mine.Refresh, "phone").want(t, 200))
	stepUp := func(password, token string) reply {
		return p.a.postJSON(t, "/v1/login", "username", alice, "password", password, "client_id", mobile,
			"device_id", "laptop", "device_name", "Laptop", "refresh_token", token)
	}
	isProblem(t, "a wrong password", stepUp("wrong", mine.Refresh), 401)
	isProblem(t, "no token at all", stepUp(alicePassword, "x"), 400)
	bobs := decode[tokens](t, p.a.postJSON(t, "/v1/login", "username", bob, "password", bobPassword, "client_id", mobile).want(t, 200))
	isProblem(t, "another user's token", stepUp(alicePassword, bobs.Refresh), 400)
	if p.announced(t) != before {
		t.Error("somebody was logged out")
	}
	clean := decode[tokens](t, stepUp(alicePassword, mine.Refresh).want(t, 200))
	p.b.call(t, "GET", "/v1/session", mine.Access).want(t, 401)
	use(mine.Refresh, "phone").want(t, 400)
	list := p.b.sessions(t, clean.Access)
	if s, ok := list[clean.Session]; !ok || !s.NewDevice {
		t.Errorf("the new session is listed as %+v", s)
	}
	if _, ok := list[mine.Session]; ok || clean.Session == mine.Session {
		t.Error("the old session is still there")
	}
	use(clean.Refresh, "laptop").want(t, 200)
}

// R11: one device at a time, or so many and no more.
func (p pair) devicesAreLimited(t *testing.T) {
	first := p.a.login(t, "client_id", bank)
	second := p.b.login(t, "client_id", bank)
	p.a.call(t, "GET", "/v1/session", first.Access).want(t, 401)
	p.b.refresh(t, first.Refresh, bank).want(t, 400)
	p.a.call(t, "GET", "/v1/session", second.Access).want(t, 200)

	login := func(password string, more ...string) reply {
		return p.a.postJSON(t, "/v1/login", append([]string{"username", alice, "password", password, "client_id", strict}, more...)...)
	}
	isProblem(t, "no device id", login(alicePassword), 400)
	only := decode[tokens](t, login(alicePassword, "device_id", "one").want(t, 200))
	full := login(alicePassword, "device_id", "two")
	isProblem(t, "one too many", full, 409)
	if !strings.Contains(full.body, "as many devices as this client allows") {
		t.Errorf("said %s", full.body)
	}
	isProblem(t, "one too many, with a wrong password", login("wrong", "device_id", "two"), 401)
	p.b.call(t, "DELETE", "/v1/session", only.Access).want(t, 204)
	login(alicePassword, "device_id", "two").want(t, 200)
}

// R13: what only a recent password gives is in no other token.
func (p pair) gradesAreInTokens(t *testing.T) {
	got := p.a.login(t, "client_id", bank)
	c := claimsOf(t, got.Access)
	authenticated, _ := c["auth_time"].(float64)
	expires, _ := c["exp"].(float64)
	if c["acr"] != session.ACRHigh || c["scope"] != "read pay" || got.Scope != "read pay" || authenticated == 0 || expires > authenticated+60 {
		t.Errorf("%v", c)
	}
	if c := claimsOf(t, p.a.login(t).Access); c["acr"] != nil {
		t.Errorf("without grades: %v", c["acr"])
	}
}

// The operator's own service has a say, and what it means when it fails is configured.
func TestRiskHook(t *testing.T) {
	t.Parallel()
	var verdict atomic.Value
	verdict.Store("allow")
	asked := make(chan string, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q map[string]any
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		subject, _ := q["session_id"].(string)
		asked <- subject
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"verdict": verdict.Load()})
	}))
	t.Cleanup(hook.Close)
	i := start(t, configure(t, t.TempDir(), "--risk-hook", hook.URL, "--risk-hook-timeout", "5s", "--risk-hook-failure", "allow"))
	mine := i.login(t)
	next := decode[tokens](t, i.refresh(t, mine.Refresh, mobile).want(t, 200))
	select {
	case sid := <-asked:
		if sid != mine.Session {
			t.Errorf("asked about %s", sid)
		}
	case <-time.After(patience):
		t.Fatal("nobody was asked")
	}
	verdict.Store("step-up")
	i.refresh(t, next.Refresh, mobile).want(t, 400)
	verdict.Store("maybe")
	i.refresh(t, next.Refresh, mobile).want(t, 200)
	metrics := must(t, request{method: http.MethodGet, url: "http://" + i.MetricsListen + "/metrics"}).want(t, 200)
	for _, line := range []string{
		`revocast_issuer_risk_verdicts_total{verdict="allow"} 1`, `revocast_issuer_risk_verdicts_total{verdict="step-up"} 1`,
		`revocast_issuer_risk_verdicts_total{verdict="failed"} 1`, `revocast_issuer_refreshes_total{outcome="step_up"} 1`,
	} {
		if !strings.Contains(metrics.body, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	eventually(t, func() error {
		m, err := send(request{method: http.MethodGet, url: "http://" + i.MetricsListen + "/metrics"})
		if err == nil && !strings.Contains(m.body, `revocast_issuer_notes_total{action="step_up_required",outcome="written"} 1`) {
			err = errNotNoted
		}
		return err
	})
}
