package simulation

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

// credentials are what a login brings.
type credentials struct {
	person *person
	word   *word // nil for one that never was
	client *client
	secret string
	policy session.Policy
	// replaces is the session whose place it takes.
	replaces *known
}

// client is one client, whose policy changes now and then.
type client struct {
	id           events.ClientID
	confidential bool
	policy       session.Policy
	// disabled is what the log says.
	disabled bool
	// stepUps are refreshes that asked for a credential.
	stepUps []*attempt
}

const (
	grace         = 10 * time.Second
	longestAccess = 2 * time.Minute
	operator      = "olga"
)

// policyOf draws one: short limits, so that what expires does so within a run.
func (w *world) policyOf(confidential bool) session.Policy {
	return session.Policy{
		AccessTTL: pick(w, longestAccess, 20*time.Second), Grace: pick(w, grace, grace, 2*time.Second),
		IdleLimit:       pick(w, 10*time.Minute, 40*time.Second, 2*time.Hour, 0),
		AbsoluteLimit:   pick(w, 0, 0, 15*time.Minute, 3*time.Hour),
		OnReplay:        pick(w, session.ReplaySuccessor, session.ReplaySuccessor, session.ReplayAccessOnly, session.ReplayRefuse),
		NoRotation:      confidential && w.chance(0.3),
		MaxSessions:     pick(w, 0, 0, 1, 2, 4),
		OnLimit:         pick(w, session.EvictOldest, session.EvictOldest, session.RefuseNew),
		StepUpAfterIdle: pick(w, 0, 0, 0, time.Minute),
		OnSuspicion:     pick(w, session.Ignore, session.StepUp),
		OnNetworkChange: session.Ignore, OnDeviceChange: session.Ignore, RolesClaim: "roles",
	}
}

func pick[T any](w *world, from ...T) T { return from[w.rng.IntN(len(from))] }

// command starts something that somebody might do.
func (w *world) command() {
	p := pick(w, w.processes...)
	roll := w.rng.IntN(1000)
	switch {
	case len(w.sessions) == 0 || roll < 160:
		w.login(p)
	case roll < 680:
		w.someRefresh(p)
	case roll < 750:
		w.authenticate(p)
	case roll < 810:
		w.logOut(p)
	case roll < 840:
		w.revokeToken(p)
	case roll < 890:
		w.revoke(p)
	case roll < 920:
		w.lift(p)
	case roll < 945:
		w.changePassword(p)
	case roll < 955:
		w.changeRoles(p)
	case roll < 965:
		w.changeStatus(p)
	case roll < 970:
		w.changeClient(p)
	case roll < 985:
		w.list(p)
	default:
		w.announce()
	}
}

func (w *world) login(p *process) {
	l := &credentials{person: pick(w, w.people...), client: pick(w, w.clients...)}
	text, token := "none of theirs", ""
	if w.chance(0.95) {
		l.word = l.person.words[len(l.person.words)-1-min(w.rng.IntN(10)/8, len(l.person.words)-1)]
		text = l.word.text
	}
	if !l.client.confidential && w.chance(0.3) {
		l.secret = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%016d", w.step))
	}
	if asked := l.client.stepUps; len(asked) > 0 && w.chance(0.7) {
		a := asked[len(asked)-1]
		l.person, l.replaces, token = a.session.person, a.session, a.token
		l.word = l.person.words[len(l.person.words)-1]
		text = l.word.text
		l.client.stepUps = asked[:len(asked)-1]
	}
	l.policy = l.client.policy
	var grant issue.Grant
	var err error
	w.start("login of "+l.person.name, p, func(ctx context.Context, s *issue.Service) {
		ctx.Value(taskKey{}).(*task).login = l
		grant, err = s.Login(ctx, issue.Login{
			Username: l.person.name, Password: text, Client: l.client.id, Policy: l.policy,
			Scope: "read write", Audience: []string{audience}, DeviceSecret: l.secret, RefreshToken: token,
		})
	}, func(t *task) { w.judgeLogin(t, l, grant, err) })
}

