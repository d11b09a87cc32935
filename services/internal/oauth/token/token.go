// Package token is the token endpoint, POST /oauth/token (RFC 6749 section 3.2),
// for the grant type refresh_token (section 6).
//
// Invariants:
//
//   - Why a refresh token gives nothing is not said: every such answer is the
//     same invalid_grant, so that a thief learns nothing from it.
//   - A request that was not decided is answered 503, never invalid_grant: a
//     client that sees the latter throws its token away.
package token

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/oauth/clientauth"
	"github.com/revocast/revocast/services/internal/session"
)

// OutcomeHeader says whether an answer is a rotation's own or a repetition.
const OutcomeHeader = "X-Revocast-Refresh"

// Refresher is the use case behind the endpoint.
type Refresher interface {
	Refresh(ctx context.Context, r issue.Refresh) (issue.Grant, error)
}

// Handler serves the endpoint. All fields are required.
type Handler struct {
	Refresher Refresher
	Clients   clientauth.Registry
	Log       *zap.Logger
	// Outcomes counts refreshes, see [NewOutcomes].
	Outcomes *prometheus.CounterVec
}

// Outcomes of a refresh, as counted. A reuse is somebody else's use of a token: an
// alarm.
const (
	rotated   = "rotated"
	replayed  = "replayed"
	reused    = "reused"
	refused   = "refused"
	undecided = "undecided"
)

// NewOutcomes registers the counter of refreshes.
func NewOutcomes(metrics prometheus.Registerer) (*prometheus.CounterVec, error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_issuer_refreshes_total",
		Help: "Refreshes by outcome: rotated, replayed (the same answer again), reused (a stolen token: its session was ended), refused, undecided.",
	}, []string{"outcome"})
	for _, outcome := range []string{rotated, replayed, reused, refused, undecided} {
		c.WithLabelValues(outcome)
	}
	return c, metrics.Register(c)
}

// ServeHTTP implements [http.Handler].
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form, client, err := clientauth.Read(w, r, h.Clients)
	if err != nil {
		oauth.WriteError(w, err)
		return
	}
	switch form.Get("grant_type") {
	case string(clients.RefreshToken):
		h.refresh(w, r, form, client)
	case "":
		oauth.WriteError(w, oauth.Refuse(oauth.InvalidRequest, "grant_type is missing."))
	default:
		oauth.WriteError(w, oauth.Refuse(oauth.UnsupportedGrantType, "This grant type is not offered."))
	}
}

func (h Handler) refresh(w http.ResponseWriter, r *http.Request, form oauth.Form, client clients.Client) {
	if !client.Allows(clients.RefreshToken) {
		oauth.WriteError(w, oauth.Refuse(oauth.UnauthorizedClient, "This client may not refresh."))
		return
	}
	refreshToken := form.Get("refresh_token")
	if refreshToken == "" {
		oauth.WriteError(w, oauth.Refuse(oauth.InvalidRequest, "refresh_token is missing."))
		return
	}
	grant, err := h.Refresher.Refresh(r.Context(), issue.Refresh{
		Token: refreshToken, Policy: client.Policy, Scope: form.Get("scope"),
		Proof: session.Proof{
			Client: client.ID, Authenticated: !client.Public, DeviceSecret: form.Get("device_secret"),
		},
	})
	if err != nil {
		oauth.WriteError(w, h.refusal(err, client.ID))
		return
	}
	outcome := rotated
	if grant.Replayed {
		outcome = replayed
	}
	h.Outcomes.WithLabelValues(outcome).Inc()
	w.Header().Set(OutcomeHeader, outcome)
	oauth.WriteTokens(w, oauth.Tokens{
		Access: grant.AccessToken, Type: "Bearer", ExpiresIn: grant.ExpiresIn,
		Refresh: grant.RefreshToken, Scope: grant.Scope, SessionID: grant.Session,
	})
}

// refusal turns a use case's error into what the client learns.
func (h Handler) refusal(err error, client events.ClientID) error {
	outcome := refused
	switch {
	case errors.Is(err, session.ErrReuse):
		outcome = reused
	case !errors.Is(err, issue.ErrGrant) && !errors.Is(err, issue.ErrScope) && !errors.Is(err, issue.ErrSlowDown):
		outcome = undecided
	}
	h.Outcomes.WithLabelValues(outcome).Inc()
	switch {
	case errors.Is(err, issue.ErrGrant):
		h.Log.Info("refresh refused", zap.String("client", string(client)), zap.Error(err))
		return oauth.Refuse(oauth.InvalidGrant, "The refresh token is invalid, expired or revoked.")
	case errors.Is(err, issue.ErrScope):
		return oauth.Refuse(oauth.InvalidScope, "The scope exceeds what was granted.")
	case errors.Is(err, issue.ErrSlowDown):
		return &oauth.Error{
			Code: oauth.TemporarilyUnavailable, Description: "Refreshed too often; wait.",
			Status: http.StatusTooManyRequests, RetryAfter: tooFast,
		}
	}
	h.Log.Warn("refresh not decided", zap.String("client", string(client)), zap.Error(err))
	return oauth.Unavailable(time.Second)
}

// tooFast is how long a client that refreshes in a loop is asked to wait.
const tooFast = 5 * time.Second
