package keycloak

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/stack"
)

// springJar is the variable that says where the built deploy/examples/spring lies.
const springJar = "REVOCAST_SPRING"

// What the API is called at the sidecar, and its secret.
const (
	introspector       = "orders"
	introspectorSecret = "bhLDRoX2fDDP3lsqCH5Ws8OFKrmMvCIZ"
)

// introspectionClients is the file that knows it.
func introspectionClients(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "introspection.yaml")
	text := "- id: " + introspector + "\n  secret_hash: " + clients.HashSecret(introspectorSecret) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startSpring starts an API that Spring Security protects, and that asks the first
// sidecar of w about every token (RFC 7662). It knows nothing of us.
func (w *world) startSpring(t *testing.T) (orders string) {
	t.Helper()
	jar := os.Getenv(springJar)
	if jar == "" {
		t.Skipf("without the API: `make keycloak` builds it and sets %s", springJar)
	}
	ports, err := stack.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &stack.Process{
		Name: "orders", Path: java(t), Dir: dir, Log: filepath.Join(dir, "orders.log"),
		Args: []string{
			"-Xmx128m", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir=" + dir, "-jar", jar, "--server.address=127.0.0.1", "--server.port=" + strconv.Itoa(ports[0]),
		},
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "INTROSPECTION_URL=" + w.stack.Sidecars()[0].URL() + "/introspect",
			"INTROSPECTION_CLIENT=" + introspector, "INTROSPECTION_SECRET=" + introspectorSecret,
		},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the API's log:\n%s", p.Tail(40))
		}
		if err := p.Kill(); err != nil { // Java calls every end by a signal a failure
			t.Error(err)
		}
	})
	began := time.Now()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	orders = "http://127.0.0.1:" + strconv.Itoa(ports[0]) + "/orders"
	eventually(t, 2*time.Minute, "the API's start", func() bool {
		if !p.Running() {
			t.Fatalf("the API ended: %v", p.Err())
		}
		return send(t.Context(), plain(), http.MethodGet, orders, http.Header{}, "").status == http.StatusUnauthorized
	})
	t.Logf("the API started in %.1f s", time.Since(began).Seconds())
	return orders
}

// An independent consumer: Spring Security lets pass what the sidecar calls active, of
// either issuer, and reads of it who asks and what for; what is revoked or no access
// token is refused, and nothing passes while the sidecar is away.
func (w *world) spring(t *testing.T) {
	orders := w.startSpring(t)
	ask := func(token string) answer {
		return send(t.Context(), plain(), http.MethodGet, orders, bearer(token), "")
	}
	takes := func(token, scope string) {
		t.Helper()
		var told struct {
			Subject     string
			Authorities []string
			Attributes  []string
		}
		a := ask(token).want(t, http.StatusOK)
		if err := json.Unmarshal(a.body, &told); err != nil {
			t.Fatal(err)
		}
		if told.Subject != part(t, token, 1).text(t, "sub") || !slices.Contains(told.Authorities, "SCOPE_"+scope) || !slices.Contains(told.Attributes, "sid") {
			t.Errorf("the API was told %+v", told)
		}
	}
	refuses := func(token string) {
		t.Helper()
		a := ask(token)
		if challenge := a.header.Get("WWW-Authenticate"); a.status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) {
			t.Errorf("the API answers %s %s, want 401 invalid_token", a, challenge)
		}
	}
	anna, bert, ours := w.login(t, "anna"), w.login(t, "bert"), w.ours(t)
	takes(anna.Access, "openid")
	takes(bert.Access, "openid")
	takes(ours, "read")
	refuses(anna.ID)
	refuses(anna.Refresh)

	began := time.Now()
	w.logout(t, anna)
	eventually(t, 20*time.Second, "the API's refusal", func() bool { return ask(anna.Access).status == http.StatusUnauthorized })
	t.Logf("the API refused %.0f ms after Keycloak was asked to log out", time.Since(began).Seconds()*1000)
	refuses(anna.Access)
	takes(bert.Access, "openid")
	w.revoke(t, "session", bert.claim(t, "sid"))
	refuses(bert.Access)
	w.revokeAny(t, "session", part(t, ours, 1).text(t, "sid"))
	refuses(ours)

	again := w.login(t, "anna")
	takes(again.Access, "openid")
	sidecar := w.stack.Sidecars()[0]
	if err := sidecar.Kill(); err != nil {
		t.Fatal(err)
	}
	if a := ask(again.Access); a.status < 400 {
		t.Errorf("without a sidecar the API answers %s", a)
	}
	w.up(t, sidecar)
	takes(again.Access, "openid")
}
