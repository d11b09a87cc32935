package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/session"
)

// Revocations is what operators do with revocations.
type Revocations interface {
	Revoke(ctx context.Context, r issue.Revocation) (issue.Revoked, error)
	Estimate(ctx context.Context, r issue.Revocation) (issue.Estimate, error)
	Lift(ctx context.Context, id events.RevocationID) (events.Revocation, error)
	Revocations(ctx context.Context, q issue.Query) (issue.Page, error)
}

// Bounds on what an operator may write.
const (
	maxID     = 512
	maxReason = 256
	// maxExpiry is how far an expiry may lie in the future: longer than anything is
	// trusted.
	maxExpiry = 50 * 365 * 24 * time.Hour
	// cutAhead is how far the time of a cut may lie in the future, for a provider whose
	// clock is ahead.
	cutAhead = time.Minute
)

// revocationRequest is the body of POST /admin/v1/revocations and a line of a batch.
type revocationRequest struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Issuer string `json:"issuer"`
	Scope  string `json:"scope"`
	Reason string `json:"reason"`
	Except string `json:"except_session"`
	// CutTime is RFC 3339: up to when, by its own clock, what another issuer made is
	// denied of a subject, of a client or as a whole. Left out it is now.
	CutTime string `json:"cut_time"`
	// ExpiresAt is RFC 3339. It makes a revocation last longer than it must or, of what is
	// another issuer's, exactly so long.
	ExpiresAt string `json:"expires_at"`
	// RevocationID is a UUID that the caller chose, not of version 7. What stands
	// under it already is answered as it stands.
	RevocationID string `json:"revocation_id"`
	DryRun       bool   `json:"dry_run"`
	// Wait is for how long the answer may wait until the sidecars enforce it.
	Wait string `json:"wait"`
}

