// Package adminapi serves operators: revoke, see who is logged in where, create
// users and set passwords. It has a listener of its own, and no endpoint answers
// without an operator's token.
//
// Invariants:
//
//   - 201 only once a revocation is durable on the feed and in the journal.
//   - An operator's token is kept as its SHA-256 and compared in constant time.
package adminapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/session"
)

// Service is what operators may do.
type Service interface {
	Revoke(ctx context.Context, r issue.Revocation) (issue.Revoked, error)
	Sessions(ctx context.Context, sub events.Subject) ([]session.State, error)
	Register(ctx context.Context, username, passwordHash string, roles []string) (events.Subject, error)
	SetPassword(ctx context.Context, sub events.Subject, wanted string, by events.Initiator) (issue.Revoked, error)
}

// Hasher hashes a new user's password.
type Hasher interface {
	Hash(ctx context.Context, password string) (string, error)
}

// Role is what an operator may do; each may do what those before it may. The zero
// Role may nothing.
type Role uint8

// The roles.
const (
	NoRole Role = iota
	// Viewer sees who is logged in where, what is revoked and what happened.
	Viewer
	// Support revokes what belongs to one user.
	Support
	// Administrator may do everything; it is called "operator" outside.
	Administrator
)

// Operator is one who may call: a name for the records, a role, and the SHA-256 of
// the token.
type Operator struct {
	Name      string
	Role      Role
	TokenHash [sha256.Size]byte
}

// API serves the endpoints. All fields are required.
type API struct {
	Service   Service
	Hasher    Hasher
	Operators []Operator
	// Issuer is whose tokens a revocation means unless it says otherwise.
	Issuer events.Issuer
	Log    *zap.Logger
}

// endpoint is a handler that knows who calls.
type endpoint func(w http.ResponseWriter, r *http.Request, by events.Initiator) error

// Register adds the endpoints to mux.
func (a API) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /admin/v1/revocations", a.handle(Support, a.revoke))
	mux.HandleFunc("GET /admin/v1/subjects/{sub}/sessions", a.handle(Viewer, a.sessions))
	mux.HandleFunc("POST /admin/v1/users", a.handle(Administrator, a.register))
	mux.HandleFunc("PUT /admin/v1/users/{sub}/password", a.handle(Support, a.setPassword))
}

// handle authenticates whoever has at least this role, calls, and turns an error
// into an answer.
func (a API) handle(least Role, f endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		by, err := a.operator(r, least)
		if err == nil {
			err = f(w, r, by)
		}
		if err != nil {
			problem.Write(w, a.refusal(r, err))
		}
	}
}

func (a API) operator(r *http.Request, least Role) (events.Initiator, error) {
	token, err := oauth.Bearer(r)
	if err != nil {
		return events.Initiator{}, err
	}
	hash := sha256.Sum256([]byte(token))
	var found *Operator
	for i := range a.Operators {
		if subtle.ConstantTimeCompare(hash[:], a.Operators[i].TokenHash[:]) == 1 {
			found = &a.Operators[i]
		}
	}
	if found == nil {
		return events.Initiator{}, oauth.Challenge(http.StatusUnauthorized, oauth.InvalidToken, "The operator token is not valid.")
	}
	if found.Role < least {
		return events.Initiator{}, oauth.Challenge(http.StatusForbidden, oauth.InsufficientScope, "This operator's role does not allow that.")
	}
	return events.Initiator{Role: "operator", Name: found.Name}, nil
}

func (a API) refusal(r *http.Request, err error) error {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p
	}
	switch {
	case errors.Is(err, issue.ErrExists):
		return problem.New(http.StatusConflict, "There is a user of this name already.")
	case errors.Is(err, issue.ErrNoUser):
		return problem.New(http.StatusNotFound, "There is no such user.")
	case errors.Is(err, events.ErrConflict):
		return problem.New(http.StatusConflict, "Something else changed this at the same moment; look again.")
	case errors.Is(err, events.ErrTooMany):
		return problem.New(http.StatusUnprocessableEntity, "This subject has more sessions than one answer holds.")
	}
	a.Log.Warn("request not decided", zap.String("method", r.Method), zap.String("pattern", r.Pattern), zap.Error(err))
	return &problem.Error{Status: http.StatusServiceUnavailable, Detail: "Not decided; try again.", RetryAfter: time.Second}
}

func (a API) sessions(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	sub := r.PathValue("sub")
	if !plain(sub, 1, maxID) {
		return problem.New(http.StatusBadRequest, "The subject has 1 to 512 bytes and no control characters.")
	}
	states, err := a.Service.Sessions(r.Context(), events.Subject(sub))
	if err != nil {
		return err
	}
	write(w, http.StatusOK, map[string][]account.Session{"sessions": account.List(states, "")})
	return nil
}

func plain(s string, atLeast, atMost int) bool {
	return len(s) >= atLeast && len(s) <= atMost && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// legible is text that looks like what it is, as in the file of bootstrap users: two
// names that read alike are a trap for whoever revokes one of them.
func legible(s string, atMost int) bool {
	return plain(s, 1, atMost) && s == strings.TrimSpace(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}
