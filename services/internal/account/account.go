// Package account serves what users do with their own sessions: log in, see who
// is logged in where, log out here, there or everywhere, change the password.
//
// Invariants:
//
//   - A wrong password and an unknown user are one answer: the
//     same status, body and time.
//   - Whatever changes something checks its token behind a barrier (INV-9).
//   - Logging out is idempotent, and never tells whether a session exists that
//     is not the caller's.
package account

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/remote"
	"github.com/revocast/revocast/services/internal/session"
)

// Logins is the use case of logging in.
type Logins interface {
	Login(ctx context.Context, l issue.Login) (issue.Grant, error)
}

// Sessions are the use cases of those who are logged in.
type Sessions interface {
	Authenticate(ctx context.Context, token string, current bool) (issue.Caller, error)
	Sessions(ctx context.Context, sub events.Subject) ([]session.State, error)
	EndOwn(ctx context.Context, c issue.Caller, sid events.SessionID) error
	EndAll(ctx context.Context, c issue.Caller, spareThis bool) error
}

// Passwords is the use case of changing a password.
type Passwords interface {
	ChangePassword(ctx context.Context, c issue.Caller, current, wanted string) (issue.Revoked, error)
}

// Clients finds clients that log users in.
type Clients interface {
	Find(id events.ClientID) (clients.Client, bool)
}

// API serves the endpoints. All fields are required.
type API struct {
	Logins    Logins
	Sessions  Sessions
	Passwords Passwords
	Clients   Clients
	Log       *zap.Logger
}

// Register adds the endpoints to mux.
func (a API) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/login", a.handle(a.login))
	mux.HandleFunc("GET /v1/session", a.handle(a.current))
	mux.HandleFunc("DELETE /v1/session", a.handle(a.logout))
	mux.HandleFunc("GET /v1/sessions", a.handle(a.list))
	mux.HandleFunc("DELETE /v1/sessions", a.handle(a.logoutMany))
	mux.HandleFunc("DELETE /v1/sessions/{sid}", a.handle(a.logoutOne))
	mux.HandleFunc("PUT /v1/password", a.handle(a.changePassword))
}

// handle turns what an endpoint returns into an answer, the one place to do so.
func (a API) handle(f func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if err := f(w, r); err != nil {
			problem.Write(w, a.refusal(r, err))
		}
	}
}

func (a API) refusal(r *http.Request, err error) error {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p
	}
	if t, ok := errors.AsType[*issue.ThrottledError](err); ok {
		// The same to everybody: it is decided before anything is looked up.
		return &problem.Error{Status: http.StatusTooManyRequests, Detail: "Too many attempts have failed; wait.", RetryAfter: t.After}
	}
	switch {
	case errors.Is(err, issue.ErrToken):
		return oauth.Challenge(http.StatusUnauthorized, oauth.InvalidToken, "The access token is invalid, expired or revoked.")
	case errors.Is(err, issue.ErrClientDisabled):
		return notForLogin()
	case errors.Is(err, issue.ErrCredentials):
		return &problem.Error{
			Status: http.StatusUnauthorized, Detail: "The username or the password is wrong.",
			Challenge: oauth.NoCredentials().Challenge,
		}
	case errors.Is(err, issue.ErrTakeOver):
		return problem.New(http.StatusBadRequest, "The refresh_token is none of this user's and client's; log in without it.")
	case errors.Is(err, session.ErrDevice):
		return problem.New(http.StatusBadRequest, "This client's logins need a device_id.")
	case errors.Is(err, session.ErrLimit):
		return problem.New(http.StatusConflict, "You are logged in on as many devices as this client allows; log out on one of them first.")
	case errors.Is(err, issue.ErrDisplaced):
		return problem.New(http.StatusConflict, "This session was ended before it could be used, most likely by another login at the same moment.")
	case errors.Is(err, events.ErrConflict):
		return problem.New(http.StatusConflict, "Something else changed this at the same moment; look again.")
	case errors.Is(err, events.ErrTooMany):
		return problem.New(http.StatusUnprocessableEntity, "There are more sessions than one answer holds; log out everywhere else.")
	case errors.Is(err, password.ErrLength):
		return problem.New(http.StatusBadRequest, "The password is empty or too long.")
	case errors.Is(err, password.ErrBusy):
		return &problem.Error{Status: http.StatusServiceUnavailable, Detail: "Too many logins at once; try again.", RetryAfter: time.Second}
	}
	a.Log.Warn("request not decided", zap.String("method", r.Method), zap.String("pattern", r.Pattern), zap.Error(err))
	return &problem.Error{Status: http.StatusServiceUnavailable, Detail: "Not decided; try again.", RetryAfter: time.Second}
}

