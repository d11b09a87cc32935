package sessions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/sessions"
	"github.com/revocast/revocast/loadtest/internal/target"
)

// house is an issuer with its sessions in memory, and with faults.
type house struct {
	// forks gives another successor at each use of a token; deaf revokes nothing; strict
	// takes a token once only; busy answers the first so many requests with 503.
	forks, deaf, strict bool
	busy                atomic.Int64

	mu         sync.Mutex
	generation map[string]int // by session; -1 for one that has ended
	given      int
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.busy.Add(-1) >= 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch r.URL.Path {
	case "/v1/login":
		id := fmt.Sprint("session", len(h.generation))
		h.generation[id] = 0
		grant(w, "", id, fmt.Sprint(id, "/0"))
	case "/oauth/token":
		h.refresh(w, r.FormValue("refresh_token"))
	case "/oauth/revoke":
		id, _, _ := strings.Cut(r.FormValue("token"), "/")
		h.revoke(id)
	case "/admin/v1/revocations":
		var in struct{ Kind, ID string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Kind != "session" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h.revoke(in.ID)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"revocation_id":"r","position":"0:1"}`))
	}
}

func (h *house) revoke(id string) {
	if !h.deaf {
		h.generation[id] = -1
	}
}

// refresh knows the current generation of a session, and the one before it.
func (h *house) refresh(w http.ResponseWriter, token string) {
	var id string
	var of int
	id, rest, _ := strings.Cut(token, "/")
	_, _ = fmt.Sscan(rest, &of)
	h.given++
	switch now := h.generation[id]; {
	case now >= 0 && of == now:
		h.generation[id]++
		grant(w, "rotated", id, fmt.Sprint(id, "/", now+1))
	case now >= 0 && of == now-1 && h.forks:
		grant(w, "concurrent", id, fmt.Sprint(id, "/", now, "/", h.given))
	case now >= 0 && of == now-1 && !h.strict:
		grant(w, "concurrent", id, fmt.Sprint(id, "/", now))
	default:
		outcome := "refused"
		if now >= 0 {
			h.generation[id], outcome = -1, "reuse"
		}
		w.Header().Set("X-Revocast-Refresh", outcome)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}
}

func grant(w http.ResponseWriter, outcome, session, refresh string) {
	w.Header().Set("X-Revocast-Refresh", outcome)
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "refresh_token": refresh, "session_id": session, "expires_in": 300})
}

// crowd opens n sessions at the house.
func crowd(t *testing.T, h *house, n, contention int, operator bool) *sessions.Crowd {
	t.Helper()
	h.generation = map[string]int{}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	to, err := target.New(target.Config{URL: s.URL, Connections: 64, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	c := sessions.New(sessions.Config{
		Issuers: []*issuer.Issuer{{Public: to, Admin: to}, {Public: to, Admin: to}},
		Users:   []issuer.Login{{Username: "a", Client: "app"}, {Username: "b", Client: "app"}}, Contention: contention, Operator: operator,
	})
	if done, err := c.Open(t.Context(), n, 8); err != nil || done != int64(n) {
		t.Fatalf("%d sessions: %v", done, err)
	}
	return c
}

func mix(t *testing.T, text string) (m sessions.Mix) {
	t.Helper()
	if err := m.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return m
}

// run sends some load and gives what was recorded of each operation.
func run(t *testing.T, c *sessions.Crowd, m sessions.Mix) map[sessions.Operation]measure.Summary {
	t.Helper()
	began := time.Now()
	recorders := map[sessions.Operation]*measure.Recorder{}
	for _, op := range sessions.Operations() {
		recorders[op] = measure.New(began)
	}
	sessions.Load{
		Crowd: c, Mix: m, Duration: 300 * time.Millisecond, Plan: gen.Plan{Rate: 1000, Workers: 16, Patience: time.Minute, Seed: 1},
		Record:  func(op sessions.Operation, s measure.Sample) { recorders[op].Record(s) },
		Abandon: func(op sessions.Operation, due, at time.Time) { recorders[op].Abandon(due, at) },
	}.Run(t.Context(), began)
	all := map[sessions.Operation]measure.Summary{}
	for op, r := range recorders {
		all[op] = r.Summary()
	}
	return all
}

// judge takes every step in the end.
func judge(ctx context.Context, c *sessions.Crowd) sessions.Tally {
	c.Use(ctx, 8)
	c.Repeat(ctx, 8)
	c.End(ctx, 8)
	c.Ended(ctx, 8)
	return c.Tally()
}

// At an issuer that does everything right, every request gets the answer that is wanted,
// and every session is as it should be.
func TestLoad(t *testing.T) {
	for name, operator := range map[string]bool{"operator": true, "app": false} {
		t.Run(name, func(t *testing.T) {
			c := crowd(t, &house{}, 100, 1, operator)
			all := run(t, c, mix(t, "logins=1,refreshes=8,revocations=1"))
			for _, op := range sessions.Operations() {
				if s := all[op]; s.Due == 0 || s.Errors() != 0 {
					t.Errorf("%s: %d due, %d errors", op, s.Due, s.Errors())
				}
			}
			under := c.Tally()
			if under.Opened != 100+all[sessions.Logins].Due || under.Revoked != all[sessions.Revocations].Due || under.Outcomes["rotated"] != all[sessions.Refreshes].Due {
				t.Errorf("%+v", under)
			}
			if living := int64(c.Living()); living != under.Opened-under.Revoked {
				t.Errorf("%d live: %+v", living, under)
			}
			end := judge(t.Context(), c)
			if end.Revoked != end.Opened || end.Forked+end.LoggedOut+end.Resurrected+end.Unchecked+end.Aside != 0 || c.Living() != 0 {
				t.Errorf("%d live: %+v", c.Living(), end)
			}
		})
	}
}

// Many use one token at once: one rotates it, the others get the same.
func TestContention(t *testing.T) {
	c := crowd(t, &house{}, 400, 5, false)
	s := run(t, c, mix(t, "refreshes=1"))[sessions.Refreshes]
	under := c.Tally()
	if n := under.Outcomes["rotated"]; s.Errors() != 0 || n == 0 || s.Due != 5*n || under.Outcomes["concurrent"] != 4*n {
		t.Errorf("%d due, %d errors, %+v", s.Due, s.Errors(), under)
	}
}

// What an issuer does wrong is found: under contention, and in the end without it.
func TestFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		house      *house
		contention int
		found      func(sessions.Tally) int64
	}{
		"forks under load":     {&house{forks: true}, 3, func(t sessions.Tally) int64 { return t.Forked }},
		"forks in the end":     {&house{forks: true}, 1, func(t sessions.Tally) int64 { return t.Forked }},
		"reuse under load":     {&house{strict: true}, 2, func(t sessions.Tally) int64 { return t.LoggedOut }},
		"reuse in the end":     {&house{strict: true}, 1, func(t sessions.Tally) int64 { return t.LoggedOut }},
		"revocations are lost": {&house{deaf: true}, 1, func(t sessions.Tally) int64 { return t.Resurrected }},
	} {
		t.Run(name, func(t *testing.T) {
			crowd := crowd(t, c.house, 100, c.contention, true)
			run(t, crowd, mix(t, "refreshes=4,revocations=1"))
			if end := judge(t.Context(), crowd); c.found(end) == 0 {
				t.Errorf("not found: %+v", end)
			}
		})
	}
}

// A session that is ended behind the crowd's back was logged out by nobody.
func TestLost(t *testing.T) {
	h := &house{}
	c := crowd(t, h, 3, 1, false)
	h.mu.Lock()
	h.generation["session1"] = -1
	h.mu.Unlock()
	if end := judge(t.Context(), c); end.LoggedOut != 1 || end.Revoked != 2 || end.Unchecked != 0 {
		t.Errorf("%+v", end)
	}
}

// Of a session without an answer nothing is concluded; who must have one asks again.
func TestNoAnswer(t *testing.T) {
	h := &house{}
	c := crowd(t, h, 200, 1, false)
	h.busy.Store(10)
	all := run(t, c, mix(t, "refreshes=1,revocations=1"))
	aside := c.Tally().Aside
	if n := all[sessions.Refreshes].Errors() + all[sessions.Revocations].Errors(); n != 10 || aside != 10 {
		t.Errorf("%d errors, %d set aside", n, aside)
	}
	h.busy.Store(3)
	if end := judge(t.Context(), c); end.Unchecked != 0 || end.Revoked != end.Opened-aside || end.LoggedOut != 0 {
		t.Errorf("%+v", end)
	}
	c = crowd(t, h, 2, 1, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if end := judge(ctx, c); end.Unchecked != 2 {
		t.Errorf("%+v", end)
	}
	h.busy.Store(1)
	if done, err := c.Open(t.Context(), 3, 1); err == nil || done != 0 {
		t.Errorf("%d sessions: %v", done, err)
	}
}

// Operations that find no session are due all the same.
func TestWanting(t *testing.T) {
	c := crowd(t, &house{}, 1, 1, false)
	s := run(t, c, mix(t, "revocations=1"))[sessions.Revocations]
	if got := c.Tally(); s.Due == 0 || s.Answered != 1 || got.Wanting != s.Unstarted || s.Errors() != s.Due-1 {
		t.Errorf("%+v of %d due", got, s.Due)
	}
}

func TestMix(t *testing.T) {
	m := mix(t, " refreshes=2.5, logins=1 ,revocations=0")
	if m.String() != "logins=1,refreshes=2.5" || m.Share(sessions.Logins) != 1/3.5 || m.Share(sessions.Revocations) != 0 {
		t.Errorf("%s", m)
	}
	if (sessions.Mix{}).Share(sessions.Logins) != 0 {
		t.Error("the zero mix has a share")
	}
	for _, text := range []string{"", "logins", "logins=", "logins=-1", "logins=0", "logins=NaN", "logins=1e9", "logouts=1", "logins=1,logins=2", "logins=1,,refreshes=1"} {
		if err := m.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "want something like logins=1") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if m.String() != "logins=1,refreshes=2.5" {
		t.Errorf("a refused text left %s", m)
	}
}
