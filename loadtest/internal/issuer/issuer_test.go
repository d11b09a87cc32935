package issuer_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/target"
)

// at is an issuer that answers every request with that status and body, and tells what
// it was asked.
func at(t *testing.T, status int, body string) (i *issuer.Issuer, asked func() string) {
	t.Helper()
	var last string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // what is missing shows in the comparison
		last = fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Authorization"), text)
		w.Header().Set("X-Revocast-Refresh", "told")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	to, err := target.New(target.Config{URL: s.URL, Connections: 1, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	return &issuer.Issuer{Public: to, Admin: to, Operator: "op"}, func() string { return last }
}

const granted = `{"access_token":"a.b.c","refresh_token":"r","session_id":"s","expires_in":300}`

func TestGrants(t *testing.T) {
	i, asked := at(t, http.StatusOK, granted)
	g, err := i.LogIn(t.Context(), issuer.Login{Username: "u", Password: "p", Client: "c"})
	if want := (issuer.Grant{Access: "a.b.c", Refresh: "r", Session: "s", Lifetime: 5 * time.Minute, Outcome: "told"}); err != nil || g != want {
		t.Errorf("%#v, %v", g, err)
	}
	if got := asked(); got != `POST /v1/login  {"client_id":"c","password":"p","username":"u"}` {
		t.Error(got)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", g, g, g), "a.b.c") {
		t.Error("a token shows")
	}
	if g, err = i.Refresh(t.Context(), "c", "r+"); err != nil || g.Access != "a.b.c" {
		t.Errorf("%v", err)
	}
	if got := asked(); got != "POST /oauth/token  client_id=c&grant_type=refresh_token&refresh_token=r%2B" {
		t.Error(got)
	}
}

func TestRevoke(t *testing.T) {
	i, asked := at(t, http.StatusCreated, `{"revocation_id":"x","position":"0:7"}`)
	r, err := i.Revoke(t.Context(), issuer.Revocation{Kind: "session", ID: "s", ExpiresAt: time.Unix(0, 0).UTC()})
	if err != nil || r.ID != "x" || r.Position != "0:7" {
		t.Errorf("%+v, %v", r, err)
	}
	if got := asked(); got != `POST /admin/v1/revocations Bearer op {"kind":"session","id":"s","expires_at":"1970-01-01T00:00:00Z"}` {
		t.Error(got)
	}
}

func TestLogOut(t *testing.T) {
	i, asked := at(t, http.StatusOK, "")
	if err := i.LogOut(t.Context(), "c", "r+"); err != nil {
		t.Error(err)
	}
	if got := asked(); got != "POST /oauth/revoke  client_id=c&token=r%2B&token_type_hint=refresh_token" {
		t.Error(got)
	}
	i, _ = at(t, http.StatusServiceUnavailable, "")
	if err := i.LogOut(t.Context(), "c", "r"); err == nil || !strings.HasSuffix(err.Error(), "503 Service Unavailable") {
		t.Errorf("%v", err)
	}
}

// What is refused says why; what makes no sense does not repeat a token.
func TestRefused(t *testing.T) {
	i, _ := at(t, http.StatusBadRequest, `{"error":"invalid_grant"}`)
	_, err := i.Refresh(t.Context(), "c", "r")
	if r, ok := errors.AsType[*issuer.RefusedError](err); !ok || r.Status != http.StatusBadRequest || r.Code != "invalid_grant" || r.Outcome != "told" || !r.Over() || !r.Decided() {
		t.Errorf("%v", err)
	}
	i, _ = at(t, http.StatusUnauthorized, `{"title":"Unauthorized"}`)
	if _, err = i.LogIn(t.Context(), issuer.Login{}); err == nil || !strings.HasSuffix(err.Error(), "refused with 401 Unauthorized: Unauthorized") {
		t.Errorf("%v", err)
	}
	i, _ = at(t, http.StatusBadGateway, "no json")
	if _, err = i.Revoke(t.Context(), issuer.Revocation{Kind: "all"}); err == nil || !strings.HasSuffix(err.Error(), "502 Bad Gateway") {
		t.Errorf("%v", err)
	}
	if r, ok := errors.AsType[*issuer.RefusedError](err); !ok || r.Over() || r.Decided() {
		t.Errorf("%v", err)
	}
	for _, body := range []string{"", "{}", `{"access_token":"a.b.c"}`, `{"access_token":"a.b.c","expires_in":"secret"}`} {
		i, _ = at(t, http.StatusOK, body)
		if _, err := i.LogIn(t.Context(), issuer.Login{}); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "a.b.c") {
			t.Errorf("%s: %v", body, err)
		}
	}
}
