package cli_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

const standingID = "01890a5d-ac96-774b-bcce-b302099a8058"

// denials answer what operators ask about revocations, but for making one.
type denials struct {
	mu     sync.Mutex
	lifted bool
}

func (d *denials) serve(mux *http.ServeMux, guarded func(http.HandlerFunc) http.HandlerFunc) {
	mux.HandleFunc("GET /admin/v1/revocations", guarded(d.list))
	mux.HandleFunc("DELETE /admin/v1/revocations/{id}", guarded(d.lift))
	mux.HandleFunc("POST /admin/v1/revocations:batch", guarded(d.batch))
}

// list is of two pages with one entry each.
func (d *denials) list(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if kind := r.FormValue("kind"); kind != "" && kind != "client" {
		problem(w, http.StatusBadRequest, "kind is one of six.")
		return
	}
	entry := map[string]any{
		"revocation_id": standingID, "kind": "client", "id": "app\u202e", "issuer": "https://id.example", "reason": "stolen", "by": "operator",
		"operator": "ops", "announced_at": "2026-11-01T11:00:00Z", "expires_at": "2026-11-01T12:00:00Z", "position": "0:42", "lifted": d.lifted,
	}
	page := map[string]any{"revocations": []any{entry}, "next": "42"}
	if r.FormValue("after") == "42" {
		entry["kind"], entry["id"], entry["lifted"] = "all", "", false
		delete(page, "next")
	}
	answer(w, http.StatusOK, page)
}

func (d *denials) lift(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.PathValue("id") != standingID {
		problem(w, http.StatusNotFound, "There is no such revocation.")
		return
	}
	d.lifted = true
	if wait := r.FormValue("wait"); wait != "" {
		answer(w, http.StatusOK, map[string]any{"revocation_id": standingID, "enforcement": enforcementFor(wait)})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// batch refuses lines that speak of planets.
func (*denials) batch(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if r.Header.Get("Content-Type") != "application/x-ndjson" || !strings.HasPrefix(key, `"`) || !strings.HasSuffix(key, `"`) || len(key) < 3 {
		problem(w, http.StatusUnsupportedMediaType, "Send NDJSON under a key.")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := bufio.NewScanner(r.Body)
	for n := 1; lines.Scan(); n++ {
		out := map[string]any{"line": n, "status": http.StatusCreated, "revocation_id": standingID, "reason": key}
		if strings.Contains(lines.Text(), "planet") {
			out = map[string]any{"line": n, "status": http.StatusBadRequest, "detail": "kind is one of six.\x1b[31m"}
		}
		text, _ := json.Marshal(out)
		_, _ = fmt.Fprintf(w, "%s\n", text)
	}
}
