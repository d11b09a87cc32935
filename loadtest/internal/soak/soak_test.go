package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/target"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// system is an issuer and a front in one: sessions, each with the refresh token that may
// be used next, and its end.
type system struct {
	t *testing.T
	// forgetful lets ended sessions pass, jealous refuses refreshed ones, and lame refuses
	// to revoke.
	forgetful, jealous, lame bool

	mu       sync.Mutex
	sessions int
	next     map[string]string // refresh tokens by session
	rotated  map[string]int
	over     map[string]bool
}

func (s *system) grant(w http.ResponseWriter, sid string) {
	s.rotated[sid]++
	s.next[sid] = fmt.Sprintf("%s.%d", sid, s.rotated[sid])
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "good." + s.next[sid] + ".signature", "refresh_token": s.next[sid], "session_id": sid, "expires_in": 300,
	})
}

func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/v1/login":
		s.sessions++
		s.grant(w, fmt.Sprintf("s%d", s.sessions))
	case "/oauth/token":
		given := r.PostFormValue("refresh_token")
		sid, _, _ := strings.Cut(given, ".")
		if s.next[sid] != given || s.over[sid] {
			s.t.Errorf("refreshed with %s, which is %t over", given, s.over[sid])
		}
		s.grant(w, sid)
	case "/admin/v1/revocations":
		var asked issuer.Revocation
		_ = json.NewDecoder(r.Body).Decode(&asked)
		if asked.Kind != "session" || s.over[asked.ID] || s.next[asked.ID] == "" {
			s.t.Errorf("revoked: %+v", asked)
		}
		if s.lame {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.over[asked.ID] = true
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"revocation_id":"r","position":"0:1"}`))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Ask implements [front.Front].
func (s *system) Ask(_ context.Context, t token.Token) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := strings.Split(t.Raw(), ".")
	if len(parts) != 4 || parts[0] != "good" || parts[3] != "signature" || s.next[parts[1]] == "" {
		return http.StatusUnauthorized, nil
	}
	if s.over[parts[1]] && !s.forgetful || s.jealous && parts[2] != "1" {
		return http.StatusUnauthorized, nil
	}
	return http.StatusOK, nil
}

func (*system) Close() error { return nil }

// prepare starts a system, and a load on it.
func prepare(t *testing.T, s *system) *Load {
	t.Helper()
	s.t, s.next, s.rotated, s.over = t, map[string]string{}, map[string]int{}, map[string]bool{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	to, err := target.New(target.Config{URL: server.URL, Connections: 8, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	l, err := Prepare(t.Context(), Soak{
		Fronts: []front.Front{s, s}, Issuer: &issuer.Issuer{Public: to, Admin: to}, Login: issuer.Login{Username: "alice", Client: "demo"},
		Sessions: 10, Verifications: 1000, Refreshes: 50, Turnover: 50, Duration: 600 * time.Millisecond, Workers: 4, Patience: 20 * time.Second, Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A system that is right is found to be, and has as many sessions in the end.
func TestSoak(t *testing.T) {
	s := &system{}
	l := prepare(t, s)
	l.Run(t.Context(), time.Now())
	if tally := l.Tally(); tally.LetThrough != 0 || tally.TurnedAway != 0 || tally.Asked[0] == 0 || tally.Asked[2] == 0 || tally.Asked[3] == 0 {
		t.Errorf("%+v", tally)
	}
	for _, what := range []string{Verify, Refresh, LogIn, Revoke} {
		if got := l.Recorder(what).Summary(); got.Answered == 0 || got.Errors() != 0 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if logins, ends := l.Recorder(LogIn).Summary(), l.Recorder(Revoke).Summary(); logins.Answered != ends.Answered || l.Open() != 10 || int(ends.Answered) != len(s.over) {
		t.Errorf("%d logins, %d ends, %d open", logins.Answered, ends.Answered, l.Open())
	}
	all := l.Recorder(Verify).Summary()
	if part := l.Interval(); part.Answered != all.Answered || l.Interval().Answered != 0 {
		t.Errorf("%d since it was last looked, of %d", part.Answered, all.Answered)
	}
}

// One that is wrong is found out, whichever way.
func TestSoakFindsWhatIsWrong(t *testing.T) {
	l := prepare(t, &system{forgetful: true})
	l.Run(t.Context(), time.Now())
	if tally := l.Tally(); tally.LetThrough == 0 || tally.Exposed == 0 || tally.Worst == 0 || tally.TurnedAway != 0 {
		t.Errorf("ended sessions pass: %+v", tally)
	}
	l = prepare(t, &system{jealous: true})
	l.Run(t.Context(), time.Now())
	if tally := l.Tally(); tally.TurnedAway == 0 || tally.LetThrough != 0 {
		t.Errorf("refreshed tokens do not pass: %+v", tally)
	}
	l = prepare(t, &system{lame: true})
	l.Run(t.Context(), time.Now())
	if got, tally := l.Recorder(Revoke).Summary(), l.Tally(); got.Errors() == 0 || got.Statuses[http.StatusServiceUnavailable] != got.Answered || tally.LetThrough != 0 {
		t.Errorf("nothing can be revoked: %+v, %+v", got, tally)
	}
}

func TestSoakIsInterrupted(t *testing.T) {
	l := prepare(t, &system{})
	l.Duration = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	l.Run(ctx, time.Now())
	if s := l.Recorder(Verify).Summary(); s.Answered == 0 || s.Errors() != 0 {
		t.Errorf("%+v", s)
	}
}

// nay is a front that refuses all.
type nay struct{ *system }

func (nay) Ask(context.Context, token.Token) (int, error) { return http.StatusUnauthorized, nil }

// yea is one that refuses nothing.
type yea struct{ *system }

func (yea) Ask(context.Context, token.Token) (int, error) { return http.StatusOK, nil }

func TestPrepareRefuses(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	to, err := target.New(target.Config{URL: server.URL, Connections: 8, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), Soak{Issuer: &issuer.Issuer{Public: to}, Sessions: 1}); err == nil || !strings.Contains(err.Error(), "logging in") {
		t.Errorf("nobody can log in: %v", err)
	}
	l := prepare(t, &system{})
	for says, f := range map[string]front.Front{
		"front 2 of 2: it answers 401 Unauthorized to the token that is good, want 200": nay{},
		"front 2 of 2: it answers 200 OK to the token that is not a token, want 401":    yea{},
	} {
		wrong := l.Soak
		wrong.Fronts = []front.Front{wrong.Fronts[0], f}
		if _, err := Prepare(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
	}
}

// What a process says of itself and what is seen from outside come together.
func TestWatch(t *testing.T) {
	goroutines := 7
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "# TYPE go_goroutines gauge\ngo_goroutines %d\n# TYPE two gauge\ntwo{a=\"1\"} 1\ntwo{a=\"2\"} 1\n", goroutines)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 3*mebi), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Watch("this", os.Getpid(), server.URL, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for n := range 4 {
		if err := w.Look(t.Context(), time.Duration(n)*time.Second); err != nil {
			t.Fatal(err)
		}
		goroutines++
	}
	if got := w.Series["goroutines"]; got == nil || fmt.Sprint(got.Values) != "[7 8 9 10]" || got.At[3] != 3*time.Second {
		t.Errorf("goroutines: %+v", got)
	}
	if got := w.Series["disk"]; got == nil || got.Values[0] != 3 {
		t.Errorf("disk: %+v", got)
	}
	if got := w.Series["memory"]; got == nil || got.Values[0] <= 0 {
		t.Errorf("memory: %+v", got)
	}
	if w.Series["entries"] != nil {
		t.Error("it has no entries")
	}
	server.Close()
	if err := w.Look(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "looking at this") {
		t.Errorf("of a process that says nothing any more: %v", err)
	}
	if _, err := Watch("nobody", 1<<30, server.URL, dir); err == nil {
		t.Error("there is such a process")
	}
}

// The pool gives each session to one caller at a time, the one left alone longest first,
// and forgets the oldest of those that are over.
func TestPool(t *testing.T) {
	var p pool
	if p.take() != nil {
		t.Error("a session of an empty pool")
	}
	if _, ok := p.pick(true, 0.5, time.Now()); ok {
		t.Error("a token of an empty pool")
	}
	all := make([]*session, ended+5)
	for n := range all {
		all[n] = newSession(issuer.Grant{Access: fmt.Sprint("token-", n), Session: fmt.Sprint(n), Lifetime: time.Hour})
		p.add(all[n])
	}
	if one, two := p.take(), p.take(); one != all[0] || two != all[1] {
		t.Error("not in their order")
	}
	p.giveBack(all[0])
	for n := 2; n < len(all); n++ {
		if s := p.take(); s != all[n] {
			t.Fatalf("session %d is not the next", n)
		}
	}
	if p.take() != all[0] || p.take() != nil {
		t.Error("one is in use twice")
	}
	if k, ok := p.pick(true, 0, time.Now()); !ok || k.Token.Raw() != "token-0" {
		t.Errorf("%v, %t", k, ok)
	}
	if _, ok := p.pick(true, 0.99, time.Now().Add(2*time.Hour)); ok {
		t.Error("a token that is over")
	}
	for _, s := range all {
		p.end(s)
	}
	if k, ok := p.pick(false, 0, time.Now()); p.size() != 0 || len(p.ended) != ended || !ok || k.Token.Raw() != "token-5" {
		t.Errorf("%d live, %d over, the first of them %v", p.size(), len(p.ended), k)
	}
}
