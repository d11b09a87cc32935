package scenario

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/target"
)

// sidecar lets tokens that begin with good pass.
func sidecar(t *testing.T, asked *atomic.Int64) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer good") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}) + "/auth"
}

func verify(t *testing.T, url string, tokens ...string) Verify {
	t.Helper()
	ready, err := NewTokens(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return Verify{
		Target: targetAt(t, url), Tokens: ready, Expect: http.StatusOK,
		Plan: gen.Plan{Rate: 400, Workers: 4, Patience: time.Minute, Seed: 1}, Duration: 500 * time.Millisecond,
	}
}

// What the client counts is what the server saw, and every token had its turn.
func TestVerify(t *testing.T) {
	var asked atomic.Int64
	v := verify(t, sidecar(t, &asked), "good-1", "bad", "good-2", "good-3")
	began := time.Now()
	r := measure.New(began)
	v.Run(t.Context(), began, r)
	s := r.Summary()
	if s.Due == 0 || s.Due != asked.Load() || s.Answered != s.Due {
		t.Errorf("%d due, %d answered, %d asked", s.Due, s.Answered, asked.Load())
	}
	quarter := s.Due / 4
	if bad := s.Statuses[http.StatusUnauthorized]; bad < quarter || bad > quarter+1 || s.Errors() != bad || s.Statuses[http.StatusOK] != s.Due-bad {
		t.Errorf("%+v", s)
	}
	if s.Service.Max() > s.Latency.Max() || s.Latency.Count() != s.Due {
		t.Errorf("service %s, latency %s", s.Service.Max(), s.Latency.Max())
	}
}

func TestWarmUpIsSentButNotMeasured(t *testing.T) {
	var asked atomic.Int64
	v := verify(t, sidecar(t, &asked), "good")
	v.WarmUp, v.Duration = v.Duration, v.Duration/2
	began := time.Now()
	r := measure.New(began.Add(v.WarmUp))
	v.Run(t.Context(), began, r)
	if s := r.Summary(); s.Due == 0 || s.Due >= asked.Load() || s.Errors() != 0 {
		t.Errorf("measured %d of %d, %d errors", s.Due, asked.Load(), s.Errors())
	}
}

// An interruption ends a run of an hour, and what was sent is counted.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	v := verify(t, serve(t, func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == 20 {
			cancel()
		}
	}), "good")
	v.Duration = time.Hour
	began := time.Now()
	r := measure.New(began)
	v.Run(ctx, began, r)
	if s := r.Summary(); s.Answered != asked.Load() || s.Answered < 20 || len(s.Failures) != 0 {
		t.Errorf("%d asked, %+v", asked.Load(), s)
	}
}

func TestProbe(t *testing.T) {
	var asked atomic.Int64
	url := sidecar(t, &asked)
	if err := verify(t, url, "good").Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if err := verify(t, url, "bad").Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "bad") {
		t.Errorf("a token that does not pass: %v", err)
	}
	if err := verify(t, "http://127.0.0.1:1/auth", "good").Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

func targetAt(t *testing.T, url string) *target.Target {
	t.Helper()
	to, err := target.New(target.Config{URL: url, Connections: 4, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	return to
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
