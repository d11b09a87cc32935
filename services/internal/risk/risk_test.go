package risk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/risk"
)

func asked() issue.RiskRequest {
	return issue.RiskRequest{
		Subject: "u-7", Session: "s-1", Client: "demo-mobile", DeviceID: "laptop", SessionDeviceID: "phone",
		Address: netip.MustParseAddr("192.0.2.7"), NetworkChanged: true,
		AuthTime: time.Unix(1795310000, 0), LastRefresh: time.Unix(1795310600, 0),
	}
}

func hook(t *testing.T, cfg risk.Config, log *zap.Logger) (*risk.Hook, *prometheus.Registry) {
	t.Helper()
	metrics := prometheus.NewRegistry()
	h, err := risk.New(cfg, log, metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h, metrics
}

func answering(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL + "/risk"
}

func TestWhatIsAsked(t *testing.T) {
	var got map[string]any
	var raw string
	h, _ := hook(t, risk.Config{Timeout: time.Minute, URL: answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		raw = string(body)
		if err := json.Unmarshal(body, &got); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.Header.Get("Content-Type"), err)
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, `{"verdict":"allow"}`)
	})}, zap.NewNop())
	if v, err := h.Judge(t.Context(), asked()); err != nil || v != issue.RiskAllow {
		t.Fatalf("%v, %v", v, err)
	}
	want := map[string]any{
		"subject": "u-7", "session_id": "s-1", "client_id": "demo-mobile", "device_id": "laptop", "session_device_id": "phone",
		"address": "192.0.2.7", "network_changed": true, "auth_time": "2026-11-22T01:13:20Z", "last_refresh_at": "2026-11-22T01:23:20Z",
	}
	if !maps.Equal(got, want) {
		t.Errorf("asked %v", got)
	}
	bare := asked()
	bare.Address, bare.DeviceID, bare.SessionDeviceID = netip.Addr{}, "", ""
	if _, err := h.Judge(t.Context(), bare); err != nil || strings.Contains(raw, "address") || strings.Contains(raw, "device") {
		t.Errorf("what is not known is asked all the same: %s, %v", raw, err)
	}
}

// Nothing but the two words counts; for all else the configuration stands in, either
// way.
func TestAnswers(t *testing.T) {
	say := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	var redirected atomic.Bool
	elsewhere := answering(t, func(w http.ResponseWriter, r *http.Request) {
		redirected.Store(true)
		say("application/json", `{"verdict":"allow"}`)(w, r)
	})
	const failure = "failure"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"allow":           {say("application/json", `{"verdict":"allow"}`), "allow"},
		"step-up":         {say("application/json", ` {"verdict": "step-up"} `), "step-up"},
		"another word":    {say("application/json", `{"verdict":"deny"}`), failure},
		"another case":    {say("application/json", `{"verdict":"Allow"}`), failure},
		"another name":    {say("application/json", `{"Verdict":"allow"}`), failure},
		"said twice":      {say("application/json", `{"verdict":"step-up","verdict":"allow"}`), failure},
		"more than asked": {say("application/json", `{"verdict":"allow","score":1}`), failure},
		"two answers":     {say("application/json", `{"verdict":"allow"}{"verdict":"allow"}`), failure},
		"an array":        {say("application/json", `["allow"]`), failure},
		"empty":           {say("application/json", ``), failure},
		"no word":         {say("application/json", `{}`), failure},
		"text":            {say("text/plain", `{"verdict":"allow"}`), failure},
		"no type":         {say("", `{"verdict":"allow"}`), failure},
		"too long":        {say("application/json", strings.Repeat(" ", 1024)+`{"verdict":"allow"}`), failure},
		"an error's status": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			say("application/json", `{"verdict":"allow"}`)(w, r)
		}, failure},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, failure},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, failure},
	} {
		t.Run(name, func(t *testing.T) {
			for _, otherwise := range []issue.RiskVerdict{issue.RiskAllow, issue.RiskStepUp} {
				seen, logged := observer.New(zap.WarnLevel)
				h, metrics := hook(t, risk.Config{URL: answering(t, c.answer), Timeout: time.Minute, Failure: otherwise}, zap.New(seen))
				got, err := h.Judge(t.Context(), asked())
				want, label := otherwise, "failed"
				switch c.want {
				case "allow":
					want, label = issue.RiskAllow, "allow"
				case "step-up":
					want, label = issue.RiskStepUp, "step-up"
				}
				if err != nil || got != want {
					t.Errorf("got %v, %v; want %v", got, err, want)
				}
				if failing := label == "failed"; (logged.Len() == 1) != failing {
					t.Errorf("%d lines logged", logged.Len())
				}
				expected := "# HELP revocast_issuer_risk_verdicts_total Answers of the risk hook: allow, step-up, or failed, for which the configuration stands in.\n# TYPE revocast_issuer_risk_verdicts_total counter\n"
				for _, l := range []string{"allow", "failed", "step-up"} {
					expected += fmt.Sprintf("revocast_issuer_risk_verdicts_total{verdict=%q} %d\n", l, map[bool]int{true: 1}[l == label])
				}
				if err := testutil.GatherAndCompare(metrics, strings.NewReader(expected)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if redirected.Load() {
		t.Error("a redirect was followed")
	}
}

// A service that hangs costs the timeout; a caller that gives up is told so.
func TestHanging(t *testing.T) {
	release := make(chan struct{})
	hanging := answering(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server waits for its handlers
	h, _ := hook(t, risk.Config{URL: hanging, Timeout: 20 * time.Millisecond, Failure: issue.RiskAllow}, zap.NewNop())
	if v, err := h.Judge(t.Context(), asked()); err != nil || v != issue.RiskAllow {
		t.Errorf("%v, %v", v, err)
	}
	patient, _ := hook(t, risk.Config{URL: hanging, Timeout: time.Hour, Failure: issue.RiskAllow}, zap.NewNop())
	ctx, giveUp := context.WithCancel(t.Context())
	go giveUp()
	if v, err := patient.Judge(ctx, asked()); !errors.Is(err, context.Canceled) || v != issue.RiskStepUp {
		t.Errorf("a caller that gave up got %v, %v", v, err)
	}
}

func TestConfig(t *testing.T) {
	good := []string{"https://risk.example/judge?v=1", "http://127.0.0.1:9000/", "http://localhost/", "http://[::1]:1/"}
	bad := []string{"", "risk.example", "http://risk.example/", "http://127.0.0.1.evil.example/", "ftp://127.0.0.1/", "https://u:p@risk.example/", "https://risk.example/#x", "https:///x", "://"}
	for _, url := range slices.Concat(good, bad) {
		_, err := risk.New(risk.Config{URL: url, Timeout: time.Second}, zap.NewNop(), prometheus.NewRegistry())
		if want := slices.Contains(bad, url); (err != nil) != want {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := risk.New(risk.Config{URL: good[0]}, zap.NewNop(), prometheus.NewRegistry()); err == nil {
		t.Error("no timeout was accepted")
	}
	metrics := prometheus.NewRegistry()
	for n := range 2 {
		if _, err := risk.New(risk.Config{URL: good[0], Timeout: time.Second}, zap.NewNop(), metrics); (err != nil) != (n == 1) {
			t.Errorf("hook %d: %v", n+1, err)
		}
	}
}
