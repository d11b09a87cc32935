package keycloak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// world is an issuer and a sidecar beside a realm of Keycloak's.
type world struct {
	realm

	relay  *relay
	stack  *stack.Stack
	fronts []front
	// full: the issuer logs users in as well, and the sidecar trusts both.
	full bool
}

// lifetime bounds the access tokens of Keycloak that pass, and what revokes them.
const lifetime = "10m"

// start brings up issuer and sidecar, with what docs/identity-provider.md recommends.
func (w *world) start(t *testing.T) {
	t.Helper()
	ports, err := stack.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stack.Config{
		Dir: t.TempDir(), BinDir: bin, Sidecars: 1, Control: !w.full, IssuerPorts: stack.Ports{HTTP: ports[0]},
		// Canaries would come between what is measured.
		Env:         []string{"REVOCAST_CANARY_INTERVAL=0"},
		IssuerFlags: []string{"--provider", "issuer=" + w.issuer() + ",audience=" + app + ",alg=" + w.algorithm + ",typ=logout+jwt", "--foreign-max-lifetime", lifetime, "--foreign-max-session", "10h"},
		SidecarFlags: []string{
			"--introspection-clients", introspectionClients(t),
			"--trust", "issuer=" + w.issuer() + ",audience=" + api + ",typ=JWT,require=typ:Bearer,alg=" + w.algorithm + ",max-lifetime=" + lifetime + ",roles=realm_access.roles",
		},
	}
	if w.full {
		cfg.SidecarFlags = append(cfg.SidecarFlags, "--trust", fmt.Sprintf("issuer=http://127.0.0.1:%d,audience=%s", ports[0], stack.Audience))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if w.stack, err = stack.Start(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range w.stack.Servers() {
				t.Logf("end of %s's log (%s):\n%s", p.Name, w.name, p.Tail(25))
			}
		}
		if err := w.stack.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.relay.lead(w.stack.Issuer().URL())
	beside := w.stack.Sidecars()[0]
	before, err := w.stack.AddSidecar(ctx, "--upstream", application(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	w.fronts = append(fronts(t, beside), introspection(beside), proxy(before))
}

// up starts a server anew.
func (w *world) up(t *testing.T, s *stack.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
}

// operate runs a command of an operator's.
func (w *world) operate(t *testing.T, args ...string) (output []byte) {
	t.Helper()
	return revocast(t, 0, "", append([]string{
		"--admin-url", w.stack.Issuer().AdminURL(), "--admin-token-file", w.stack.Dir().AdminToken(), "-o", "json",
	}, args...)...)
}

// revoke revokes some of Keycloak's tokens: of a kind and, but for all, an id. An issuer
// that has no tokens of its own is not told whose are meant.
func (w *world) revoke(t *testing.T, kind, id string, flags ...string) (revocation string) {
	t.Helper()
	if w.full {
		flags = append(flags, "--issuer", w.issuer())
	}
	return w.revokeAny(t, kind, id, flags...)
}

// revokeAny revokes some of whoever's.
func (w *world) revokeAny(t *testing.T, kind, id string, flags ...string) (revocation string) {
	t.Helper()
	args := slices.Concat([]string{"revoke", "--wait", "20s"}, flags, []string{kind})
	if id != "" {
		args = append(args, "--", id) // one in 64 of Keycloak's begins with a hyphen
	}
	out := w.operate(t, args...)
	var done struct {
		ID string `json:"revocation_id"`
	}
	if err := json.Unmarshal(out, &done); err != nil || done.ID == "" {
		t.Fatalf("no revocation in %s (%v)", out, err)
	}
	return done.ID
}

func (w *world) lift(t *testing.T, revocation string) {
	t.Helper()
	w.operate(t, "lift", "--wait", "20s", revocation)
}

// ours logs a user in at our own issuer and gives the access token.
func (w *world) ours(t *testing.T) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"username": stack.Alice, "password": stack.AlicePassword, "client_id": stack.MobileClient})
	if err != nil {
		t.Fatal(err)
	}
	a := send(t.Context(), plain(), http.MethodPost, w.stack.Issuer().URL()+"/v1/login", http.Header{"Content-Type": {"application/json"}}, string(body)).want(t, http.StatusOK)
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &tokens); err != nil {
		t.Fatal(err)
	}
	return tokens.Access
}

// deliver sends a log-out token to the issuer, past the relay.
func (w *world) deliver(t *testing.T, token string) answer {
	t.Helper()
	return send(t.Context(), plain(), http.MethodPost, w.stack.Issuer().URL()+"/v1/backchannel-logout", form(), "logout_token="+token)
}

// realmFile is deploy/examples/keycloak/realm.json.
func realmFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "examples", "keycloak", "realm.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaced replaces what has to be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the realm's file does not have %s", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}
