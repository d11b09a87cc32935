package guard

import (
	"context"
	"errors"

	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/throttle"
)

// Refresh is the use case of that name, or [issue.ThrottledError] in the place of a
// refusal. The one refresh that is not even looked at is that of a session which was
// found to be over again and again: it costs the journal a read and an append each
// time, and there is no owner left to harm.
func (g *Guard) Refresh(ctx context.Context, r issue.Refresh) (issue.Grant, error) {
	sid := "" // of no session: nothing is counted against it
	if token, err := refresh.Parse(r.Token); err == nil {
		sid = string(token.Fields().Session)
	}
	if refusal := g.set.Empty(g.over.Bucket(sid)); refusal != nil {
		return issue.Grant{}, g.explain(refusal)
	}
	grant, err := g.refresher.Refresh(ctx, r)
	bucket, failed := g.culprit(sid, network(r.Address), err)
	if !failed {
		return grant, err
	}
	if refusal := g.set.Count(bucket); refusal != nil {
		return issue.Grant{}, g.explain(refusal)
	}
	return issue.Grant{}, err
}

// culprit gives what a refusal counts against; false for whatever is none, and for
// reuse, which ends the session and is an alarm that nothing may swallow.
func (g *Guard) culprit(sid, from string, err error) (throttle.Bucket, bool) {
	switch {
	case errors.Is(err, session.ErrReuse):
	case errors.Is(err, issue.ErrForged):
		return g.forged.Bucket(from), true
	case errors.Is(err, session.ErrOver), errors.Is(err, session.ErrNotFound):
		return g.over.Bucket(sid), true
	case errors.Is(err, issue.ErrGrant), errors.Is(err, issue.ErrScope), errors.Is(err, session.ErrStepUp):
		return g.refused.Bucket(sid, from), true
	}
	return throttle.Bucket{}, false
}
