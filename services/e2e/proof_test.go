package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// size is how much of something a test does: few in passing, all with PROOF=full in
// the environment.
func size(few, all int) int {
	if os.Getenv("PROOF") == "full" {
		return all
	}
	return few
}

// binWith is a directory with an issuer of its own and the usual sidecar.
func binWith(t *testing.T, issuer string) string {
	t.Helper()
	dir := t.TempDir()
	for name, from := range map[string]string{"issuer": issuer, "sidecar": bin} {
		if err := os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withClients gives the stack a clients file of its own.
func withClients(t *testing.T, c *stack.Config, yaml string) {
	t.Helper()
	if err := os.WriteFile(stack.Dir(c.Dir).Clients(), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

// logInAt tries until there is an answer that decides: a process may be away, or busy.
func logInAt(t *testing.T, issuer func() *stack.Server, password string) answer {
	t.Helper()
	body, err := json.Marshal(map[string]string{"username": stack.Alice, "password": password, "client_id": stack.MobileClient})
	if err != nil {
		t.Fatal(err)
	}
	return insist(t, func() answer {
		return do(t, http.MethodPost, issuer().URL()+"/v1/login", "application/json", "", string(body))
	}, http.StatusTooManyRequests)
}

// refreshAt is the same for a refresh.
func refreshAt(t *testing.T, issuer func() *stack.Server, token string) answer {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {stack.MobileClient}, "refresh_token": {token}}
	return insist(t, func() answer {
		return do(t, http.MethodPost, issuer().URL()+"/oauth/token", "application/x-www-form-urlencoded", "", form.Encode())
	}, http.StatusTooManyRequests)
}

// insist repeats what was not decided: no answer, 503 and what else is named.
func insist(t *testing.T, ask func() answer, undecided ...int) answer {
	t.Helper()
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	var a answer
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-ticker.C {
		if a = ask(); a.status != 0 && a.status != http.StatusServiceUnavailable && !slices.Contains(undecided, a.status) {
			return a
		}
	}
	return a
}
