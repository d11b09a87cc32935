package adminapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// Denylist shows what is denied.
type Denylist interface {
	Explain(t *denylist.Token, now time.Time) ([]denylist.Look, error)
	Status() denylist.Status
}

// Feed says how far the feed has been followed.
type Feed interface {
	State() replica.State
	// Rejected counts live messages whose place in the feed was not certain.
	Rejected() uint64
}

// Parts are what an [API] tells of. All are required.
type Parts struct {
	Verifier Verifier
	Denylist Denylist
	Feed     Feed
	Checker  Checker
	// Ready says why the sidecar should not be sent requests; nil if it may be.
	Ready func() error

	// ID names the sidecar, Instance this run of it.
	ID, Instance, Version string
	Policy                gate.Policy
	Limits                Limits
}

// Limits bound memory, in bytes; zero for none.
type Limits struct {
	// Budget is that of denylist and token cache together, Cache the cache's part.
	Budget, Cache int64
}

// API answers. It is safe for concurrent use.
type API struct {
	parts Parts
	// checking holds a value while a check of the store is under way.
	checking chan struct{}
}

// New makes an API of running parts. It starts nothing.
func New(p Parts) *API {
	return &API{parts: p, checking: make(chan struct{}, 1)}
}

// Register adds the API's endpoints to mux.
func (a *API) Register(mux *http.ServeMux) {
	foreign := http.NewCrossOriginProtection()
	handle := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, foreign.Handler(h)) }
	handle("GET /v1/status", a.status)
	handle("GET /v1/explain", a.explain)
	handle("GET /v1/doctor", a.doctor)
	handle("POST /v1/fsck", a.fsck)
}

// answer writes v. Nothing of it may be kept by anyone on the way.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}

// moment is null in JSON for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// age is how old a view of asOf is; nil for one of no time.
func age(asOf, now time.Time) *float64 {
	if asOf.IsZero() {
		return nil
	}
	s := now.Sub(asOf).Seconds()
	return &s
}