type revocationAnswer struct {
	ID        string    `json:"revocation_id"`
	Kind      string    `json:"kind"`
	Target    string    `json:"id"`
	Issuer    string    `json:"issuer"`
	Position  string    `json:"position,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	Reason    string    `json:"reason"`
	// Enforcement is there if it was waited for.
	Enforcement *enforcementAnswer `json:"enforcement,omitempty"`
}

// estimateAnswer is what a dry run is answered with.
type estimateAnswer struct {
	DryRun bool   `json:"dry_run"`
	Kind   string `json:"kind"`
	Target string `json:"id"`
	// Sessions is how many living sessions would end, MustRefresh how many would go
	// on and have to refresh at once. There may be more unless it is complete.
	Sessions    int       `json:"sessions"`
	MustRefresh int       `json:"must_refresh"`
	Complete    bool      `json:"complete"`
	ExpiresAt   time.Time `json:"expires_at"`
	// Denies says in words what would be denied.
	Denies string `json:"denies"`
}

// revoke is POST /admin/v1/revocations: 201 once the revocation is durable, 200 with
// an estimate if only that is asked for. Support revokes what belongs to one user, the
// rest takes an administrator. With a wait it answers when every expected sidecar
// enforces the revocation, or the time is over; it is durable whoever is missing.
func (a API) revoke(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	in, err := problem.ReadJSON[revocationRequest](w, r)
	if err != nil {
		return err
	}
	command, err := a.revocation(in, by)
	if err != nil {
		return err
	}
	wait, err := waitOf(in.Wait)
	if err != nil {
		return err
	}
	if command.Kind.Wide() && command.Kind != events.KindSubject {
		if by, err := a.operator(r, Administrator); err != nil {
			a.Auditor.refused(r, by, err)
			return err
		}
	}
	if in.DryRun {
		return a.estimate(w, r, command)
	}
	done, err := a.Revocations.Revoke(r.Context(), command)
	if err != nil {
		return revocationRefusal(err)
	}
	n := done.Revocation
	a.Log.Info("revoked", zap.String("revocation", string(n.ID)), zap.String("kind", n.Kind.String()),
		zap.String("reason", string(n.Reason)), zap.String("operator", by.Name))
	answer := answerOf(done)
	if wait > 0 {
		answer.Enforcement = enforcementOf(a.Fleet.Confirm(r.Context(), done.FeedSequence, wait))
	}
	write(w, http.StatusCreated, answer)
	return nil
}

func answerOf(done issue.Revoked) revocationAnswer {
	n := done.Revocation
	answer := revocationAnswer{
		ID: string(n.ID), Kind: n.Kind.String(), Target: n.Target, Issuer: string(n.Issuer),
		ExpiresAt: n.Until.UTC(), Reason: string(n.Reason),
	}
	answer.Position = positionOf(done.FeedSequence)
	return answer
}

func (a API) estimate(w http.ResponseWriter, r *http.Request, c issue.Revocation) error {
	e, err := a.Revocations.Estimate(r.Context(), c)
	if err != nil {
		return revocationRefusal(err)
	}
	write(w, http.StatusOK, estimateAnswer{
		DryRun: true, Kind: c.Kind.String(), Target: c.Target, Sessions: e.Sessions, MustRefresh: e.Renewing,
		Complete: e.Complete, ExpiresAt: e.Until.UTC(), Denies: denied(c),
	})
	return nil
}

// denied says in words what a revocation denies.
func denied(c issue.Revocation) string {
	whole := map[events.Kind]string{
		events.KindToken:   "this one access token; its session goes on and refreshes",
		events.KindSession: "the session and every access token of it",
		events.KindSubject: "every session of this subject and their access tokens",
		events.KindClient:  "every session of this client and their access tokens",
		events.KindKey:     "every token signed with this key; sessions refresh into tokens of another",
		events.KindAll:     "every session there is and their access tokens",
	}
	if c.Scope == events.ScopeAccessTokens {
		return "access tokens minted until now; their sessions go on and refresh into new ones"
	}
	return whole[c.Kind]
}

// revocationRefusal words what only revocations are refused for.
func revocationRefusal(err error) error {
	switch {
	case errors.Is(err, issue.ErrExpiry):
		return problem.New(http.StatusBadRequest, "expires_at has passed, or comes before the last token that this denies can be accepted no more. Leave it out, or give a later time.")
	case errors.Is(err, issue.ErrLifted):
		return problem.New(http.StatusConflict, "A revocation of this revocation_id was made and has been lifted.")
	case errors.Is(err, issue.ErrNoRevocation):
		return problem.New(http.StatusNotFound, "There is no such revocation, or it has expired.")
	case errors.Is(err, issue.ErrEnded):
		return problem.New(http.StatusConflict, "What this revocation has ended stays ended.")
	}
	return err
}

// lift is DELETE /admin/v1/revocations/{id}: 204 once it denies nothing any more, also
// if that was so before; 404 if there is no such revocation, 409 if what it has ended
// cannot be brought back, as a session that has ended cannot. With ?wait= it is 200, and
// says which sidecars have taken the lift in.
func (a API) lift(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	id := r.PathValue("id")
	if !account.IsSessionID(id) { // of the same form
		return problem.New(http.StatusBadRequest, "A revocation id is a UUID in lower-case text.")
	}
	wait, err := waitOf(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	n, err := a.Revocations.Lift(r.Context(), events.RevocationID(id))
	if err != nil {
		return revocationRefusal(err)
	}
	a.Auditor.lifted(r, by, n)
	a.Log.Info("lifted", zap.String("revocation", id), zap.String("kind", n.Kind.String()), zap.String("operator", by.Name))
	if wait > 0 {
		write(w, http.StatusOK, liftAnswer{id, enforcementOf(a.Fleet.Confirm(r.Context(), a.Fleet.Latest(), wait))})
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// liftAnswer is what a lift is answered with that was waited for.
type liftAnswer struct {
	ID          string             `json:"revocation_id"`
	Enforcement *enforcementAnswer `json:"enforcement"`
}

// revocation reads what is asked for.
func (a API) revocation(in revocationRequest, by events.Initiator) (issue.Revocation, error) {
	none := issue.Revocation{}
	kind, err := events.ParseKind(in.Kind)
	if err != nil {
		return none, problem.New(http.StatusBadRequest, "kind is one of token, session, subject, client, key, all.")
	}
	command := issue.Revocation{
		ID: events.RevocationID(in.RevocationID), Kind: kind, Target: in.ID, Issuer: events.Issuer(in.Issuer), By: by,
		Reason: events.Reason(in.Reason), Except: events.SessionID(in.Except),
	}
	if command.Issuer == "" {
		command.Issuer = a.Default
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
	if in.ExpiresAt != "" {
		if command.Until, err = time.Parse(time.RFC3339, in.ExpiresAt); err != nil || command.Until.After(time.Now().Add(maxExpiry)) {
			return none, problem.New(http.StatusBadRequest, "expires_at is a time as RFC 3339 writes it, within fifty years.")
		}
	}
	if in.CutTime != "" {
		if command.CutTime, err = time.Parse(time.RFC3339, in.CutTime); err != nil || command.CutTime.Unix() <= 0 || command.CutTime.After(time.Now().Add(cutAhead)) {
			return none, problem.New(http.StatusBadRequest, "cut_time is a time as RFC 3339 writes it, in the past.")
		}
	}
	switch {
	case command.Issuer == "":
		return none, problem.New(http.StatusBadRequest, "issuer is missing: nothing is signed here, and of several providers one has to be named.")
	case in.CutTime != "" && (!kind.Wide() || kind == events.KindKey || command.Issuer == a.Issuer):
		return none, problem.New(http.StatusBadRequest, "cut_time is for subject, client and all of another issuer; ours are cut by their place in the journal.")
	case kind == events.KindAll && in.ID != "":
		return none, problem.New(http.StatusBadRequest, "A revocation of everything has no id.")
	case kind != events.KindAll && !plain(in.ID, 1, maxID):
		return none, problem.New(http.StatusBadRequest, "id has 1 to 512 bytes and no control characters.")
	case !plain(string(command.Issuer), 1, maxID):
		return none, problem.New(http.StatusBadRequest, "issuer has at most 512 bytes and no control characters.")
	case !plain(string(command.Reason), 1, maxReason):
		return none, problem.New(http.StatusBadRequest, "reason has at most 256 bytes and no control characters.")
	case (!kind.Wide() || kind == events.KindKey) && in.Scope != "":
		return none, problem.New(http.StatusBadRequest, "A token, a session or a key is revoked whole; scope is for the other kinds.")
	case kind != events.KindSubject && in.Except != "":
		return none, problem.New(http.StatusBadRequest, "except_session is for the kind subject.")
	case !plain(in.Except, 0, maxID):
		return none, problem.New(http.StatusBadRequest, "except_session has at most 512 bytes and no control characters.")
	case kind == events.KindSession && command.Issuer == a.Issuer && !account.IsSessionID(in.ID):
		return none, problem.New(http.StatusBadRequest, "A session id of this issuer is a UUID in lower-case text.")
	case in.RevocationID != "" && !chosen(in.RevocationID):
		return none, problem.New(http.StatusBadRequest, "revocation_id is a UUID in lower-case text, of any version but 7.")
	}
	return command, nil
}

// chosen reports whether an id is one that a caller may choose.
func chosen(id string) bool {
	u, err := uuid.Parse(id)
	return err == nil && u.String() == id && session.Named(events.RevocationID(id))
}