// someSession prefers those that live, and does not forget the others.
func (w *world) someSession() *known {
	for range 6 {
		s := pick(w, w.sessions[max(0, len(w.sessions)-20):]...)
		lives := s.over.since() == 0 && !s.doomed(w.step+1) && !w.expired(s, time.Now())
		if len(s.tokens) > 0 && lives == w.chance(0.85) {
			return s
		}
	}
	for range 10 {
		if s := pick(w, w.sessions...); len(s.tokens) > 0 {
			return s
		}
	}
	return nil
}

func (w *world) someRefresh(p *process) {
	s := w.someSession()
	if s == nil {
		return
	}
	generation := s.latest
	if w.chance(0.35) {
		generation -= min(generation, w.rng.Uint64N(4))
	}
	if w.chance(0.02) {
		generation = w.rng.Uint64N(s.latest + 1)
	}
	if _, ok := s.tokens[generation]; !ok {
		generation = s.latest
	}
	w.refresh(p, s, generation)
	if w.chance(0.2) {
		for range 1 + w.rng.IntN(4) {
			w.refresh(pick(w, w.processes...), s, generation)
		}
	}
}

func (w *world) refresh(p *process, s *known, generation uint64) {
	a := &attempt{
		session: s, generation: generation, token: s.tokens[generation], policy: s.client.policy, began: w.step,
		proof: session.Proof{Client: s.client.id, Authenticated: s.client.confidential, DeviceSecret: s.secret}, right: true,
	}
	switch {
	case w.chance(0.04):
		a.proof.Client, a.right = "another", false
	case s.secret != "" && w.chance(0.1):
		a.proof.DeviceSecret, a.right = pick(w, "", "bm90IHRoZWlycyBub3QgdGhlaXJz"), false
	case w.chance(0.02):
		a.token, a.right = a.token[:len(a.token)-2]+pick(w, "AA", "QQ"), false
	}
	if a.token == s.tokens[generation] && a.proof.Client == s.client.id && a.proof.DeviceSecret == s.secret {
		a.right = true
	}
	w.attempts = append(w.attempts, a)
	w.start(fmt.Sprintf("refresh of %d.%d", s.number, generation), p, func(ctx context.Context, service *issue.Service) {
		a.grant, a.err = service.Refresh(ctx, issue.Refresh{Token: a.token, Proof: a.proof, Policy: a.policy})
	}, func(t *task) { w.judgeRefresh(t, a) })
}

func (w *world) someAccess() *access {
	if len(w.access) == 0 {
		return nil
	}
	return pick(w, w.access[max(0, len(w.access)-30):]...)
}

func (w *world) authenticate(p *process) {
	a := w.someAccess()
	if a == nil {
		return
	}
	var err error
	current := w.chance(0.5)
	w.start(fmt.Sprintf("authentication of %d", a.session.number), p, func(ctx context.Context, s *issue.Service) {
		_, err = s.Authenticate(ctx, a.text, current)
	}, func(t *task) { w.judgeAuthenticate(t, a, current, err) })
}

// logOut is what a user does: here, there, everywhere else or everywhere.
func (w *world) logOut(p *process) {
	a, other := w.someAccess(), w.someSession()
	if a == nil || other == nil {
		return
	}
	which := w.rng.IntN(4)
	var authentication, err error
	w.start(fmt.Sprintf("log-out %d by %d", which, a.session.number), p, func(ctx context.Context, s *issue.Service) {
		var caller issue.Caller
		if caller, authentication = s.Authenticate(ctx, a.text, true); authentication != nil {
			return
		}
		switch which {
		case 0:
			err = s.EndOwn(ctx, caller, caller.Session)
		case 1:
			err = s.EndOwn(ctx, caller, other.id)
		default:
			err = s.EndAll(ctx, caller, which == 2)
		}
	}, func(t *task) {
		w.judgeAuthenticate(t, a, true, authentication)
		if authentication != nil || !w.done(t, "a log-out", err) {
			return
		}
		for _, s := range w.sessions {
			// What began while this was under way may have been missed.
			here, there := s == a.session, s == other && s.person == a.session.person
			all := s.person == a.session.person && s.grantedBefore(t) && (which == 3 || !here)
			if which == 0 && here || which == 1 && there && s.grantedBefore(t) || which > 1 && all {
				w.endedFor(s, forGood)
			}
		}
	})
}

