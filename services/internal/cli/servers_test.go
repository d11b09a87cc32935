package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// servers answer as the issuer's two listeners and a sidecar are documented to, for
// one user with one session at a time.
type servers struct {
	issuer, admin, sidecar *httptest.Server

	mu         sync.Mutex
	generation int
	secret     string
	revoked    bool
}

const (
	sid      = "01890a5d-ac96-774b-bcce-b302099a8057"
	operator = "operator-token"
)

func newServers() *servers {
	s := &servers{}
	public, admin, sidecar := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	public.HandleFunc("POST /v1/login", s.login)
	public.HandleFunc("POST /oauth/token", s.token)
	public.HandleFunc("GET /v1/sessions", s.bearer(s.access, s.sessions))
	public.HandleFunc("DELETE /v1/session", s.bearer(s.access, s.logout))
	admin.HandleFunc("POST /admin/v1/revocations", s.bearer(s.operator, s.revoke))
	admin.HandleFunc("GET /admin/v1/subjects/{sub}/sessions", s.bearer(s.operator, s.sessions))
	(&denials{}).serve(admin, func(next http.HandlerFunc) http.HandlerFunc { return s.bearer(s.operator, next) })
	newDirectory().serve(admin, func(next http.HandlerFunc) http.HandlerFunc { return s.bearer(s.operator, next) })
	newRecords().serve(admin, func(next http.HandlerFunc) http.HandlerFunc { return s.bearer(s.operator, next) })
	serveFleet(admin, func(next http.HandlerFunc) http.HandlerFunc { return s.bearer(s.operator, next) })
	keyBoard{}.serve(admin, func(next http.HandlerFunc) http.HandlerFunc { return s.bearer(s.operator, next) })
	sidecar.HandleFunc("/auth", s.auth)
	explainer{}.serve(sidecar)
	sidecar.HandleFunc("/elsewhere/auth", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/auth", http.StatusTemporaryRedirect)
	})
	sidecar.HandleFunc("/stale/auth", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	s.issuer, s.admin, s.sidecar = httptest.NewServer(public), httptest.NewServer(admin), httptest.NewServer(sidecar)
	return s
}

func (s *servers) close() {
	s.issuer.Close()
	s.admin.Close()
	s.sidecar.Close()
}

func (s *servers) login(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Content-Type") != "application/json" {
		problem(w, http.StatusBadRequest, "The body is not JSON.")
		return
	}
	if in["username"] != "alice" || in["password"] != "wonderland-42" || in["client_id"] != "demo-mobile" {
		problem(w, http.StatusUnauthorized, "The username or the password is wrong.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation, s.revoked, s.secret = 1, false, in["device_secret"]
	s.tokens(w, in["scope"])
}

// tokens needs mu.
func (s *servers) tokens(w http.ResponseWriter, scope string) {
	if scope == "" {
		scope = "read write"
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": fmt.Sprintf("access-%d", s.generation), "refresh_token": fmt.Sprintf("refresh-%d", s.generation),
		"token_type": "Bearer", "expires_in": 300, "scope": scope, "session_id": sid,
	})
}

func (s *servers) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.PostFormValue("grant_type") != "refresh_token" || r.PostFormValue("client_id") != "demo-mobile" || s.revoked ||
		r.PostFormValue("refresh_token") != fmt.Sprintf("refresh-%d", s.generation) || r.PostFormValue("device_secret") != s.secret {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "The refresh token is not valid."})
		return
	}
	s.generation++
	s.tokens(w, "")
}

// access says whether a token is one of the session's.
func (s *servers) access(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.revoked && strings.HasPrefix(token, "access-")
}

func (s *servers) operator(token string) bool { return token == operator }

func (s *servers) bearer(valid func(string) bool, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !valid(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			problem(w, http.StatusUnauthorized, "The token is not valid.")
			return
		}
		next(w, r)
	}
}

func (s *servers) sessions(w http.ResponseWriter, r *http.Request) {
	sub := r.PathValue("sub")
	answer(w, http.StatusOK, map[string]any{"sessions": []map[string]any{{
		"sid": sid, "device_name": "phone of " + sub + "\x1b[31m\u202e", "client_id": "demo-mobile",
		"started_at": "2026-11-01T10:00:00Z", "last_seen_at": "2026-11-01T11:30:00Z", "current": sub == "",
	}}})
}

func (s *servers) logout(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = true
	w.WriteHeader(http.StatusNoContent)
}

func (s *servers) revoke(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		problem(w, http.StatusBadRequest, "The body is not JSON.")
		return
	}
	out := map[string]any{
		"revocation_id": "01890a5d-ac96-774b-bcce-b302099a8058", "kind": in["kind"], "id": in["id"], "reason": in["reason"],
		"position": "0:42", "expires_at": "2026-11-01T12:00:00Z",
	}
	for _, name := range []string{"issuer", "scope", "except_session", "cut_time", "expires_at", "dry_run"} {
		if in[name] != nil {
			out["asked_"+name] = in[name]
		}
	}
	if in["dry_run"] == true {
		out["sessions"], out["denies"] = 3, "every session of this client and their access tokens"
		answer(w, http.StatusOK, out)
		return
	}
	if in["wait"] != nil {
		out["enforcement"] = enforcementFor(in["wait"])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = true
	answer(w, http.StatusCreated, out)
}

func (s *servers) auth(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Revocast-Fresh-As-Of", "2026-11-01T11:59:59Z")
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !s.access(token) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="The access token was revoked"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Auth-Subject", "alice")
	w.Header().Set("X-Auth-Session", sid)
	w.Header().Set("X-Other", "not shown")
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