// MinPasswordBytes is the least a new password has (NIST SP 800-63B section 5.1.1.2).
const MinPasswordBytes = 8

type loginRequest struct {
	Username     string `json:"username"`
	Password     string `json:"password"`
	ClientID     string `json:"client_id"`
	DeviceID     string `json:"device_id"`
	DeviceName   string `json:"device_name"`
	DeviceSecret string `json:"device_secret"`
	// RefreshToken is of the session that this login takes over from: the one that
	// the token endpoint answered insufficient_user_authentication for.
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	Audience     string `json:"audience"`
}

// Bounds on what a login may say.
const (
	maxName        = 128
	maxDevice      = 256
	minSecretBytes = 16 // 128 bits
	maxSecretBytes = 256
)

func (a API) login(w http.ResponseWriter, r *http.Request) error {
	in, err := problem.ReadJSON[loginRequest](w, r)
	if err != nil {
		return err
	}
	client, ok := a.Clients.Find(events.ClientID(in.ClientID))
	if !ok || !client.FirstPartyLogin || !client.Public {
		return notForLogin()
	}
	scope, ok := client.Scope(in.Scope)
	if !ok {
		return problem.New(http.StatusBadRequest, "The client may not ask for this scope.")
	}
	audience, ok := client.Audience(in.Audience)
	if !ok {
		return problem.New(http.StatusBadRequest, "The client may not ask for this audience.")
	}
	switch {
	case in.Username == "" || in.Password == "":
		return problem.New(http.StatusBadRequest, "username and password are needed.")
	case len(in.Username) > maxName || len(in.Password) > password.MaxLength:
		return issue.ErrCredentials // nobody has these
	case !plain(in.DeviceID) || !plain(in.DeviceName):
		return problem.New(http.StatusBadRequest, "device_id and device_name have at most 256 bytes, and no control characters.")
	case in.DeviceSecret != "" && !isSecret(in.DeviceSecret):
		return problem.New(http.StatusBadRequest, "device_secret is 128 bits or more in base64url without padding.")
	}
	grant, err := a.Logins.Login(r.Context(), issue.Login{
		Username: in.Username, Password: in.Password, Client: client.ID, Policy: client.Policy,
		Scope: scope, Audience: audience, DeviceID: in.DeviceID, DeviceName: in.DeviceName, DeviceSecret: in.DeviceSecret,
		RefreshToken: in.RefreshToken, Address: remote.Addr(r),
	})
	if err != nil {
		return err
	}
	if !client.Allows(clients.RefreshToken) {
		grant.RefreshToken = "" // of no use to it
	}
	oauth.WriteTokens(w, oauth.Tokens{
		Access: grant.AccessToken, Type: "Bearer", ExpiresIn: grant.ExpiresIn,
		Refresh: grant.RefreshToken, Scope: grant.Scope, SessionID: grant.Session,
	})
	return nil
}

// notForLogin is the answer to a client that may not log users in, or not any more.
func notForLogin() error {
	return problem.New(http.StatusForbidden, "This client may not log users in itself.")
}

func plain(s string) bool {
	return len(s) <= maxDevice && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

func isSecret(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) >= minSecretBytes && len(b) <= maxSecretBytes && !strings.ContainsAny(s, "\r\n")
}

// caller authenticates the request; current is for those that change something.
func (a API) caller(r *http.Request, current bool) (issue.Caller, error) {
	token, err := oauth.Bearer(r)
	if err != nil {
		return issue.Caller{}, err
	}
	return a.Sessions.Authenticate(r.Context(), token, current)
}