// grantedBefore reports whether a session was handed out before a command arrived.
func (s *known) grantedBefore(t *task) bool { return s.told > 0 && s.told < t.began }

// revokeToken is RFC 7009, by the client.
func (w *world) revokeToken(p *process) {
	a, s := w.someAccess(), w.someSession()
	if a == nil || s == nil {
		return
	}
	whole := w.chance(0.4)
	token, client := a.text, a.session.client.id
	if whole {
		token, client = s.tokens[s.latest], s.client.id
	}
	var err error
	w.start("revocation of a token", p, func(ctx context.Context, service *issue.Service) {
		err = service.RevokeToken(ctx, token, client)
	}, func(t *task) {
		if !w.done(t, "the revocation of a token", err) {
			return
		}
		if whole {
			w.endedFor(s, forGood)
		} else {
			a.denied.add(forGood, w.step)
			w.checkToken(a)
		}
	})
}

// revoke is what an operator does.
func (w *world) revoke(p *process) {
	s, a := w.someSession(), w.someAccess()
	if s == nil || a == nil {
		return
	}
	r := issue.Revocation{Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator", Name: operator}}
	switch roll := w.rng.IntN(20); {
	case roll < 7:
		r.Kind, r.Target = events.KindSession, string(s.id)
	case roll < 14:
		r.Kind, r.Target = events.KindSubject, string(s.person.subject)
		if w.chance(0.3) {
			r.Except = s.id
		}
		if w.chance(0.4) {
			r.Scope = events.ScopeAccessTokens
		}
	case roll < 15:
		r.Kind, r.Target = events.KindClient, string(s.client.id)
	case roll < 16:
		r.Kind = events.KindAll
	default:
		r.Kind, r.Target = events.KindToken, a.claims.ID
	}
	if w.chance(0.1) {
		r.ID = events.RevocationID(uuid.New().String())
	}
	var done issue.Revoked
	var err error
	w.start("revocation by "+r.Kind.String(), p, func(ctx context.Context, service *issue.Service) {
		done, err = service.Revoke(ctx, r)
	}, func(t *task) {
		switch {
		case !w.done(t, "a revocation", err):
		case r.Kind == events.KindSession:
			w.stats["revocations acknowledged: session"]++
			w.endedFor(s, forGood)
		default:
			w.acknowledged(done.Revocation)
		}
	})
}

// lift takes a revocation back.
func (w *world) lift(p *process) {
	if len(w.revoked) == 0 {
		return
	}
	r := pick(w, w.revoked...)
	if r.By.Name != operator {
		return // what follows from a change stays with it
	}
	w.withdrawn(r.ID)
	var err error
	w.start("lift of "+r.Kind.String(), p, func(ctx context.Context, s *issue.Service) {
		_, err = s.Lift(ctx, r.ID)
	}, func(t *task) {
		switch {
		case errors.Is(err, issue.ErrEnded), errors.Is(err, issue.ErrNoRevocation):
			w.stats["lifts refused"]++
		case w.done(t, "a lift", err):
			w.stats["lifts"]++
			w.lifted[r.ID] = true
			for _, s := range w.sessions {
				w.recut(s)
			}
		}
	})
}

func (w *world) list(p *process) {
	who := pick(w, w.people...)
	var err error
	w.start("list of "+who.name, p, func(ctx context.Context, s *issue.Service) {
		_, err = s.Sessions(ctx, who.subject)
	}, func(t *task) { w.done(t, "a list", err) })
}

// announce is an operator with nothing but the broker's credentials.
func (w *world) announce() {
	s := w.someSession()
	if s == nil {
		return
	}
	r := events.Revocation{
		ID: events.RevocationID(uuid.Must(uuid.NewV7()).String()), Kind: events.KindSession, Issuer: issuer, Target: string(s.id),
		Reason: "stolen", By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(5 * time.Minute),
	}
	if w.chance(0.3) {
		r.Kind, r.Target = events.KindSubject, string(s.person.subject)
	}
	w.stats["announcements"]++
	w.note("an operator announces %s %d", r.Kind, s.number)
	w.announced(events.Envelope{ID: events.EventID(r.ID), At: time.Now(), Event: events.Revoked{Revocation: r}}, 5*time.Minute)
}
