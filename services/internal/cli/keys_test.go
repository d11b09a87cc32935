package cli_test

import (
	"encoding/json"
	"net/http"
)

// keyBoard answers as the admin API does about keys, of which there is one to sign and
// one of refresh tokens.
type keyBoard struct{}

func (b keyBoard) serve(mux *http.ServeMux, guard func(http.HandlerFunc) http.HandlerFunc) {
	mux.HandleFunc("GET /admin/v1/keys", guard(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"keys": []any{
			b.key("kid-2", "sign", "announced", false), b.key("kid-1", "sign", "signing", true), b.key("mac-1", "mac", "signing", true),
		}})
	}))
	mux.HandleFunc("POST /admin/v1/keys:rotate", guard(b.rotate))
	mux.HandleFunc("DELETE /admin/v1/keys/{kid}", guard(func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("kid") {
		case "kid-2":
			retired := b.key("kid-2", "sign", "retired", false)
			retired["accepted_until"] = "2026-12-01T00:00:00Z"
			answer(w, 200, retired)
		case "kid-1":
			problem(w, 409, "No other key could sign in its place; rotate first.")
		default:
			problem(w, 404, "There is no such key.")
		}
	}))
}

func (keyBoard) key(kid, use, phase string, current bool) map[string]any {
	alg := map[string]string{"sign": "ES256", "mac": "HS256"}[use]
	return map[string]any{"kid": kid, "use": use, "alg": alg, "phase": phase, "current": current, "not_before": "2026-11-01T10:00:00Z"}
}

func (b keyBoard) rotate(w http.ResponseWriter, r *http.Request) {
	var in struct{ Use, Alg, Overlap string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		problem(w, 400, "The body is not JSON.")
		return
	}
	made := b.key("kid-of-"+in.Use+in.Alg, in.Use, "announced", false)
	made["asked_overlap"] = in.Overlap
	answer(w, 201, made)
}
