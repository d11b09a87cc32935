package adminapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/problem"
)

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
