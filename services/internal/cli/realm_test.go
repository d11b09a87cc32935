package cli_test

import (
	"encoding/json"
	"net/http"
	"strings"
)

// directory answers as the admin API does about one user and one client.
type directory struct {
	user   map[string]any
	client map[string]any
}

func newDirectory() *directory {
	return &directory{
		user: map[string]any{
			"sub": "7c9e6679", "username": "alice\u202e", "roles": []string{"reader"}, "status": "enabled", "version": 1,
		},
		client: map[string]any{"client_id": "demo-mobile", "type": "public", "status": "enabled"},
	}
}

// serve adds the endpoints to mux; guard lets operators in alone.
func (d *directory) serve(mux *http.ServeMux, guard func(http.HandlerFunc) http.HandlerFunc) {
	mux.HandleFunc("POST /admin/v1/users", guard(d.add))
	mux.HandleFunc("GET /admin/v1/users", guard(d.find))
	mux.HandleFunc("GET /admin/v1/users/{sub}", guard(d.known(func(w http.ResponseWriter, _ map[string]any) { answer(w, 200, d.user) })))
	mux.HandleFunc("PUT /admin/v1/users/{sub}/{what}", guard(func(w http.ResponseWriter, r *http.Request) {
		d.known(func(w http.ResponseWriter, in map[string]any) { d.change(w, r.PathValue("what"), in) })(w, r)
	}))
	mux.HandleFunc("GET /admin/v1/clients", guard(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"clients": []any{d.client}})
	}))
	mux.HandleFunc("PUT /admin/v1/clients/{id}/status", guard(d.setClient))
}

func (d *directory) add(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Username, Password string
		Roles              []string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Password != "wonderland-42" {
		problem(w, 400, "The password has 8 to 1024 bytes.")
		return
	}
	if strings.HasPrefix(in.Username, "alice") {
		problem(w, 409, "There is a user of this name already.")
		return
	}
	answer(w, 201, map[string]string{"sub": "sub-of-" + in.Username + "-" + strings.Join(in.Roles, "+"), "username": in.Username})
}

func (d *directory) find(w http.ResponseWriter, r *http.Request) {
	users := []any{}
	if r.URL.Query().Get("username") == "alice" {
		users = append(users, d.user)
	}
	answer(w, 200, map[string]any{"users": users})
}

func (d *directory) known(next func(http.ResponseWriter, map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if r.Method == http.MethodPut && json.NewDecoder(r.Body).Decode(&in) != nil {
			problem(w, 400, "The body is not JSON.")
			return
		}
		if r.PathValue("sub") != d.user["sub"] {
			problem(w, 404, "There is no such user.")
			return
		}
		next(w, in)
	}
}

func (d *directory) change(w http.ResponseWriter, what string, in map[string]any) {
	switch what {
	case "roles":
		d.user["roles"] = in["roles"]
	case "status":
		d.user["status"] = in["status"]
	case "password":
		if in["password"] != "looking-glass" {
			problem(w, 400, "The password has 8 to 1024 bytes.")
			return
		}
		d.user["version"] = 2
		w.WriteHeader(204)
		return
	}
	d.user["reason"] = in["reason"]
	answer(w, 200, d.user)
}

func (d *directory) setClient(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		problem(w, 400, "The body is not JSON.")
		return
	}
	if r.PathValue("id") != d.client["client_id"] {
		problem(w, 404, "There is no such client.")
		return
	}
	d.client["status"], d.client["reason"], d.client["by"] = in["status"], in["reason"], "admin"
	answer(w, 200, d.client)
}
