// Package problem is how the issuer's JSON endpoints read bodies and say no:
// problem details as application/problem+json (RFC 9457).
//
// It is this project's own: the one current library found, moogar0880/problems,
// nests extension members that RFC 9457 section 3.2 wants beside the others, sends
// no Cache-Control, and offers to make any error's text the detail. What is left
// to write is one struct.
//
// Invariants:
//
//   - An error that is not a [Error] is answered as 500 and nothing else: what
//     it says stays inside.
//   - No part of a request body is repeated in a problem.
package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// MediaType is the content type of a problem (RFC 9457 section 3).
const MediaType = "application/problem+json"

// Error is one problem details object, and an error to be returned up to the
// handler. It says nothing that its receiver may not know.
type Error struct {
	// Type is a URI for the kind of problem; empty means that the status says it
	// all ("about:blank", RFC 9457 section 4.2.1).
	Type string
	// Title sums up the kind; empty means the status's own text.
	Title string
	// Status is the HTTP status. Zero, and whatever is not an error's, becomes 500.
	Status int
	// Detail is about this occurrence, for people.
	Detail string
	// Challenge, if not empty, is the WWW-Authenticate header that belongs to a
	// 401, and to a 403 that a better token would mend (RFC 9110 section 11.6.1).
	Challenge string
	// RetryAfter, if positive, is sent as the header of that name, rounded up to
	// seconds (RFC 9110 section 10.2.3).
	RetryAfter time.Duration
}

// New is a problem of the kind that its status says.
func New(status int, detail string) *Error { return &Error{Status: status, Detail: detail} }

// Error implements error.
func (p *Error) Error() string {
	s := strconv.Itoa(p.Status) + " " + http.StatusText(p.Status)
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// Write answers with the problem that err is or wraps, or else with a bare 500.
// Headers that the caller has set stay. Nothing may have been written before.
func Write(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*Error](err)
	if !ok || p == nil || p.Status < 400 || p.Status > 599 {
		p = &Error{Status: http.StatusInternalServerError}
	}
	h := w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.Challenge != "" {
		h.Set("WWW-Authenticate", p.Challenge)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", Seconds(p.RetryAfter))
	}
	w.WriteHeader(p.Status)
	// The client may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type,omitempty"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{p.Type, titleOf(p), p.Status, p.Detail})
}

func titleOf(p *Error) string {
	if p.Title != "" {
		return p.Title
	}
	if text := http.StatusText(p.Status); text != "" {
		return text
	}
	return "Error " + strconv.Itoa(p.Status)
}

// Seconds writes d for a Retry-After header: whole seconds, rounded up, at least 1,
// so that nobody is told to come back at once.
func Seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
