package simulation

import (
	"context"
	"errors"
	"fmt"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

// changePassword is what a user does, or an operator for them.
func (w *world) changePassword(p *process) {
	a := w.someAccess()
	if a == nil {
		return
	}
	who := a.session.person
	before, next := who.words[len(who.words)-1], &word{text: fmt.Sprintf("word-%d", w.step)}
	reset := w.chance(0.3)
	var err, authentication error
	var done issue.Revoked
	w.start("password change of "+who.name, p, func(ctx context.Context, s *issue.Service) {
		ctx.Value(taskKey{}).(*task).word = next
		if reset {
			done, err = s.SetPassword(ctx, who.subject, next.text, events.Initiator{Role: "operator"})
			return
		}
		var caller issue.Caller
		if caller, authentication = s.Authenticate(ctx, a.text, true); authentication == nil {
			done, err = s.ChangePassword(ctx, caller, before.text, next.text)
		}
	}, func(t *task) {
		if !reset {
			w.judgeAuthenticate(t, a, true, authentication)
		}
		refused := errors.Is(err, issue.ErrCredentials) || errors.Is(err, issue.ErrToken)
		if authentication != nil || refused || !w.done(t, "a password change", err) {
			return
		}
		w.stats["passwords changed"]++
		for _, old := range who.words {
			if old.version < next.version && old.gone == 0 {
				old.gone = w.step
			}
		}
		for _, s := range w.sessions {
			if s.person == who && s.version < next.version && s.id != done.Revocation.Except {
				w.endedFor(s, forGood)
			}
		}
		w.followed(t)
	})
}

// followed takes the revocation that a change has entailed.
func (w *world) followed(t *task) {
	if t.entailed != nil {
		w.acknowledged(*t.entailed)
	}
}

// changeRoles: tokens with the old ones are denied, sessions go on.
func (w *world) changeRoles(p *process) {
	who := pick(w, w.people...)
	roles := []string{pick(w, "customer", "clerk", "owner")}
	var err error
	w.start("change of roles of "+who.name, p, func(ctx context.Context, s *issue.Service) {
		_, err = s.SetRoles(ctx, who.subject, roles, events.Initiator{Role: "operator"})
	}, func(t *task) {
		if !w.done(t, "a change of roles", err) {
			return
		}
		w.stats["roles changed"]++
		w.followed(t)
	})
}

// changeStatus disables a user, or enables them again.
func (w *world) changeStatus(p *process) {
	who := pick(w, w.people...)
	status := issue.Status{Enabled: who.disabled, By: events.Initiator{Role: "operator"}}
	var err error
	w.start(fmt.Sprintf("enabled %t for %s", status.Enabled, who.name), p, func(ctx context.Context, s *issue.Service) {
		_, err = s.SetStatus(ctx, who.subject, status)
	}, func(t *task) {
		if !w.done(t, "a change of status", err) {
			return
		}
		w.stats["statuses changed"]++
		for _, s := range w.sessions {
			if s.person == who && !status.Enabled && s.grantedBefore(t) {
				w.endedFor(s, forGood)
			}
		}
		w.followed(t)
	})
}

// changeClient does the same to a client.
func (w *world) changeClient(p *process) {
	c := pick(w, w.clients...)
	status := issue.Status{Enabled: c.disabled, By: events.Initiator{Role: "operator"}}
	var err error
	w.start(fmt.Sprintf("enabled %t for %s", status.Enabled, c.id), p, func(ctx context.Context, s *issue.Service) {
		_, err = s.SetClientStatus(ctx, c.id, status)
	}, func(t *task) {
		if !w.done(t, "a change of a client", err) {
			return
		}
		w.stats["clients changed"]++
		for _, s := range w.sessions {
			if s.client == c && !status.Enabled && s.grantedBefore(t) {
				w.endedFor(s, forGood)
			}
		}
		w.followed(t)
	})
}
