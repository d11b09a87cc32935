package token_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth/token"
	"github.com/revocast/revocast/services/internal/remote"
	"github.com/revocast/revocast/services/internal/session"
)

type refresher func(r issue.Refresh) (issue.Grant, error)

func (f refresher) Refresh(_ context.Context, r issue.Refresh) (issue.Grant, error) { return f(r) }

type registry struct{}

func (registry) Authenticate(id events.ClientID, secret string) (clients.Client, bool) {
	return clients.Client{ID: id, Public: secret == "", Grants: []clients.Grant{clients.RefreshToken}}, true
}

func serve(t *testing.T, f refresher, form url.Values) (*httptest.ResponseRecorder, *prometheus.CounterVec) {
	t.Helper()
	outcomes, err := token.NewOutcomes(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "192.0.2.7:4711"
	w := httptest.NewRecorder()
	remote.Proxies{}.Handler(token.Handler{Refresher: f, Clients: registry{}, Log: zap.NewNop(), Outcomes: outcomes}).ServeHTTP(w, r)
	return w, outcomes
}

func form(more ...string) url.Values {
	v := url.Values{"grant_type": {"refresh_token"}, "client_id": {"demo"}, "refresh_token": {"t"}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

// Every outcome is told apart in status, header and metric, and the body of a refusal
// says no more than it may.
func TestOutcomes(t *testing.T) {
	const invalidGrant = `{"error":"invalid_grant","error_description":"The refresh token is invalid, expired or revoked."}`
	refused := func(why error) error { return fmt.Errorf("%w: %w", issue.ErrGrant, why) }
	for _, c := range []struct {
		name           string
		grant          issue.Grant
		err            error
		status         int
		header, metric string
		body           string
	}{
		{name: "rotated", status: 200, header: "rotated", metric: "rotated"},
		{name: "kept", grant: issue.Grant{Kept: true}, status: 200, header: "kept", metric: "kept"},
		{name: "concurrent", grant: issue.Grant{Replayed: true}, status: 200, header: "concurrent", metric: "concurrent"},
		{name: "lost", grant: issue.Grant{Replayed: true, LostResponse: true}, status: 200, header: "lost-response", metric: "lost_response"},
		{name: "reuse", err: refused(session.ErrReuse), status: 400, header: "reuse", metric: "reused", body: invalidGrant},
		{name: "over", err: refused(session.ErrOver), status: 400, header: "refused", metric: "refused", body: invalidGrant},
		{name: "no proof", err: refused(session.ErrProof), status: 400, header: "refused", metric: "refused", body: invalidGrant},
		{name: "scope", err: issue.ErrScope, status: 400, header: "refused", metric: "refused"},
		{name: "too fast", err: issue.ErrSlowDown, status: 429, header: "refused", metric: "refused"},
		{name: "throttled", err: &issue.ThrottledError{After: time.Minute}, status: 429, header: "refused", metric: "refused"},
		{name: "unavailable", err: events.ErrUnavailable, status: 503, metric: "undecided"},
		{
			name: "step-up", err: &issue.StepUpError{Session: "s-1", Cause: &session.StepUpError{Sign: session.SignDevice}},
			status: 400, header: "step-up", metric: "step_up",
			body: `{"error":"insufficient_user_authentication","error_description":"Log in again; the session lives on until then.",` +
				`"acr_values":"urn:revocast:password","max_age":0,"session_id":"s-1"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, outcomes := serve(t, func(issue.Refresh) (issue.Grant, error) { return c.grant, c.err }, form())
			got := w.Result()
			if got.StatusCode != c.status || got.Header.Get(token.OutcomeHeader) != c.header || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d, %v", got.StatusCode, got.Header)
			}
			if c.body != "" && strings.TrimSpace(w.Body.String()) != c.body {
				t.Errorf("said %s", w.Body)
			}
			if c.err != nil && got.Header.Get("WWW-Authenticate") != "" {
				t.Error("a challenge, as if the client had not authenticated")
			}
			if n := testutil.ToFloat64(outcomes.WithLabelValues(c.metric)); n != 1 {
				t.Errorf("%s counted %v times", c.metric, n)
			}
		})
	}
}

func TestWhatIsPassedOn(t *testing.T) {
	var got issue.Refresh
	take := func(r issue.Refresh) (issue.Grant, error) {
		got = r
		return issue.Grant{}, nil
	}
	serve(t, take, form("device_id", "phone", "device_secret", "s", "scope", "read", "client_secret", "known"))
	if got.Token != "t" || got.DeviceID != "phone" || got.Proof.DeviceSecret != "s" || got.Scope != "read" ||
		got.Address != netip.MustParseAddr("192.0.2.7") || got.Proof.Client != "demo" || !got.Proof.Authenticated {
		t.Errorf("passed on %+v", got)
	}
	never := func(issue.Refresh) (issue.Grant, error) { return issue.Grant{}, errors.New("asked") }
	for _, device := range []string{strings.Repeat("x", 257), "a\nb", "a\x7fb", "\xff"} {
		if w, _ := serve(t, never, form("device_id", device)); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_request") {
			t.Errorf("device id %.10q: %d %s", device, w.Code, w.Body)
		}
	}
}
