package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/keeper"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/problem"
)

// Keys is what operators do with keys.
type Keys interface {
	List(ctx context.Context) ([]keeper.Info, error)
	Rotate(ctx context.Context, r keeper.Rotation) (keeper.Info, error)
	Retire(ctx context.Context, id events.KeyID) (keeper.Info, error)
}

type keyAnswer struct {
	ID        events.KeyID `json:"kid"`
	Use       string       `json:"use"`
	Algorithm string       `json:"alg"`
	// Phase is announced, signing, retired, revoked or incomplete.
	Phase   string     `json:"phase"`
	Current bool       `json:"current"`
	From    time.Time  `json:"not_before"`
	Until   *time.Time `json:"accepted_until,omitempty"`
}

func describeKey(k keeper.Info) keyAnswer {
	a := keyAnswer{ID: k.ID, Use: k.Use, Algorithm: k.Algorithm, Phase: k.Phase.String(), Current: k.Current, From: k.From.UTC()}
	if !k.Until.IsZero() {
		until := k.Until.UTC()
		a.Until = &until
	}
	return a
}

// listKeys is GET /admin/v1/keys: every key that is not gone, without its secret.
func (a API) listKeys(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	all, err := a.Keys.List(r.Context())
	if err != nil {
		return err
	}
	list := []keyAnswer{}
	for _, k := range all {
		list = append(list, describeKey(k))
	}
	write(w, http.StatusOK, map[string][]keyAnswer{"keys": list})
	return nil
}

type rotateRequest struct {
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	Overlap   string `json:"overlap"`
}

// maxOverlap bounds how long a key may be announced before it is used.
const maxOverlap = 30 * 24 * time.Hour

// rotateKey is POST /admin/v1/keys:rotate: 201 with the key that is to follow, once it
// is durable. "use" is sign, the default, or mac; "alg" is of a signing key; "overlap"
// is how long it is announced before it is used, such as 10m, the issuer's own setting
// if left out, and a few seconds at least.
func (a API) rotateKey(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	in, err := problem.ReadJSON[rotateRequest](w, r)
	if err != nil {
		return err
	}
	wanted := keeper.Rotation{Use: in.Use, Algorithm: in.Algorithm, Overlap: a.KeyOverlap}
	switch {
	case in.Use == "":
		wanted.Use = keyring.UseSign
	case in.Use != keyring.UseSign && in.Use != keyring.UseMAC:
		return problem.New(http.StatusBadRequest, "use is sign or mac.")
	case in.Use == keyring.UseMAC && in.Algorithm != "":
		return problem.New(http.StatusBadRequest, "alg is for signing keys.")
	}
	if !plain(in.Algorithm, 0, 16) {
		return problem.New(http.StatusBadRequest, "alg is one of those that keys list.")
	}
	if in.Overlap != "" {
		if wanted.Overlap, err = time.ParseDuration(in.Overlap); err != nil || wanted.Overlap < 0 || wanted.Overlap > maxOverlap {
			return problem.New(http.StatusBadRequest, "overlap is a duration such as 10m, at most 720h.")
		}
	}
	made, err := a.Keys.Rotate(r.Context(), wanted)
	if err != nil {
		return keyRefusal(err)
	}
	a.Log.Info("key rotated", zap.String("key", string(made.ID)), zap.String("use", made.Use), zap.String("operator", by.Name))
	write(w, http.StatusCreated, describeKey(made))
	return nil
}

// retireKey is DELETE /admin/v1/keys/{kid}: 200 with the key, which signs nothing from
// then on and is accepted for as long as its tokens live. 409 if no other key could
// sign in its place. For one that was stolen see POST /admin/v1/revocations.
func (a API) retireKey(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	done, err := a.Keys.Retire(r.Context(), events.KeyID(r.PathValue("kid")))
	if err != nil {
		return keyRefusal(err)
	}
	a.Log.Info("key retired", zap.String("key", string(done.ID)), zap.String("operator", by.Name))
	write(w, http.StatusOK, describeKey(done))
	return nil
}

func keyRefusal(err error) error {
	switch {
	case errors.Is(err, keyring.ErrNoKey):
		return problem.New(http.StatusNotFound, "There is no such key.")
	case errors.Is(err, keyring.ErrLast):
		return problem.New(http.StatusConflict, "No other key could sign in its place; rotate first.")
	case errors.Is(err, keyring.ErrTooMany):
		return problem.New(http.StatusConflict, "There are as many keys as there can be; wait until some are gone.")
	}
	return err
}
