package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/config"
)

// Two sidecars lose their broker, one that denies on a stale view and one that serves
// it for a while. Each says so wherever it can be asked: in the answer's header, to
// probes, in status, metrics and explanations. What is unsure is 503, never 401; what
// is known to be revoked stays 401.
func TestWhenTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	strict := startSidecar(t, s, i.public(), t.TempDir(), func(c *config.Config) { c.StaleAfter, c.WhenStale = 10*time.Second, "deny" })
	lenient := startSidecar(t, s, i.public(), t.TempDir(), func(c *config.Config) { c.StaleAfter = 10 * time.Second })
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	i.revoke(t, revocation(events.KindSession, "gone"))
	good, gone := tokenWith(t, signer, "here"), tokenWith(t, signer, "gone")
	for _, r := range []*running{strict, lenient} {
		r.becomes(t, good, http.StatusOK)
		r.becomes(t, gone, http.StatusUnauthorized)
		r.says(t, "", good, http.StatusOK)
		if code, body := r.probe(t); code != http.StatusOK || body != "ready\n" {
			t.Errorf("fresh: readyz %d %q", code, body)
		}
	}
	s.Stop()
	eventstest.Eventually(t, func(context.Context) error {
		if asOf, _, _ := strict.node.Freshness(time.Now()); time.Since(asOf) < 10*time.Second {
			return errors.New("not stale yet")
		}
		if asOf, _, _ := lenient.node.Freshness(time.Now()); time.Since(asOf) < 10*time.Second {
			return errors.New("not stale yet")
		}
		return nil
	})

	strict.says(t, "", good, http.StatusServiceUnavailable)
	strict.says(t, "", gone, http.StatusUnauthorized)
	if code, body := strict.probe(t); code != http.StatusServiceUnavailable || !strings.Contains(body, "old") {
		t.Errorf("deny: readyz %d %q", code, body)
	}
	lenient.says(t, "", good, http.StatusOK)
	lenient.says(t, "", gone, http.StatusUnauthorized)
	lenient.says(t, "?max_stale=9s", good, http.StatusServiceUnavailable)
	lenient.says(t, "?max_stale=9s", gone, http.StatusUnauthorized)
	lenient.says(t, "?max_stale=10m", good, http.StatusOK)
	if code, body := lenient.probe(t); code != http.StatusOK || !strings.Contains(body, "ready, on a view of revocations that is 1") {
		t.Errorf("allow: readyz %d %q", code, body)
	}
	for r, ready := range map[*running]float64{strict: 0, lenient: 1} {
		if age := gauge(t, r, "revocast_sidecar_view_age_seconds"); age < 10 || gauge(t, r, "revocast_sidecar_view_stale") != 1 ||
			gauge(t, r, "revocast_sidecar_ready") != ready {
			t.Errorf("age %v, stale %v, ready %v, want 1 and %v", age, gauge(t, r, "revocast_sidecar_view_stale"), gauge(t, r, "revocast_sidecar_ready"), ready)
		}
		var st adminapi.Status
		r.ask(t, http.MethodGet, "/v1/status", "", &st)
		if !st.Stale || st.AgeSeconds == nil || *st.AgeSeconds < 10 || st.Ready != (ready == 1) {
			t.Errorf("status: %+v", st)
		}
		if x := r.explain(t, good); !x.Stale || (x.Reason == "good") != (ready == 1) || (x.Reason == "stale") == (ready == 1) {
			t.Errorf("explained: %+v", x)
		}
	}
	if n := counter(t, lenient, "revocast_sidecar_stale_allows_total"); n != 2 {
		t.Errorf("%v answers on a stale view are counted, want 2", n)
	}
	s.Start(t)
	for _, r := range []*running{strict, lenient} {
		eventstest.Eventually(t, func(context.Context) error { return r.node.Unready() })
		r.says(t, "", good, http.StatusOK)
	}
}

// says asks forward-auth and wants a status, with what belongs to it.
func (r *running) says(t *testing.T, query, token string, want int) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth"+query, http.NoBody)
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	r.auth.ServeHTTP(w, req)
	_, err := time.Parse(time.RFC3339, w.Header().Get("X-Revocast-Fresh-As-Of"))
	unavailable := want == http.StatusServiceUnavailable
	if w.Code != want || err != nil || (w.Header().Get("Retry-After") != "") != unavailable || (w.Header().Get("WWW-Authenticate") != "") != (want == http.StatusUnauthorized) {
		t.Errorf("%q: %d %v, want %d", query, w.Code, w.Header(), want)
	}
}

func (r *running) probe(t *testing.T) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r.readyz(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody))
	return w.Code, w.Body.String()
}

func counter(t *testing.T, r *running, name string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal(fmt.Errorf("no metric %s", name))
	return 0
}
