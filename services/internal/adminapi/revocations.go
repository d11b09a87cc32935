package adminapi

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/problem"
)

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
