package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// kidOf reads a token's header.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var in struct{ Kid string }
	if err = errors.Join(err, json.Unmarshal(text, &in)); err != nil || in.Kid == "" {
		t.Fatalf("no kid in %s (%v)", text, err)
	}
	return in.Kid
}

// cutOff is a sidecar that can reach the broker and no issuer: it knows keys by the
// feed alone.
func cutOff(t *testing.T, s *stack.Stack) *stack.Server {
	t.Helper()
	sidecar, err := s.AddSidecar(t.Context(), "--trust", "issuer="+s.Issuer().URL()+",jwks=http://127.0.0.1:1/jwks.json,audience="+stack.Audience)
	if err != nil {
		t.Fatal(err)
	}
	return sidecar
}

// R21: a new signing key reaches every sidecar before the first token that is signed
// with it, also one that can reach no key set; not one request is refused on the way.
func TestKeyRotationReachesSidecarsFirst(t *testing.T) {
	s := start(t, 1)
	second, err := s.AddIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sidecars := []*stack.Server{s.Sidecars()[0], cutOff(t, s)}
	before := login(t, s.Issuer(), nil)
	old := kidOf(t, before.Access)
	for round, overlap := range []string{"1s", "6s"} {
		var made struct{ Kid string }
		a := operate(t, s, second, http.MethodPost, "/admin/v1/keys:rotate", `{"overlap":"`+overlap+`"}`).want(t, http.StatusCreated)
		if err := json.Unmarshal(a.body, &made); err != nil || made.Kid == "" || made.Kid == old {
			t.Fatalf("made %s (%v)", a, err)
		}
		began, fresh, all := time.Now(), 0, 0
		signing := map[string]string{}
		eventually(t, 30*time.Second, "both issuers sign with the new key", func() bool {
			for _, issuer := range []*stack.Server{s.Issuer(), second} {
				got := login(t, issuer, nil)
				all++
				if signing[issuer.Name] = kidOf(t, got.Access); signing[issuer.Name] == made.Kid {
					fresh++
				}
				for _, sidecar := range sidecars {
					passes(t, sidecar, got.Access)
				}
			}
			return signing[s.Issuer().Name] == made.Kid && signing[second.Name] == made.Kid && fresh > 20
		})
		t.Logf("rotation %d: %d logins passed both sidecars within %s, %d of them signed with the new key", round+1, all, time.Since(began).Round(time.Millisecond), fresh)
		for _, sidecar := range sidecars {
			passes(t, sidecar, before.Access) // its key is retired, and it lives
		}
		old = made.Kid
	}
	// Refreshing goes on across the rotations, at the other issuer.
	next := refresh(t, second, before.Refresh, nil).tokens(t)
	for _, sidecar := range sidecars {
		passes(t, sidecar, next.Access)
	}
	// A sidecar that comes later, and reaches no issuer either, knows what it needs.
	passes(t, cutOff(t, s), next.Access)
	page := do(t, http.MethodGet, sidecars[1].AdminURL()+"/metrics", "", "", "").body
	if !bytes.Contains(page, []byte("\nrevocast_sidecar_feed_unsigned_total 0\n")) {
		t.Error("the sidecar took genuine announcements for forgeries")
	}
	if bytes.Contains(page, []byte(`,result="ok"}`)) {
		t.Error("the cut-off sidecar has read a key set, so this shows nothing")
	}
}

// R21: revoking a signing key denies all that was signed with it at every sidecar at
// once, whatever key sets say; log-ins and refreshes go on with another key, at every
// issuer.
func TestStolenSigningKey(t *testing.T) {
	s := start(t, 1)
	second, err := s.AddIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cutOff(t, s)
	stolen := login(t, s.Issuer(), nil)
	kid := kidOf(t, stolen.Access)
	for _, sidecar := range s.Sidecars() {
		passes(t, sidecar, stolen.Access)
	}
	if a := revoke(t, s, second, "key", kid); a.status != http.StatusCreated {
		t.Fatalf("revoking: %s", a)
	}
	acknowledged := time.Now()
	everywhere(s, func(i int, sidecar *stack.Server) {
		took := firstDenial(t, sidecar, stolen.Access, acknowledged)
		denies(t, sidecar, stolen.Access)
		t.Logf("sidecar %d: acknowledgement to first 401 %s", i+1, took.Round(time.Microsecond))
	})
	successors := map[string]bool{}
	for _, issuer := range []*stack.Server{s.Issuer(), second} {
		a := do(t, http.MethodGet, issuer.URL()+"/v1/session", "", stolen.Access, "")
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s takes a token of the stolen key: %s", issuer.Name, a)
		}
		var got tokens
		eventually(t, 10*time.Second, "a login at "+issuer.Name, func() bool {
			body := `{"username":"` + stack.Alice + `","password":"` + stack.AlicePassword + `","client_id":"` + stack.MobileClient + `"}`
			a := do(t, http.MethodPost, issuer.URL()+"/v1/login", "application/json", "", body)
			if a.status != http.StatusOK {
				return false
			}
			got = a.tokens(t)
			return kidOf(t, got.Access) != kid
		})
		t.Logf("%s signs with another key %s after the revocation", issuer.Name, time.Since(acknowledged).Round(time.Millisecond))
		successors[kidOf(t, got.Access)] = true
		for _, sidecar := range s.Sidecars() {
			passes(t, sidecar, got.Access)
		}
	}
	if len(successors) != 1 {
		t.Errorf("successors: %v", successors)
	}
	next := refresh(t, second, stolen.Refresh, nil).tokens(t)
	everywhere(s, func(_ int, sidecar *stack.Server) {
		passes(t, sidecar, next.Access)
		denies(t, sidecar, stolen.Access)
	})
	// It stays denied over a restart of a sidecar, and of an issuer with the broker.
	up(t, s.Sidecars()[0])
	up(t, s.Issuer())
	denies(t, s.Sidecars()[0], stolen.Access)
	if got := login(t, s.Issuer(), nil); kidOf(t, got.Access) == kid {
		t.Error("after a restart the issuer signs with the stolen key")
	}
}
