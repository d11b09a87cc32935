// Package adminapi serves operators: revoke, see who is logged in where, make and
// change users, disable clients. It has a listener of its own, and no endpoint answers
// without an operator's token or client certificate.
//
// Invariants:
//
//   - 201 only once a revocation is durable on the feed and in the journal.
//   - Nothing is done, and nothing about anybody shown, before AUDIT has it on record
//     under the operator's name. No record holds a credential.
package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/tlsfiles"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/operators"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/session"
)

// Service is what operators may do.
type Service interface {
	Sessions(ctx context.Context, sub events.Subject) ([]session.State, error)
	Register(ctx context.Context, username, passwordHash string, roles []string) (events.Subject, error)
	SetPassword(ctx context.Context, sub events.Subject, wanted string, by events.Initiator) (issue.Revoked, error)
}

// Hasher hashes a new user's password.
type Hasher interface {
	Hash(ctx context.Context, password string) (string, error)
}

// Role is what an operator may do; each may do what those before it may.
type Role = operators.Role

// The roles, as package operators describes them.
const (
	Viewer        = operators.Viewer
	Support       = operators.Support
	Administrator = operators.Administrator
)

// API serves the endpoints. All fields are required but Default and Control.
type API struct {
	Service     Service
	Revocations Revocations
	Fleet       Fleet
	Canary      Canary
	// Lines counts the lines of batches ([NewLines]).
	Lines   *prometheus.CounterVec
	Users   Users
	Clients Clients
	// ClientStatuses is what the journal says about clients.
	ClientStatuses ClientStatuses
	Hasher         Hasher
	Authenticator  Authenticator
	Operators      Operators
	History        History
	Auditor        *Auditor
	Keys           Keys
	// KeyOverlap is how long a key is announced before it is used unless an operator
	// says otherwise.
	KeyOverlap time.Duration
	// Issuer is this issuer's own name.
	Issuer events.Issuer
	// Default is whose tokens a revocation means that names no issuer. Empty is for
	// nobody's: every revocation has to name one.
	Default events.Issuer
	// Control leaves away what is about users, sessions, clients and keys of this
	// issuer's own: it has none.
	Control bool
	Log     *zap.Logger
}

// endpoint is a handler that knows who calls.
type endpoint func(w http.ResponseWriter, r *http.Request, by events.Initiator) error

// Register adds the endpoints to mux.
func (a API) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /admin/v1/revocations", a.handle(Support, a.revoke))
	mux.HandleFunc("POST /admin/v1/revocations:batch", a.handle(Administrator, a.batch))
	mux.HandleFunc("GET /admin/v1/revocations", a.handle(Viewer, a.list))
	mux.HandleFunc("DELETE /admin/v1/revocations/{id}", a.handle(Administrator, a.lift))
	mux.HandleFunc("POST /admin/v1/operators", a.handle(Administrator, a.addOperator))
	mux.HandleFunc("GET /admin/v1/operators", a.handle(Administrator, a.listOperators))
	mux.HandleFunc("DELETE /admin/v1/operators/{name}", a.handle(Administrator, a.removeOperator))
	mux.HandleFunc("GET /admin/v1/fleet", a.handle(Viewer, a.fleet))
	mux.HandleFunc("GET /admin/v1/audit", a.handle(Viewer, a.audit))
	if a.Control {
		return
	}
	mux.HandleFunc("GET /admin/v1/subjects/{sub}/sessions", a.handle(Viewer, a.sessions))
	mux.HandleFunc("POST /admin/v1/users", a.handle(Administrator, a.register))
	mux.HandleFunc("PUT /admin/v1/users/{sub}/password", a.handle(Support, a.setPassword))
	mux.HandleFunc("GET /admin/v1/users", a.handle(Viewer, a.findUser))
	mux.HandleFunc("GET /admin/v1/users/{sub}", a.handle(Viewer, a.user))
	mux.HandleFunc("PUT /admin/v1/users/{sub}/roles", a.handle(Administrator, a.setRoles))
	mux.HandleFunc("PUT /admin/v1/users/{sub}/status", a.handle(Support, a.setStatus))
	mux.HandleFunc("GET /admin/v1/clients", a.handle(Viewer, a.listClients))
	mux.HandleFunc("PUT /admin/v1/clients/{id}/status", a.handle(Administrator, a.setClientStatus))
	mux.HandleFunc("GET /admin/v1/keys", a.handle(Viewer, a.listKeys))
	mux.HandleFunc("POST /admin/v1/keys:rotate", a.handle(Administrator, a.rotateKey))
	mux.HandleFunc("DELETE /admin/v1/keys/{kid}", a.handle(Administrator, a.retireKey))
}

// handle authenticates whoever has at least this role, puts the request on record,
// calls, and turns an error into an answer.
func (a API) handle(least Role, f endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		by, err := a.operator(r, least)
		if err != nil {
			a.Auditor.refused(r, by, err)
		} else if err = a.Auditor.note(r, by); err == nil {
			err = f(w, r, by)
		}
		if err != nil {
			problem.Write(w, a.refusal(r, err))
		}
	}
}

// operator finds out who calls. Whoever is known but may not has a name all the same.
func (a API) operator(r *http.Request, least Role) (events.Initiator, error) {
	token, cert := "", tlsfiles.Peer(r.TLS)
	if cert == nil || len(r.Header["Authorization"]) > 0 {
		var err error
		if token, err = oauth.Bearer(r); err != nil {
			return events.Initiator{}, err
		}
	}
	found, err := a.Authenticator.Authenticate(r.Context(), token, cert)
	if errors.Is(err, operators.ErrRefused) {
		return events.Initiator{}, oauth.Challenge(http.StatusUnauthorized, oauth.InvalidToken, "The operator token or certificate is not valid.")
	}
	if err != nil {
		return events.Initiator{}, err
	}
	by := events.Initiator{Role: "operator", Name: found.Name}
	if found.Role < least {
		return by, oauth.Challenge(http.StatusForbidden, oauth.InsufficientScope, "This operator's role does not allow that.")
	}
	return by, nil
}

func (a API) refusal(r *http.Request, err error) error {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p
	}
	if p := operatorRefusal(err); p != nil {
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
