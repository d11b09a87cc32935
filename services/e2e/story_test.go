package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// INV-1, INV-2: log in, pass everywhere, revoke, denied everywhere; twenty times,
// with the time from the acknowledgement to the first denial.
func TestRevocationReachesEverySidecar(t *testing.T) {
	s := start(t, 2)
	times := make([][]time.Duration, len(s.Sidecars()))
	for range 20 {
		mine, other := login(t, s.Issuer(), nil), login(t, s.Issuer(), nil)
		for _, sidecar := range s.Sidecars() {
			passes(t, sidecar, mine.Access)
		}
		if a := revoke(t, s, s.Issuer(), "session", mine.Session); a.status != http.StatusCreated {
			t.Fatalf("revoking: %s", a)
		}
		acknowledged := time.Now()
		everywhere(s, func(i int, sidecar *stack.Server) {
			times[i] = append(times[i], firstDenial(t, sidecar, mine.Access, acknowledged))
			denies(t, sidecar, mine.Access)
			passes(t, sidecar, other.Access)
		})
		if a := refresh(t, s.Issuer(), mine.Refresh, nil); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "invalid_grant") {
			t.Errorf("refreshing a revoked session: %s", a)
		}
	}
	for i, d := range times {
		t.Logf("sidecar %d: acknowledgement to first 401, %d repetitions: median %s, worst %s", i+1, len(d), median(d), slices.Max(d))
	}
}

// INV-4, R4, R5: fifty refreshes at once with one token over two issuer processes
// are one lineage; the same token after the grace window ends the session.
func TestParallelRefreshesOverTwoProcesses(t *testing.T) {
	const grace = 2 * time.Second
	s := start(t, 2, func(c *stack.Config) { c.IssuerFlags = []string{"--rotation-grace", grace.String()} })
	second, err := s.AddIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuers := []*stack.Server{s.Issuer(), second}
	original := login(t, issuers[0], nil)

	next := together(t, issuers, original.Refresh, s.Sidecars())
	superseded := time.Now()
	// Every caller holds the same successor; whoever uses it gets on.
	last := together(t, issuers, next, s.Sidecars())
	current := refresh(t, issuers[1], last, nil).tokens(t)
	for _, sidecar := range s.Sidecars() {
		passes(t, sidecar, current.Access)
	}
	if n := reuses(t, issuers); n != 0 {
		t.Errorf("%d reuse alarms among honest callers", n)
	}
	eventually(t, 30*time.Second, "the grace window's end", func() bool { return time.Since(superseded) > grace+time.Second })
	if a := refresh(t, issuers[0], original.Refresh, nil); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "invalid_grant") {
		t.Fatalf("the original after the window: %s", a)
	}
	everywhere(s, func(_ int, sidecar *stack.Server) {
		firstDenial(t, sidecar, current.Access, time.Now())
		denies(t, sidecar, current.Access)
	})
	if n := reuses(t, issuers); n != 1 {
		t.Errorf("%d reuse alarms for one theft", n)
	}
	for _, issuer := range issuers {
		if a := refresh(t, issuer, current.Refresh, nil); a.status != http.StatusBadRequest {
			t.Errorf("%s refreshed a session that reuse had ended: %s", issuer.Name, a)
		}
	}
}

// together refreshes fifty times at once and gives the one successor.
func together(t *testing.T, issuers []*stack.Server, token string, sidecars []*stack.Server) string {
	t.Helper()
	const callers = 50
	var rotated, replayed atomic.Int32
	var mu sync.Mutex
	successors := map[string]int{}
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			a := refresh(t, issuers[i%len(issuers)], token, nil)
			if a.status != http.StatusOK {
				t.Errorf("caller %d was logged out: %s", i, a)
				return
			}
			switch outcome := a.header.Get("X-Revocast-Refresh"); outcome {
			case "rotated":
				rotated.Add(1)
			case "concurrent":
				replayed.Add(1)
			default:
				t.Errorf("caller %d: outcome %q", i, outcome)
			}
			got := a.tokens(t)
			passes(t, sidecars[i%len(sidecars)], got.Access)
			mu.Lock()
			defer mu.Unlock()
			successors[got.Refresh]++
		})
	}
	group.Wait()
	t.Logf("%d callers: %d rotated, %d replayed, %d successors", callers, rotated.Load(), replayed.Load(), len(successors))
	if rotated.Load() != 1 || replayed.Load() != callers-1 || len(successors) != 1 {
		t.Fatal("want one rotation and one successor")
	}
	for successor := range successors {
		return successor
	}
	return ""
}

