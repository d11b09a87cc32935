// Package revoke is the revocation endpoint, POST /oauth/revoke (RFC 7009).
//
// Invariants:
//
//   - 200 only once the revocation is durable; what was not decided is 503 with
//     Retry-After, and the client must assume that the token lives (section 2.2.1).
//   - A token that means nothing is answered 200 (section 2.2), so nobody learns
//     which tokens exist.
package revoke

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/oauth/clientauth"
	"github.com/revocast/revocast/services/internal/session"
)

// Revoker is the use case behind the endpoint.
type Revoker interface {
	RevokeToken(ctx context.Context, token string, client events.ClientID) error
}

// Handler serves the endpoint. All fields are required.
type Handler struct {
	Revoker Revoker
	Clients clientauth.Registry
	Log     *zap.Logger
}

// ServeHTTP implements [http.Handler].
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form, client, err := clientauth.Read(w, r, h.Clients)
	if err != nil {
		oauth.WriteError(w, err)
		return
	}
	token := form.Get("token")
	if token == "" {
		oauth.WriteError(w, oauth.Refuse(oauth.InvalidRequest, "token is missing."))
		return
	}
	// token_type_hint is not needed to tell the two kinds apart, and a wrong one
	// must not hide a token (section 2.1).
	err = h.Revoker.RevokeToken(r.Context(), token, client.ID)
	switch {
	case errors.Is(err, session.ErrClient):
		oauth.WriteError(w, oauth.Refuse(oauth.UnauthorizedClient, "The token was issued to another client."))
	case err != nil:
		h.Log.Warn("revocation not durable", zap.String("client", string(client.ID)), zap.Error(err))
		oauth.WriteError(w, oauth.Unavailable(time.Second))
	default:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
	}
}
