// Package oauth is what the issuer's OAuth endpoints share: how a form is read,
// how tokens and errors are written (RFC 6749 sections 5.1 and 5.2), and how a
// bearer token is taken from a request (RFC 6750). The endpoints are packages of
// their own below it; who a client is, package clientauth finds out.
//
// Invariants:
//
//   - A parameter counts once: a request that repeats one is refused whole
//     (RFC 6749 section 3.2), so no two parties read different requests in it.
//   - Credentials come from the body or the Authorization header, never from the
//     query, which ends up in logs and histories.
//   - Every answer that could hold a token or a reason says no-store.
//   - An error that is not an [Error] is answered as server_error and nothing else.
package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/problem"
)

// realm is what challenges name (RFC 9110 section 11.5). It is not the realm of
// the broker, which is nobody's business.
const realm = "revocast"

// Code is an error code of RFC 6749 section 5.2 or of one of its extensions.
type Code string

// The codes this issuer answers with.
const (
	InvalidRequest       Code = "invalid_request"
	InvalidClient        Code = "invalid_client"
	InvalidGrant         Code = "invalid_grant"
	UnauthorizedClient   Code = "unauthorized_client"
	UnsupportedGrantType Code = "unsupported_grant_type"
	InvalidScope         Code = "invalid_scope"
	// UnsupportedTokenType is RFC 7009 section 2.2.1.
	UnsupportedTokenType Code = "unsupported_token_type"
	// InvalidToken and InsufficientScope are RFC 6750 section 3.1.
	InvalidToken      Code = "invalid_token"
	InsufficientScope Code = "insufficient_scope"
	// InsufficientUserAuthentication is RFC 9470 section 3.
	InsufficientUserAuthentication Code = "insufficient_user_authentication"
	// ServerError and TemporarilyUnavailable are RFC 6749 section 4.1.2.1.
	ServerError            Code = "server_error"
	TemporarilyUnavailable Code = "temporarily_unavailable"
)

// Error is an answer of RFC 6749 section 5.2. Code and Description go to the
// client and say nothing that it may not know.
type Error struct {
	Code        Code
	Description string
	// Status overrides the HTTP status that the code has; zero keeps that.
	Status int
	// RetryAfter is sent with 503 and 429; at least a second.
	RetryAfter time.Duration
	// StepUp says what insufficient_user_authentication asks for; nil for any
	// other code.
	StepUp *StepUp
}

// StepUp is what would be sufficient authentication: the members of RFC 9470 section 3
// that say so, and which session it is wanted for.
type StepUp struct {
	ACRValues string           `json:"acr_values"`
	MaxAge    int              `json:"max_age"` // seconds; 0 for a new authentication
	Session   events.SessionID `json:"session_id"`
}

// Refuse is the error of the given code, with its usual status.
func Refuse(code Code, description string) *Error {
	return &Error{Code: code, Description: description}
}

// Unavailable says that the request was neither granted nor refused and may be
// repeated. To a client that revokes, it says that the token still lives
// (RFC 7009 section 2.2.1).
func Unavailable(retryAfter time.Duration) *Error {
	return &Error{Code: TemporarilyUnavailable, Description: "Not decided; try again.", RetryAfter: retryAfter}
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Description }

func (e *Error) status() int {
	if e.Status >= 400 && e.Status <= 599 {
		return e.Status
	}
	switch e.Code {
	case InvalidClient, InvalidToken:
		return http.StatusUnauthorized
	case InsufficientScope:
		return http.StatusForbidden
	case ServerError, "":
		return http.StatusInternalServerError
	case TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	case InvalidRequest, InvalidGrant, UnauthorizedClient, UnsupportedGrantType, InvalidScope, UnsupportedTokenType,
		InsufficientUserAuthentication: // 401 is about the client here (RFC 6749 section 5.2)
	}
	return http.StatusBadRequest
}

// WriteError answers with the [Error] that err is or wraps, or else with a bare
// server_error. Nothing may have been written before.
func WriteError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e == nil || e.Code == "" {
		e = &Error{Code: ServerError}
	}
	status := e.status()
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`", charset="UTF-8"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", problem.Seconds(e.RetryAfter))
	}
	write(w, status, struct {
		Error       Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
		*StepUp
	}{e.Code, describable(e.Description), e.StepUp})
}

// describable keeps the characters an error_description may have (RFC 6749
// section 5.2, RFC 6750 section 3): no quote, no backslash, no control, ASCII.
func describable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

// Tokens is a successful answer (RFC 6749 section 5.1). Its members are
// credentials: it prints as a placeholder and only [WriteTokens] spells it out.
type Tokens struct {
	Access string
	// Type is "Bearer" (RFC 6750) or "DPoP" (RFC 9449).
	Type string
	// ExpiresIn is sent in whole seconds, rounded down.
	ExpiresIn time.Duration
	// Refresh is empty where none is given.
	Refresh   string
	Scope     string
	SessionID events.SessionID
}

const redacted = "[tokens]"

// Format prints a placeholder whatever the verb.
func (Tokens) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String gives the same placeholder.
func (Tokens) String() string { return redacted }

// MarshalText keeps the tokens out of JSON and of loggers that reflect.
func (Tokens) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// WriteTokens answers 200 with t.
func WriteTokens(w http.ResponseWriter, t Tokens) {
	write(w, http.StatusOK, struct {
		Access    string           `json:"access_token"`
		Type      string           `json:"token_type"`
		ExpiresIn int64            `json:"expires_in"`
		Refresh   string           `json:"refresh_token,omitempty"`
		Scope     string           `json:"scope,omitempty"`
		SessionID events.SessionID `json:"session_id,omitempty"`
	}{t.Access, t.Type, int64(t.ExpiresIn / time.Second), t.Refresh, t.Scope, t.SessionID})
}

func write(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(v)
}
