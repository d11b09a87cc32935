package backchannel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/signals/provider"
)

// Path is where providers send their log-out tokens.
const Path = "/v1/backchannel-logout"

// Revoker is the use case behind the endpoint.
type Revoker interface {
	RevokeOnce(ctx context.Context, m issue.Message, r issue.Revocation) (issue.Revoked, error)
}

// Keys gives the keys of one provider, as [provider.Keys] does: [provider.ErrUnknownKey]
// if it has no such key, any other error if that cannot be told.
type Keys interface {
	Find(ctx context.Context, id events.KeyID) (provider.Key, error)
}

// Trusted is a provider with its keys.
type Trusted struct {
	provider.Provider

	Keys Keys
}

// What becomes of a token, as counted.
const (
	accepted = "accepted"
	repeated = "repeated"
	refused  = "refused"
	failed   = "failed"
)

// nobody stands for whoever sent a token that names no declared provider.
const nobody = "none"

// NewOutcomes makes what counts log-out tokens.
func NewOutcomes(metrics prometheus.Registerer) (*prometheus.CounterVec, error) {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_issuer_backchannel_logouts_total",
		Help: "Log-out tokens by the provider they name (none: one that is not declared) and what became of them: accepted, repeated (taken before), refused, failed (to be sent again).",
	}, []string{"provider", "outcome"})
	if err := metrics.Register(outcomes); err != nil {
		return nil, fmt.Errorf("registering the metrics of log-outs: %w", err)
	}
	return outcomes, nil
}

// Handler serves the endpoint. All fields are required.
type Handler struct {
	// Providers are those declared, by their issuer.
	Providers map[events.Issuer]Trusted
	Revoker   Revoker
	Log       *zap.Logger
	// Outcomes is of [NewOutcomes].
	Outcomes *prometheus.CounterVec
	// Now is this issuer's clock.
	Now func() time.Time
}

// ServeHTTP implements [http.Handler]: 200, 400 or 503 (section 2.8; ADR-0020 for 503).
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, err := h.logOut(w, r)
	outcome := accepted
	wrong, isWrong := errors.AsType[*oauth.Error](err)
	switch {
	case err == nil:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
	case errors.Is(err, issue.ErrRepeated):
		outcome = repeated
		oauth.WriteError(w, oauth.Refuse(oauth.InvalidRequest, "The log-out token was taken before."))
	case isWrong:
		outcome = refused
		oauth.WriteError(w, oauth.Refuse(oauth.InvalidRequest, wrong.Description)) // 400, whatever else it would be
	default:
		outcome = failed
		h.Log.Warn("log-out not decided", zap.String("provider", from), zap.Error(err))
		oauth.WriteError(w, oauth.Unavailable(time.Second))
	}
	h.Outcomes.WithLabelValues(from, outcome).Inc()
}

// logOut gives whose token it was, as far as that is declared here. An error of
// [oauth.Error] says what is wrong with the request.
func (h Handler) logOut(w http.ResponseWriter, r *http.Request) (from string, err error) {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return nobody, err
	}
	raw := form.Get("logout_token") // whatever else is there is ignored (section 2.5)
	if raw == "" {
		return nobody, invalid("logout_token is missing.")
	}
	token, err := dissect(raw)
	if err != nil {
		return nobody, invalid("The log-out token is not a signed JWT of the strict form, or has a header parameter that is not allowed.")
	}
	name, _ := text(token.payload.Issuer)
	trusted, ok := h.Providers[events.Issuer(name)]
	if !ok {
		return nobody, invalid("The log-out token is of no provider that is declared here.")
	}
	logout, err := h.verify(r.Context(), token, trusted)
	if err != nil {
		return name, err
	}
	return name, h.revoke(r.Context(), logout)
}

// verify does what section 2.6 asks for.
func (h Handler) verify(ctx context.Context, token compact, from Trusted) (Logout, error) {
	explicitly, ok := token.header.typed()
	switch {
	case !ok || from.Typed && !explicitly:
		return Logout{}, invalid("typ is not that of a log-out token.")
	case !slices.Contains(from.Algorithms, token.header.Algorithm):
		return Logout{}, invalid("alg is not one that is declared for the provider.")
	case !provider.ValidKeyID(token.header.KeyID):
		return Logout{}, invalid("The key id is missing or not 1 to 256 visible ASCII characters.")
	}
	key, err := from.Keys.Find(ctx, events.KeyID(token.header.KeyID))
	switch {
	case errors.Is(err, provider.ErrUnknownKey):
		return Logout{}, invalid("The provider publishes no such key.")
	case err != nil:
		return Logout{}, err
	case !token.verify(key):
		return Logout{}, invalid("The signature does not verify.")
	}
	logout, err := token.payload.read(from.Provider, h.Now())
	if err != nil {
		h.Log.Warn("log-out token refused", zap.String("provider", string(from.Issuer)), zap.Error(err))
		return Logout{}, invalid("The log-out token is refused: " + err.Error() + ".")
	}
	return logout, nil
}

func invalid(description string) error { return oauth.Refuse(oauth.InvalidRequest, description) }

// revoke ends the one session that is named, or else every session of the subject that
// began by the time of the token. Of a token with both, sub says whose session it is:
// all of them are meant only where there is no sid (section 2.4).
//
// The time is the provider's own: it dates the sessions by the same clock, and a token
// that arrives late ends none that began since.
func (h Handler) revoke(ctx context.Context, l Logout) error {
	r := issue.Revocation{
		Kind: events.KindSession, Target: string(l.Session), Reason: events.ReasonLogout,
		By: events.Initiator{Role: "provider", Name: string(l.Issuer)},
	}
	if l.Session == "" {
		r.Kind, r.Target, r.Reason, r.CutTime = events.KindSubject, string(l.Subject), events.ReasonLogoutAll, l.IssuedAt
	}
	done, err := h.Revoker.RevokeOnce(ctx, issue.Message{Issuer: l.Issuer, ID: l.ID, Until: l.Expires.Add(leeway)}, r)
	if errors.Is(err, issue.ErrRepeated) {
		h.Log.Warn("log-out token was taken before", zap.String("provider", string(l.Issuer)))
	}
	if err != nil {
		return err
	}
	h.Log.Info("logged out by its provider", zap.String("provider", string(l.Issuer)), zap.String("kind", r.Kind.String()),
		zap.String("revocation", string(done.Revocation.ID)))
	return nil
}
