package cli_test

import "net/http"

// crowd is a fleet of two, of which the second is wherever the test wants it.
func crowd(confirmed bool) map[string]any {
	slow := map[string]any{"id": "api-2\u202e", "instance": "01890a5d-0000-4000-8000-000000000002", "confirmed": confirmed, "last_seen": "2026-11-01T11:59:00Z"}
	e := map[string]any{
		"live": 2, "confirmed": 1, "p50_ms": 1.25, "max_ms": 1.25, "missing": []string{"api-2\u202e"},
		"sidecars": []any{slow, map[string]any{
			"id": "api-1", "instance": "01890a5d-0000-4000-8000-000000000001", "confirmed": true, "ms": 1.25, "last_seen": "2026-11-01T12:00:00Z",
		}},
	}
	if confirmed {
		slow["ms"] = 7.5
		e["confirmed"], e["max_ms"], e["missing"] = 2, 7.5, []string{}
	}
	return e
}

// enforcementFor answers a wait as its duration says: 3s finds everybody, 2s one
// missing, 1s an issuer that has just begun.
func enforcementFor(wait any) map[string]any {
	e := crowd(wait != "2s")
	if wait == "1s" {
		e["incomplete"], e["watched_since"] = "this issuer has only just begun to listen to the fleet", "2026-11-01T11:59:59Z"
	}
	return e
}

func serveFleet(mux *http.ServeMux, guarded func(http.HandlerFunc) http.HandlerFunc) {
	mux.HandleFunc("GET /admin/v1/fleet", guarded(func(w http.ResponseWriter, _ *http.Request) {
		canary := crowd(true)
		canary["at"], canary["revocation_id"], canary["position"] = "2026-11-01T12:00:00Z", standingID, "0:41"
		answer(w, http.StatusOK, map[string]any{
			"epoch": "e", "position": "0:42", "canary": canary, "sidecars": []any{
				map[string]any{
					"id": "api-1", "instance": "01890a5d-0000-4000-8000-000000000001", "version": "v1.0.0", "state": "following", "position": "0:42",
					"lag": 0, "fresh_as_of": "2026-11-01T12:00:00Z", "entries": 17, "last_seen": "2026-11-01T12:00:00Z",
				},
				map[string]any{
					"id": "api-2\u202e", "instance": "01890a5d-0000-4000-8000-000000000002", "version": "v1.0.0", "state": "silent", "position": "0:12",
					"lag": 30, "fresh_as_of": nil, "entries": 0, "last_seen": "2026-11-01T11:59:00Z",
				},
			},
		})
	}))
	mux.HandleFunc("GET /empty/admin/v1/fleet", guarded(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"epoch": "e", "position": "0:42", "sidecars": []any{}, "watched_since": "2026-11-01T11:59:59Z"})
	}))
}
