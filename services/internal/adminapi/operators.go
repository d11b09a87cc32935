package adminapi

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/operators"
	"github.com/revocast/revocast/services/internal/problem"
)

// Authenticator finds out who calls, by a token or by a client certificate that TLS
// has verified; where both are sent they must agree. It gives [operators.ErrRefused]
// for nobody, and any other error where it cannot tell.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, cert *x509.Certificate) (operators.Operator, error)
}

// Operators is what administrators do with operators.
type Operators interface {
	Add(ctx context.Context, r operators.Request, by events.Initiator) (operators.Added, error)
	List(ctx context.Context) ([]operators.Described, error)
	Remove(ctx context.Context, name string, by events.Initiator) error
}

type operatorRequest struct {
	Name        string `json:"name"`
	Role        string `json:"role"`
	ExpiresIn   string `json:"expires_in"`
	Certificate bool   `json:"certificate"`
}

type operatorAnswer struct {
	Name        string     `json:"name"`
	Role        string     `json:"role"`
	Certificate bool       `json:"certificate"`
	AddedAt     *time.Time `json:"added_at,omitempty"`
	AddedBy     string     `json:"added_by,omitempty"`
	ExpiresAt   time.Time  `json:"expires_at"`
	Expired     bool       `json:"expired"`
	// Token is in the answer that made it and in no other.
	Token string `json:"token,omitempty"`
}

// addOperator is POST /admin/v1/operators: 201 with the token, which nobody is shown
// again, or 409 if somebody is called that already. With "certificate": true there is
// no token; a client certificate of that common name is the proof.
func (a API) addOperator(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	in, err := problem.ReadJSON[operatorRequest](w, r)
	if err != nil {
		return err
	}
	role, err := operators.ParseRole(in.Role)
	if err != nil {
		return problem.New(http.StatusBadRequest, "role is one of viewer, support, operator.")
	}
	life, err := time.ParseDuration(in.ExpiresIn)
	if err != nil || life < time.Second || life > operators.MaxLife {
		return problem.New(http.StatusBadRequest, "expires_in is a duration such as 720h, at most 8784h, a year.")
	}
	switch {
	case !operators.ValidName(in.Name):
		return problem.New(http.StatusBadRequest, "name has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or a digit.")
	case in.Name == operators.Bootstrap:
		return problem.New(http.StatusConflict, "The operator of this name is made by the issuer on its first start.")
	}
	done, err := a.Operators.Add(r.Context(), operators.Request{Name: in.Name, Role: role, Life: life, Certificate: in.Certificate}, by)
	if err != nil {
		return err
	}
	a.Log.Info("operator added", zap.String("name", done.Name), zap.Stringer("role", done.Role), zap.String("operator", by.Name))
	write(w, http.StatusCreated, operatorAnswer{
		Name: done.Name, Role: done.Role.String(), Certificate: in.Certificate, ExpiresAt: done.Expires.UTC(), Token: done.Token,
	})
	return nil
}

// listOperators is GET /admin/v1/operators: those who may call, and those who could
// until lately. The one with the first token is not among them.
func (a API) listOperators(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	all, err := a.Operators.List(r.Context())
	if err != nil {
		return err
	}
	list := []operatorAnswer{}
	for _, o := range all {
		added := o.Added.UTC()
		list = append(list, operatorAnswer{
			Name: o.Name, Role: o.Role.String(), Certificate: o.Certificate, AddedAt: &added, AddedBy: o.By,
			ExpiresAt: o.Expires.UTC(), Expired: o.Expired,
		})
	}
	write(w, http.StatusOK, map[string][]operatorAnswer{"operators": list})
	return nil
}

// removeOperator is DELETE /admin/v1/operators/{name}: 204 once no issuer lets the
// operator in any more, also if it was so before; 404 for one that never was.
func (a API) removeOperator(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	name := r.PathValue("name")
	if name == operators.Bootstrap {
		return problem.New(http.StatusConflict, "The first operator's token is in a file of the issuer's; replace that and restart.")
	}
	if err := a.Operators.Remove(r.Context(), name, by); err != nil {
		return err
	}
	a.Log.Info("operator removed", zap.String("name", name), zap.String("operator", by.Name))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// operatorRefusal answers what package operators refuses; nil for anything else.
func operatorRefusal(err error) *problem.Error {
	switch {
	case errors.Is(err, operators.ErrExists):
		return problem.New(http.StatusConflict, "There is an operator of this name already.")
	case errors.Is(err, operators.ErrUnknown):
		return problem.New(http.StatusNotFound, "There is no such operator.")
	case errors.Is(err, operators.ErrFull):
		return problem.New(http.StatusConflict, "There are as many operators as there can be; remove some.")
	}
	return nil
}