// R5, R12: a token without the secret that opened its session gets no refresh token
// at any moment, and costs the owner nothing.
func TestDeviceSecretAgainstAThief(t *testing.T) {
	const grace = time.Second
	s := start(t, 1, func(c *stack.Config) { c.IssuerFlags = []string{"--rotation-grace", grace.String()} })
	second, err := s.AddIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret := base64.RawURLEncoding.EncodeToString([]byte("a secret of the phone's own keystore"))
	stolen := login(t, s.Issuer(), map[string]string{"device_secret": secret, "device_name": "phone"})
	thief := func(token string) {
		t.Helper()
		for _, extra := range []url.Values{nil, {"device_secret": {"x"}}, {"device_secret": {secret + "x"}}} {
			for _, issuer := range []*stack.Server{s.Issuer(), second} {
				if a := refresh(t, issuer, token, extra); a.status != http.StatusBadRequest || strings.Contains(string(a.body), "refresh_token\"") {
					t.Errorf("a thief got %s", a)
				}
			}
		}
	}
	owner := url.Values{"device_secret": {secret}}
	thief(stolen.Refresh)
	next := refresh(t, s.Issuer(), stolen.Refresh, owner).tokens(t)
	rotated := time.Now()
	thief(stolen.Refresh) // inside the window
	thief(next.Refresh)
	eventually(t, 30*time.Second, "the grace window's end", func() bool { return time.Since(rotated) > grace+time.Second })
	thief(stolen.Refresh) // outside
	again := refresh(t, second, next.Refresh, owner).tokens(t)
	passes(t, s.Sidecars()[0], again.Access)
}

// R8, R9, R19: log out here, twice; everywhere else; a changed password.
func TestLogOutAndPasswordChange(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	issuer := s.Issuer()
	as := func(method, path, token, body string) answer {
		t.Helper()
		contentType := ""
		if body != "" {
			contentType = "application/json"
		}
		return do(t, method, issuer.URL()+path, contentType, token, body)
	}
	want := func(a answer, status int) {
		t.Helper()
		if a.status != status {
			t.Fatalf("got %s, want %d", a, status)
		}
	}
	phone, laptop, tablet := login(t, issuer, nil), login(t, issuer, nil), login(t, issuer, nil)

	want(as(http.MethodDelete, "/v1/session", phone.Access, ""), http.StatusNoContent)
	want(as(http.MethodDelete, "/v1/session", phone.Access, ""), http.StatusNoContent)
	firstDenial(t, sidecar, phone.Access, time.Now())
	passes(t, sidecar, laptop.Access)

	want(as(http.MethodDelete, "/v1/sessions?which=others", laptop.Access, ""), http.StatusNoContent)
	firstDenial(t, sidecar, tablet.Access, time.Now())
	passes(t, sidecar, laptop.Access)

	other := login(t, issuer, nil)
	change := fmt.Sprintf(`{"current_password":%q,"new_password":"through-the-looking-glass"}`, stack.AlicePassword)
	want(as(http.MethodPut, "/v1/password", laptop.Access, change), http.StatusNoContent)
	firstDenial(t, sidecar, other.Access, time.Now())
	passes(t, sidecar, laptop.Access)
	want(refresh(t, issuer, laptop.Refresh, nil), http.StatusOK)
	want(refresh(t, issuer, other.Refresh, nil), http.StatusBadRequest)
}
