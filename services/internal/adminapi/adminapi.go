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
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/password"
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

// Operator is one who may call: a name for the records, and the SHA-256 of the
// token.
type Operator struct {
	Name      string
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
	mux.HandleFunc("POST /admin/v1/revocations", a.handle(a.revoke))
	mux.HandleFunc("GET /admin/v1/subjects/{sub}/sessions", a.handle(a.sessions))
	mux.HandleFunc("POST /admin/v1/users", a.handle(a.register))
	mux.HandleFunc("PUT /admin/v1/users/{sub}/password", a.handle(a.setPassword))
}

// handle authenticates, calls, and turns an error into an answer.
func (a API) handle(f endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		by, err := a.operator(r)
		if err == nil {
			err = f(w, r, by)
		}
		if err != nil {
			problem.Write(w, a.refusal(r, err))
		}
	}
}

func (a API) operator(r *http.Request) (events.Initiator, error) {
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

type revocationRequest struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Issuer string `json:"issuer"`
	Scope  string `json:"scope"`
	Reason string `json:"reason"`
	Except string `json:"except_session"`
}

type revocationAnswer struct {
	ID        string    `json:"revocation_id"`
	Kind      string    `json:"kind"`
	Target    string    `json:"id"`
	Position  string    `json:"position,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	Reason    string    `json:"reason"`
}

func (a API) revoke(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	in, err := problem.ReadJSON[revocationRequest](w, r)
	if err != nil {
		return err
	}
	command, err := a.revocation(in, by)
	if err != nil {
		return err
	}
	done, err := a.Service.Revoke(r.Context(), command)
	if err != nil {
		return err
	}
	n := done.Revocation
	a.Log.Info("revoked", zap.String("revocation", string(n.ID)), zap.String("kind", n.Kind.String()),
		zap.String("reason", string(n.Reason)), zap.String("operator", by.Name))
	answer := revocationAnswer{
		ID: string(n.ID), Kind: n.Kind.String(), Target: n.Target, ExpiresAt: n.Until.UTC(), Reason: string(n.Reason),
	}
	if done.FeedSequence > 0 {
		answer.Position = events.Position{Sequence: done.FeedSequence}.String()
	}
	write(w, http.StatusCreated, answer)
	return nil
}

// Bounds on what an operator may write.
const (
	maxID     = 512
	maxReason = 256
)

func (a API) revocation(in revocationRequest, by events.Initiator) (issue.Revocation, error) {
	none := issue.Revocation{}
	kind, err := events.ParseKind(in.Kind)
	if err != nil {
		return none, problem.New(http.StatusBadRequest, "kind is one of token, session, subject, client, key, all.")
	}
	command := issue.Revocation{
		Kind: kind, Target: in.ID, Issuer: events.Issuer(in.Issuer), By: by,
		Reason: events.Reason(in.Reason), Except: events.SessionID(in.Except),
	}
	if command.Issuer == "" {
		command.Issuer = a.Issuer
	}
	if command.Reason == "" {
		command.Reason = events.ReasonAdmin
	}
	switch in.Scope {
	case "", "sessions":
	case "access-tokens":
		command.Scope = events.ScopeAccessTokens
	default:
		return none, problem.New(http.StatusBadRequest, "scope is sessions or access-tokens.")
	}
	switch {
	case kind == events.KindAll && in.ID != "":
		return none, problem.New(http.StatusBadRequest, "A revocation of everything has no id.")
	case kind != events.KindAll && !plain(in.ID, 1, maxID):
		return none, problem.New(http.StatusBadRequest, "id has 1 to 512 bytes and no control characters.")
	case !plain(string(command.Issuer), 1, maxID):
		return none, problem.New(http.StatusBadRequest, "issuer has at most 512 bytes and no control characters.")
	case !plain(string(command.Reason), 1, maxReason):
		return none, problem.New(http.StatusBadRequest, "reason has at most 256 bytes and no control characters.")
	case !kind.Wide() && in.Scope != "":
		return none, problem.New(http.StatusBadRequest, "A token or a session is revoked whole; scope is for the other kinds.")
	case kind != events.KindSubject && in.Except != "":
		return none, problem.New(http.StatusBadRequest, "except_session is for the kind subject.")
	case !plain(in.Except, 0, maxID):
		return none, problem.New(http.StatusBadRequest, "except_session has at most 512 bytes and no control characters.")
	case kind == events.KindSession && command.Issuer == a.Issuer && !account.IsSessionID(in.ID):
		return none, problem.New(http.StatusBadRequest, "A session id of this issuer is a UUID in lower-case text.")
	}
	return command, nil
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

type userRequest struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
}

func (a API) register(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	in, err := problem.ReadJSON[userRequest](w, r)
	if err != nil {
		return err
	}
	if !legible(in.Username, 128) {
		return problem.New(http.StatusBadRequest, "username has 1 to 128 bytes, no control or invisible characters and no space at either end.")
	}
	if err := acceptable(in.Password); err != nil {
		return err
	}
	if len(in.Roles) > 64 {
		return problem.New(http.StatusBadRequest, "A user has at most 64 roles.")
	}
	for i, role := range in.Roles {
		if !legible(role, 64) || strings.Contains(role, ",") || slices.Contains(in.Roles[:i], role) {
			return problem.New(http.StatusBadRequest, "A role has 1 to 64 bytes, no control or invisible characters, no space at either end and no comma, and is given once.")
		}
	}
	hash, err := a.Hasher.Hash(r.Context(), in.Password)
	if err != nil {
		return err
	}
	sub, err := a.Service.Register(r.Context(), in.Username, hash, in.Roles)
	if err != nil {
		return err
	}
	write(w, http.StatusCreated, map[string]string{"sub": string(sub), "username": in.Username})
	return nil
}

func (a API) setPassword(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	in, err := problem.ReadJSON[struct {
		Password string `json:"password"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := acceptable(in.Password); err != nil {
		return err
	}
	if _, err := a.Service.SetPassword(r.Context(), events.Subject(r.PathValue("sub")), in.Password, by); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func acceptable(wanted string) error {
	if len(wanted) < account.MinPasswordBytes || len(wanted) > password.MaxLength {
		return problem.New(http.StatusBadRequest, "The password has 8 to 1024 bytes.")
	}
	return nil
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}
