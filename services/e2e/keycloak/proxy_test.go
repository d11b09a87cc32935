package keycloak

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/revocast/revocast/services/stack"
)

// application answers with who asks, as far as it was told.
func application(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(identityOf(r.Header)) // who asks may be gone
	}))
	t.Cleanup(s.Close)
	return s
}

// proxy is the front that stands before an application.
func proxy(sidecar *stack.Server) front {
	return front{"proxy", func(t *testing.T, token string) verdict {
		t.Helper()
		a := send(t.Context(), plain(), http.MethodGet, sidecar.URL()+"/orders/5", request(token), "")
		v := judged(a.status, a.header.Get("WWW-Authenticate"), nil)
		if v.allowed {
			if err := json.Unmarshal(a.body, &v.identity); err != nil {
				t.Fatal(err)
			}
		}
		return v
	}}
}

// introspection is the front for resource servers that ask (RFC 7662).
func introspection(sidecar *stack.Server) front {
	return front{"introspection", func(t *testing.T, token string) verdict {
		t.Helper()
		header := form()
		header.Set("Authorization", "Bearer "+introspectorSecret)
		a := send(t.Context(), plain(), http.MethodPost, sidecar.URL()+"/introspect", header, url.Values{"token": {token}}.Encode())
		v := verdict{said: a.String(), refused: a.status == http.StatusOK && strings.TrimSpace(string(a.body)) == `{"active":false}`}
		if a.status != http.StatusOK || v.refused {
			return v
		}
		var told struct {
			Active          bool
			Sub, Sid, Scope string
			Client          string `json:"client_id"`
			Roles           []string
			Exp             int64
		}
		if err := json.Unmarshal(a.body, &told); err != nil {
			t.Fatal(err)
		}
		v.allowed = told.Active
		v.identity = map[string]string{
			"X-Auth-Subject": told.Sub, "X-Auth-Session": told.Sid, "X-Auth-Client": told.Client, "X-Auth-Scope": told.Scope,
			"X-Auth-Roles": strings.Join(slices.Clip(told.Roles), ","), "X-Auth-Expires": strconv.FormatInt(told.Exp, 10),
		}
		return v
	}}
}
