// Package forwardauth answers reverse proxies that ask, before each request they
// pass on, whether it may pass: nginx auth_request, Caddy forward_auth, Traefik
// ForwardAuth, HAProxy. The question is a request of any method with the client's
// Authorization field; the answer is a status (200, or what the client shall
// see) and headers about the token for the proxy to hand on. What the request was
// that the client made, the proxy says in headers; see [Family].
//
// Invariants:
//
//   - Every answer sets every identity header, empty where nothing is known, so
//     that none forged by a client survives a proxy that copies them.
//   - A query can only ask for more; what it asks and cannot be read is refused.
//   - Where routes are told apart, a proxy that does not say what was asked for is
//     refused, and so is one that says it twice.
//   - The body is never read.
package forwardauth

import (
	"fmt"
	"net/http"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// Family says in which headers a proxy tells the request that the client made.
type Family string

// The families.
const (
	// Forwarded: X-Forwarded-Method, X-Forwarded-Host, X-Forwarded-Uri, as Caddy and
	// Traefik send them.
	Forwarded Family = "x-forwarded"
	// Original: X-Original-Method, X-Original-Host, X-Original-Uri, as nginx is
	// commonly made to send them.
	Original Family = "x-original"
)

// headers are the names, in the canonical form of net/http.
func (f Family) headers() (method, host, uri string, err error) {
	switch f {
	case Forwarded:
		return "X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri", nil
	case Original:
		return "X-Original-Method", "X-Original-Host", "X-Original-Uri", nil
	}
	return "", "", "", fmt.Errorf("%q is no family of headers: want %s or %s", string(f), Forwarded, Original)
}

// Handler answers one question a request, whatever the path it is mounted at. It
// is safe for concurrent use.
type Handler struct {
	check             *front.Checker
	method, host, uri string
}

// New makes a handler that reads the client's request from headers of that family.
func New(family Family, check *front.Checker) (*Handler, error) {
	method, host, uri, err := family.headers()
	return &Handler{check, method, host, uri}, err
}

// mostFields is how many an answer has at most.
const mostFields = 12

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if r.ContentLength != 0 {
		// A proxy has no reason to send the body along. The connection is closed
		// rather than made to wait for one.
		header.Set("Connection", "close")
	}
	ask, err := front.ReadAsk(r.URL.RawQuery)
	answer := h.check.Check(r.Context(), front.Request{
		Method: only(r, h.method), Host: only(r, h.host), Target: only(r, h.uri),
		Authorization: r.Header["Authorization"], Ask: ask, Unreadable: err != nil,
	})
	identity := answer.Identity()
	fields := append(make([]front.Field, 0, mostFields), identity[:]...)
	// Of an allowance too: to a proxy it is an answer like any other.
	fields = append(fields, answer.Fresh(), front.Field{Name: "Cache-Control", Value: "no-store"})
	fields = append(fields, answer.Refusal()...)
	values := make([]string, len(fields)) // one allocation for all
	for i, f := range fields {
		values[i] = f.Value
		header[f.Name] = values[i : i+1 : i+1]
	}
	w.WriteHeader(answer.Decision.Status())
}

// only is the value of a field that is there once, or nothing: of two, one may be the
// client's.
func only(r *http.Request, name string) string {
	if values := r.Header[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}
