package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/stack"
)

// R23: two issuer processes whose clocks disagree. A user is revoked at one and logs in
// at once at the other: the old token is denied, whatever the clocks say. The new one is
// accepted, by a sidecar and by both issuers, and the grace window is what it is, as
// long as each clock is off by no more than another may be the other way. An issuer
// beyond that says that it is not ready.
func TestClocksThatDisagree(t *testing.T) {
	offsets := []time.Duration{4 * time.Second, -10 * time.Second}
	if size(0, 1) == 1 {
		offsets = []time.Duration{
			0, 4 * time.Second, -4 * time.Second, 10 * time.Second, -10 * time.Second, time.Minute, -time.Minute,
		}
	}
	for _, offset := range offsets {
		t.Run(offset.String(), func(t *testing.T) { clocksApart(t, offset) })
	}
}

// way is which issuer does what in a round.
type way struct {
	name                  string
	before, revokes, anew *stack.Server
}

func clocksApart(t *testing.T, offset time.Duration) {
	s := start(t, 1, func(c *stack.Config) { c.BinDir = binWith(t, clockBin) })
	sidecar, right := s.Sidecars()[0], s.Issuer()
	wrong := offsetIssuer(t, s, offset)
	if ready := isReady(t, wrong); ready != (offset.Abs() <= events.MaxSkew) {
		t.Errorf("an issuer %s off says that it is ready: %t", offset, ready)
	}
	agree := offset.Abs() <= 2*events.MaxSkew
	seen := map[string]int{}
	var fresh []string
	rounds := size(8, 500)
	for round := range rounds {
		w := []way{
			{"old from right, revoked at wrong, new from right", right, wrong, right},
			{"old from wrong, revoked at right, new from wrong", wrong, right, wrong},
			{"old from right, revoked at wrong, new from wrong", right, wrong, wrong},
			{"old from wrong, revoked at right, new from right", wrong, right, right},
		}[round%4]
		old := loginAt(t, w.before)
		if a := revoke(t, s, w.revokes, "subject", subjectOf(t, old.Access)); a.status != http.StatusCreated {
			t.Fatalf("round %d, %s: revoking: %s", round, w.name, a)
		}
		anew := loginAt(t, w.anew)

		firstDenial(t, sidecar, old.Access, time.Now())
		for who, issuer := range map[string]*stack.Server{"right": right, "wrong": wrong} {
			if status := whoAmI(t, issuer, old.Access); status != http.StatusUnauthorized {
				t.Errorf("round %d, %s: the old token at the %s clock: %d", round, w.name, who, status)
			}
			if a := refresh(t, issuer, old.Refresh, nil); a.status != http.StatusBadRequest {
				t.Errorf("round %d, %s: the old refresh token at the %s clock: %s", round, w.name, who, a)
			}
		}
		// What was minted by a clock that is right is good wherever clocks are right.
		must := agree || w.anew == right
		check := func(what string, status int, must bool) {
			seen[fmt.Sprintf("%-52s %-50s %d", w.name, what, status)]++
			if must && status != http.StatusOK {
				t.Errorf("round %d, %s: %s: %d", round, w.name, what, status)
			}
		}
		status := auth(t, sidecar, anew.Access).status
		check("new token at a sidecar", status, must)
		check("new token at the right clock", whoAmI(t, right, anew.Access), must)
		check("new token at the wrong clock", whoAmI(t, wrong, anew.Access), agree)
		check("new refresh token at the right clock", refresh(t, right, anew.Refresh, nil).status, true)
		check("the same in its grace window at the wrong clock", refresh(t, wrong, anew.Refresh, nil).status, agree)
		if status == http.StatusOK {
			fresh = append(fresh, anew.Access)
		}
		if round%4 == 3 {
			// No revocation of a later round is about to come to the last ones.
			last := fresh[len(fresh)-1]
			passes(t, sidecar, last)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%5d  %s", seen[what], what)
	}
	t.Logf("%s apart: %d rounds, every old token denied", offset, rounds)
}

// offsetIssuer is a second issuer whose clock is off. It may never be ready.
func offsetIssuer(t *testing.T, s *stack.Stack, offset time.Duration) *stack.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	issuer, err := s.AddIssuer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, issuer)
	issuer.Env = append(issuer.Env, "REVOCAST_CLOCK_OFFSET="+offset.String())
	if err := issuer.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the second issuer", func() bool {
		return do(t, http.MethodGet, issuer.URL()+"/healthz", "", "", "").status == http.StatusOK
	})
	return issuer
}

// isReady asks for a while, since the first heartbeat has to come.
func isReady(t *testing.T, issuer *stack.Server) bool {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range 40 {
		if do(t, http.MethodGet, issuer.URL()+"/readyz", "", "", "").status == http.StatusOK {
			return true
		}
		<-ticker.C
	}
	return false
}

func loginAt(t *testing.T, issuer *stack.Server) tokens {
	t.Helper()
	return logInAt(t, func() *stack.Server { return issuer }, stack.AlicePassword).tokens(t)
}

// whoAmI asks an issuer's own endpoint.
func whoAmI(t *testing.T, issuer *stack.Server, token string) int {
	t.Helper()
	return do(t, http.MethodGet, issuer.URL()+"/v1/session", "", token, "").status
}

// subjectOf reads whose a token is.
func subjectOf(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("not an access token")
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &claims); err != nil || claims.Subject == "" {
		t.Fatalf("no subject in a token: %v", err)
	}
	return claims.Subject
}
