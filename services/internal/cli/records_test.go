package cli_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// records answers as the admin API does about operators and the audit.
type records struct {
	mu        sync.Mutex
	operators map[string]map[string]any
}

func newRecords() *records {
	return &records{operators: map[string]map[string]any{"old": {
		"name": "old", "role": "viewer", "certificate": false, "added_by": "admin", "expires_at": "2026-01-01T00:00:00Z", "expired": true,
	}}}
}

// serve adds the endpoints to mux; guard lets operators in alone.
func (d *records) serve(mux *http.ServeMux, guard func(http.HandlerFunc) http.HandlerFunc) {
	mux.HandleFunc("POST /admin/v1/operators", guard(d.add))
	mux.HandleFunc("GET /admin/v1/operators", guard(d.list))
	mux.HandleFunc("DELETE /admin/v1/operators/{name}", guard(d.remove))
	mux.HandleFunc("GET /admin/v1/audit", guard(d.audit))
}

func (d *records) add(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in["name"] == "admin" {
		problem(w, 409, "The operator of this name is made by the issuer on its first start.")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	made := map[string]any{
		"name": in["name"], "role": in["role"], "certificate": in["certificate"], "added_by": "admin",
		"expires_at": "2026-12-01T00:00:00Z", "expired": false, "asked_expires_in": in["expires_in"],
	}
	d.operators[in["name"].(string)] = maps.Clone(made)
	if in["certificate"] == false {
		made["token"] = "rvo_secret"
	}
	answer(w, 201, made)
}

func (d *records) list(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(d.operators)) {
		all = append(all, d.operators[name])
	}
	answer(w, 200, map[string]any{"operators": all})
}

func (d *records) remove(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.operators[r.PathValue("name")] == nil {
		problem(w, 404, "There is no such operator.")
		return
	}
	delete(d.operators, r.PathValue("name"))
	w.WriteHeader(http.StatusNoContent)
}

// audit has five events in pages of two, and judges a token by its sub.
func (d *records) audit(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if strings.Contains(r.URL.RawQuery, ".") && strings.Contains(r.URL.RawQuery, "eyJ") {
		problem(w, 400, "A token was sent.")
		return
	}
	if q.Has("at") {
		d.judge(w, r)
		return
	}
	after, _ := strconv.Atoi(q.Get("after"))
	page := map[string]any{}
	var list []map[string]any
	for i := after + 1; i <= min(after+2, 5); i++ {
		list = append(list, map[string]any{
			"cursor": strconv.Itoa(i), "at": fmt.Sprintf("2026-11-01T10:00:0%dZ", i), "type": "noted", "action": "n" + strconv.Itoa(i),
			"by": map[string]string{"role": "operator", "name": "sam\x1b[31m"}, "session": "s-" + q.Get("subject"),
			"device_name": "Phone\u202e", "address": "192.0.2.7", "detail": q.Get("from") + q.Get("limit"),
		})
	}
	if after+2 < 5 {
		page["next"] = strconv.Itoa(after + 2)
	}
	if after == 0 {
		page["unreadable"] = 1
	}
	page["events"] = list
	answer(w, 200, page)
}

func (d *records) judge(w http.ResponseWriter, r *http.Request) {
	asked := map[string]string{}
	for name, values := range r.URL.Query() {
		asked[name] = values[0]
	}
	v := map[string]any{"at": asked["at"], "decided": true, "passed": false, "reasons": []any{}, "asked": asked}
	switch asked["sub"] {
	case "alice":
		v["passed"] = true
	case "bob":
		v["reasons"] = []any{map[string]any{
			"revocation_id": "01890a5d-ac96-774b-bcce-b302099a8058", "kind": "subject", "id": "bob", "reason": "stolen_phone",
			"by": map[string]string{"role": "operator", "name": "sam"}, "since": "2026-11-01T09:00:00Z",
		}}
	case "carol":
		v["lifetime"] = "it had expired at 2026-11-01T09:00:00Z"
	default:
		v["decided"], v["undecided"] = false, "the audit does not reach back that far"
	}
	answer(w, 200, v)
}

// unsigned makes a token of which only what it says matters.
func unsigned(sub string) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(map[string]any{"alg": "ES256", "kid": "kid-1"}) + "." + part(map[string]any{
		"iss": "https://id.example", "sub": sub, "sid": "s-1", "jti": "j-1", "client_id": "app", "ssq": "0:7", "tsq": "0:9",
		"iat": 1761990000, "exp": 1761993600.5, "auth_time": 1761980000, "email": "private@id.example", "scope": "read",
	}) + ".c2lnbmF0dXJl"
}
