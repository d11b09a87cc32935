// Package token is the token endpoint, POST /oauth/token (RFC 6749 section 3.2),
// for the grant type refresh_token (section 6).
//
// Invariants:
//
//   - Why a refresh token gives nothing is not said: every such answer is the
//     same invalid_grant. One exception: reuse is named in a header. By then the
//     session is over, so a thief learns what any further try would show.
//   - A step-up is asked for of tokens alone whose session lives, and leaves both as
//     they are. It is 400: 401 is about the client here (RFC 6749 section 5.2).
//   - A request that was not decided is answered 503, never invalid_grant: a
//     client that sees the latter throws its token away.
package token

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/oauth/clientauth"
	"github.com/revocast/revocast/services/internal/remote"
	"github.com/revocast/revocast/services/internal/session"
)

// OutcomeHeader says what became of a refresh: rotated, kept (where policy does not
// rotate), concurrent, lost-response, reuse, step-up or refused.
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

// outcome is what became of a refresh, as counted; in the header with hyphens.
type outcome string

const (
	rotated      outcome = "rotated"
	kept         outcome = "kept"
	concurrent   outcome = "concurrent"
	lostResponse outcome = "lost_response"
	// reused is somebody else's use of a token: an alarm.
	reused    outcome = "reused"
	stepUp    outcome = "step_up"
	refused   outcome = "refused"
	undecided outcome = "undecided"
)

func (o outcome) header() string {
	switch o {
	case reused:
		return "reuse"
	case rotated, kept, concurrent, lostResponse, stepUp, refused, undecided:
	}
	return strings.ReplaceAll(string(o), "_", "-")
}

// NewOutcomes registers the counter of refreshes.
func NewOutcomes(metrics prometheus.Registerer) (*prometheus.CounterVec, error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_issuer_refreshes_total",
		Help: "Refreshes by outcome: rotated, kept (by policy), concurrent (the same answer again), lost_response (again, long after), " +
			"reused (a stolen token: its session was ended), step_up (a credential is needed), refused, undecided.",
	}, []string{"outcome"})
	for _, o := range []outcome{rotated, kept, concurrent, lostResponse, reused, stepUp, refused, undecided} {
		c.WithLabelValues(string(o))
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
	device := form.Get("device_id")
	if len(device) > maxDevice || !utf8.ValidString(device) || strings.ContainsFunc(device, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		oauth.WriteError(w, oauth.Refuse(oauth.InvalidRequest, "device_id has at most 256 bytes, and no control characters."))
		return
	}
	grant, err := h.Refresher.Refresh(r.Context(), issue.Refresh{
		Token: refreshToken, Policy: client.Policy, Scope: form.Get("scope"), DeviceID: device, Address: remote.Addr(r),
		Proof: session.Proof{
			Client: client.ID, Authenticated: !client.Public, DeviceSecret: form.Get("device_secret"),
		},
	})
	o := outcomeOf(grant, err)
	h.Outcomes.WithLabelValues(string(o)).Inc()
	if o != undecided {
		w.Header().Set(OutcomeHeader, o.header())
	}
	if err != nil {
		oauth.WriteError(w, h.refusal(err, client.ID))
		return
	}
	oauth.WriteTokens(w, oauth.Tokens{
		Access: grant.AccessToken, Type: "Bearer", ExpiresIn: grant.ExpiresIn,
		Refresh: grant.RefreshToken, Scope: grant.Scope, SessionID: grant.Session,
	})
}

func outcomeOf(grant issue.Grant, err error) outcome {
	switch {
	case errors.Is(err, session.ErrReuse):
		return reused
	case errors.Is(err, session.ErrStepUp):
		return stepUp
	case errors.Is(err, issue.ErrGrant), errors.Is(err, issue.ErrScope), errors.Is(err, issue.ErrSlowDown):
		return refused
	case err != nil:
		return undecided
	case grant.LostResponse:
		return lostResponse
	case grant.Replayed:
		return concurrent
	case grant.Kept:
		return kept
	}
	return rotated
}

// refusal turns a use case's error into what the client learns.
func (h Handler) refusal(err error, client events.ClientID) error {
	if throttled, ok := errors.AsType[*issue.ThrottledError](err); ok {
		return &oauth.Error{
			Code: oauth.TemporarilyUnavailable, Description: "Refused too often; wait.",
			Status: http.StatusTooManyRequests, RetryAfter: throttled.After,
		}
	}
	if needed, ok := errors.AsType[*issue.StepUpError](err); ok {
		h.Log.Info("refresh needs a credential", zap.String("client", string(client)), zap.Error(err))
		return &oauth.Error{
			Code: oauth.InsufficientUserAuthentication, Description: "Log in again; the session lives on until then.",
			StepUp: &oauth.StepUp{ACRValues: session.ACRPassword, Session: needed.Session},
		}
	}
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

// maxDevice bounds a device id in bytes, as at login.
const maxDevice = 256

// tooFast is how long a client that refreshes in a loop is asked to wait.
const tooFast = 5 * time.Second