func (a API) current(w http.ResponseWriter, r *http.Request) error {
	c, err := a.caller(r, false)
	if err != nil {
		return err
	}
	return answer(w, struct {
		Subject   string    `json:"sub"`
		Session   string    `json:"sid"`
		Client    string    `json:"client_id"`
		Scope     string    `json:"scope,omitempty"`
		Roles     []string  `json:"roles,omitempty"`
		AuthTime  time.Time `json:"auth_time"`
		ExpiresAt time.Time `json:"expires_at"`
	}{
		string(c.Subject), string(c.Session), string(c.Client), c.Claims.Scope, c.Claims.Roles,
		time.Unix(c.Claims.AuthTime, 0).UTC(), time.Unix(c.Claims.Expires, 0).UTC(),
	})
}

// Session is one entry of a list of sessions.
type Session struct {
	ID         string    `json:"sid"`
	DeviceName string    `json:"device_name"`
	ClientID   string    `json:"client_id"`
	StartedAt  time.Time `json:"started_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	// NewDevice: when it began, none of the user's other sessions had its device id.
	NewDevice bool `json:"new_device"`
	Current   bool `json:"current"`
}

// List describes living sessions; current marks the caller's own.
func List(states []session.State, current events.SessionID) []Session {
	list := make([]Session, 0, len(states))
	for _, s := range states {
		list = append(list, Session{
			ID: string(s.Session.ID), DeviceName: s.Session.DeviceName, ClientID: string(s.Session.Client),
			StartedAt: s.Session.AuthTime, LastSeenAt: s.RotatedAt.UTC().Truncate(time.Second),
			NewDevice: s.Session.NewDevice, Current: s.Session.ID == current,
		})
	}
	return list
}

func (a API) list(w http.ResponseWriter, r *http.Request) error {
	c, err := a.caller(r, false)
	if err != nil {
		return err
	}
	states, err := a.Sessions.Sessions(r.Context(), c.Subject)
	if err != nil {
		return err
	}
	return answer(w, map[string][]Session{"sessions": List(states, c.Session)})
}

func (a API) logout(w http.ResponseWriter, r *http.Request) error {
	c, err := a.caller(r, true)
	if errors.Is(err, session.ErrOver) {
		return done(w, nil) // logged out already, like the first time
	}
	if err != nil {
		return err
	}
	return done(w, a.Sessions.EndOwn(r.Context(), c, c.Session))
}

func (a API) logoutOne(w http.ResponseWriter, r *http.Request) error {
	c, err := a.caller(r, true)
	if err != nil {
		return err
	}
	sid := r.PathValue("sid")
	if !IsSessionID(sid) {
		return done(w, nil) // nobody's session, like any other unknown id
	}
	return done(w, a.Sessions.EndOwn(r.Context(), c, events.SessionID(sid)))
}

// IsSessionID keeps out of a NATS subject whatever cannot be one of our ids.
func IsSessionID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func (a API) logoutMany(w http.ResponseWriter, r *http.Request) error {
	c, err := a.caller(r, true)
	if err != nil {
		return err
	}
	switch which := r.URL.Query()["which"]; {
	case len(which) == 1 && which[0] == "others":
		return done(w, a.Sessions.EndAll(r.Context(), c, true))
	case len(which) == 1 && which[0] == "all":
		return done(w, a.Sessions.EndAll(r.Context(), c, false))
	}
	return problem.New(http.StatusBadRequest, "Say which=others or which=all.")
}

type passwordRequest struct {
	Current string `json:"current_password"`
	Wanted  string `json:"new_password"`
}

func (a API) changePassword(w http.ResponseWriter, r *http.Request) error {
	c, err := a.caller(r, true)
	if err != nil {
		return err
	}
	in, err := problem.ReadJSON[passwordRequest](w, r)
	if err != nil {
		return err
	}
	if len(in.Wanted) < MinPasswordBytes || len(in.Wanted) > password.MaxLength {
		return problem.New(http.StatusBadRequest, "The new password has 8 to 1024 bytes.")
	}
	_, err = a.Passwords.ChangePassword(r.Context(), c, in.Current, in.Wanted)
	if errors.Is(err, issue.ErrCredentials) {
		return problem.New(http.StatusForbidden, "The current password is wrong.")
	}
	return done(w, err)
}

func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
	return nil
}
