package adminapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/problem"
)

// Users is what operators do with users who exist.
type Users interface {
	User(ctx context.Context, sub events.Subject) (events.User, error)
	UserNamed(ctx context.Context, username string) (events.User, error)
	SetRoles(ctx context.Context, sub events.Subject, roles []string, by events.Initiator) (events.User, error)
	SetStatus(ctx context.Context, sub events.Subject, status issue.Status) (events.User, error)
}

type userRequest struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
}

// userAnswer is a user as operators see one: never the password's hash.
type userAnswer struct {
	Subject  string   `json:"sub"`
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
	Status   string   `json:"status"`
	// Version counts what has ended all sessions of the user.
	Version uint64 `json:"version"`
}

func describeUser(u events.User) userAnswer {
	roles := u.Roles
	if roles == nil {
		roles = []string{}
	}
	return userAnswer{string(u.Subject), u.Username, roles, statusOf(u.Disabled), u.Version}
}

// register is POST /admin/v1/users: 201 with the new user's sub, or 409.
func (a API) register(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	in, err := problem.ReadJSON[userRequest](w, r)
	if err != nil {
		return err
	}
	if !legible(in.Username, maxUsername) {
		return problem.New(http.StatusBadRequest, "username has 1 to 128 bytes, no control or invisible characters and no space at either end.")
	}
	if err := acceptable(in.Password); err != nil {
		return err
	}
	if err := checkRoles(in.Roles); err != nil {
		return err
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

const maxUsername = 128

func checkRoles(roles []string) error {
	if len(roles) > 64 {
		return problem.New(http.StatusBadRequest, "A user has at most 64 roles.")
	}
	for i, role := range roles {
		if !legible(role, 64) || strings.Contains(role, ",") || slices.Contains(roles[:i], role) {
			return problem.New(http.StatusBadRequest, "A role has 1 to 64 bytes, no control or invisible characters, no space at either end and no comma, and is given once.")
		}
	}
	return nil
}

// findUser is GET /admin/v1/users?username=NAME: a list of the one user of this name,
// or an empty one. Users are not listed otherwise: the journal has no index of names.
func (a API) findUser(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	name := r.URL.Query()["username"]
	if len(name) != 1 || !plain(name[0], 1, maxUsername) {
		return problem.New(http.StatusBadRequest, "Say username= once, with 1 to 128 bytes.")
	}
	found := []userAnswer{}
	switch user, err := a.Users.UserNamed(r.Context(), name[0]); {
	case err == nil:
		found = append(found, describeUser(user))
	case !errors.Is(err, issue.ErrNoUser):
		return err
	}
	write(w, http.StatusOK, map[string][]userAnswer{"users": found})
	return nil
}

// user is GET /admin/v1/users/{sub}.
func (a API) user(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	user, err := a.Users.User(r.Context(), events.Subject(r.PathValue("sub")))
	if err != nil {
		return err
	}
	write(w, http.StatusOK, describeUser(user))
	return nil
}

// setPassword is PUT /admin/v1/users/{sub}/password: a reset. It ends every session
// of the user and changes nothing else; who is disabled stays so. 204.
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
	sub := events.Subject(r.PathValue("sub"))
	if _, err := a.Service.SetPassword(r.Context(), sub, in.Password, by); err != nil {
		return err
	}
	a.Log.Info("password reset", zap.String("subject", string(sub)), zap.String("operator", by.Name))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setRoles is PUT /admin/v1/users/{sub}/roles: 200 with the user, once access tokens
// with other roles are denied. Sessions go on.
func (a API) setRoles(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	in, err := problem.ReadJSON[struct {
		Roles []string `json:"roles"`
	}](w, r)
	if err != nil {
		return err
	}
	if in.Roles == nil {
		return problem.New(http.StatusBadRequest, "roles is a list; an empty one takes every role away.")
	}
	if err := checkRoles(in.Roles); err != nil {
		return err
	}
	user, err := a.Users.SetRoles(r.Context(), events.Subject(r.PathValue("sub")), in.Roles, by)
	if err != nil {
		return err
	}
	a.Log.Info("roles set", zap.String("subject", string(user.Subject)), zap.String("operator", by.Name))
	write(w, http.StatusOK, describeUser(user))
	return nil
}

// setStatus is PUT /admin/v1/users/{sub}/status: 200 with the user. Disabling ends
// every session for good; enabling lets the user log in again.
func (a API) setStatus(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	status, err := readStatus(w, r, by)
	if err != nil {
		return err
	}
	user, err := a.Users.SetStatus(r.Context(), events.Subject(r.PathValue("sub")), status)
	if err != nil {
		return err
	}
	a.Log.Info("user is "+statusOf(user.Disabled), zap.String("subject", string(user.Subject)), zap.String("operator", by.Name))
	write(w, http.StatusOK, describeUser(user))
	return nil
}

// readStatus reads the body of a change of status: {"status", "reason"?}.
func readStatus(w http.ResponseWriter, r *http.Request, by events.Initiator) (issue.Status, error) {
	in, err := problem.ReadJSON[struct {
		Status string `json:"status"`
		Reason string `json:"reason"`
	}](w, r)
	switch {
	case err != nil:
		return issue.Status{}, err
	case in.Status != statusOf(true) && in.Status != statusOf(false):
		return issue.Status{}, problem.New(http.StatusBadRequest, "status is enabled or disabled.")
	case !plain(in.Reason, 0, maxReason):
		return issue.Status{}, problem.New(http.StatusBadRequest, "reason has at most 256 bytes and no control characters.")
	}
	return issue.Status{Enabled: in.Status == statusOf(false), Reason: events.Reason(in.Reason), By: by}, nil
}

func statusOf(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func acceptable(wanted string) error {
	if len(wanted) < account.MinPasswordBytes || len(wanted) > password.MaxLength {
		return problem.New(http.StatusBadRequest, "The password has 8 to 1024 bytes.")
	}
	return nil
}
