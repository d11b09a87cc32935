package simulation

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

// violated ends the run: something promised does not hold.
func (w *world) violated(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
		w.note("VIOLATED: %s", w.violation)
	}
}

// repeatable errors say that nothing was decided.
func repeatable(t *task, err error) bool {
	return t.left || errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrConflict)
}

// undecided judges an error that refuses nothing.
func (w *world) undecided(t *task, what string, err error) {
	switch {
	case !repeatable(t, err):
		w.violated("%s gave %v", what, err)
	case w.faults.calm() && !errors.Is(err, events.ErrConflict):
		w.violated("%s without a fault gave %v", what, err)
	}
}

// done tells success from what may be asked again, and from what must not be.
func (w *world) done(t *task, what string, err error) bool {
	if err != nil {
		w.undecided(t, what, err)
	}
	return err == nil
}

func (w *world) judgeLogin(t *task, l *credentials, grant issue.Grant, err error) {
	current := l.word == l.person.words[len(l.person.words)-1]
	switch {
	case err == nil:
		w.stats["logins"]++
		s := w.byID[grant.Session]
		if s == nil {
			w.violated("a login gave session %s, which the log does not have", grant.Session)
			return
		}
		if l.word == nil || l.word.gone > 0 && l.word.gone <= t.began {
			w.violated("INV-5: a login with a wrong password, or one that was replaced before, passed as session %d", s.number)
		}
		if l.replaces != nil {
			w.endedFor(l.replaces, forGood)
			w.stats["take-overs"]++
		}
		w.granted(t, s, 0, grant)
	case errors.Is(err, issue.ErrCredentials):
		w.stats["logins refused"]++
		if current && !l.person.disabled && w.disturbed < t.began && w.faults.lag == 0 {
			w.violated("INV-3: a login with the right password was refused")
		}
	case errors.Is(err, session.ErrLimit):
		w.stats["logins without room"]++
		if l.policy.MaxSessions == 0 || l.policy.OnLimit == session.EvictOldest {
			w.violated("a login found no room where there is no limit")
		}
	case errors.Is(err, issue.ErrClientDisabled):
		if !l.client.disabled && w.disturbed < t.began && w.faults.lag == 0 {
			w.violated("INV-3: a login at an enabled client was refused")
		}
	case errors.Is(err, issue.ErrTakeOver):
		if l.replaces == nil || w.faults.calm() && !l.replaces.doomed(t.began) && !w.expired(l.replaces, time.Now()) {
			w.violated("a login in a session's place was refused: %v", err)
		}
	default:
		w.undecided(t, "a login", err)
	}
}

// attempt is one use of a refresh token.
type attempt struct {
	session    *known
	generation uint64
	token      string
	policy     session.Policy
	proof      session.Proof
	right      bool // the token and the proof are
	began      int
	// over is when it was answered; zero while it is under way.
	over time.Time

	grant issue.Grant
	err   error
}

func (w *world) judgeRefresh(t *task, a *attempt) {
	s, now := a.session, time.Now()
	a.over = now
	switch {
	case a.err == nil:
		w.stats["refreshes"]++
		w.passed(t, a)
	case errors.Is(a.err, session.ErrStepUp):
		w.stats["step-ups"]++
		if a.policy.StepUpAfterIdle == 0 && a.policy.OnSuspicion == session.Ignore {
			w.violated("a refresh of session %d asked for a credential for no reason: %v", s.number, a.err)
		}
		s.client.stepUps = append(s.client.stepUps, a)
	case errors.Is(a.err, issue.ErrSlowDown):
		w.stats["refreshes slowed down"]++
	case errors.Is(a.err, issue.ErrGrant):
		w.stats["refreshes refused"]++
		if errors.Is(a.err, session.ErrReuse) {
			w.stats["reuses"]++
			w.endedFor(s, forGood)
		}
		if a.right && !s.doomed(t.began) && !w.expired(s, now) && !w.stale(a, now) {
			w.violated("INV-3: a refresh of session %d, generation %d of %d, was refused for no reason: %v", s.number, a.generation, s.generation, a.err)
		}
	default:
		w.undecided(t, "a refresh", a.err)
	}
}

// passed judges a refresh that gave tokens.
func (w *world) passed(t *task, a *attempt) {
	s := a.session
	if over := s.over.since(); over > 0 && over <= t.began {
		w.violated("INV-5: session %d was refreshed after its end was acknowledged %v", s.number, s.over)
	}
	if !a.right {
		w.violated("session %d was refreshed without its proof", s.number)
	}
	if at, superseded := s.superseded[a.generation]; superseded && t.beganAt.Sub(at.time) > a.policy.Grace {
		next, used := s.superseded[a.generation+1]
		if lost := s.bound() && (!used || next.step >= t.began); !lost {
			w.violated("INV-5: generation %d of session %d passed %s after it was superseded", a.generation, s.number, t.beganAt.Sub(at.time))
		}
	}
	next := a.generation + 1
	if a.grant.Kept {
		next = a.generation
	}
	if s.generation < next {
		w.violated("session %d was refreshed from generation %d, and the log has %d", s.number, a.generation, s.generation)
	}
	if a.grant.Session != s.id {
		w.violated("a refresh of session %d gave tokens of another", s.number)
	}
	if a.grant.Replayed {
		w.stats["replays"]++
	}
	w.granted(t, s, next, a.grant)
}

// granted takes tokens that somebody now holds.
func (w *world) granted(t *task, s *known, generation uint64, grant issue.Grant) {
	if grant.RefreshToken != "" {
		token, err := refresh.Parse(grant.RefreshToken)
		if err != nil || token.Fields().Session != s.id || token.Fields().Generation != generation {
			w.violated("session %d, generation %d: the refresh token says %+v, %v", s.number, generation, token.Fields(), err)
		}
		if before, ok := s.tokens[generation]; ok && before != grant.RefreshToken {
			w.violated("INV-4: generation %d of session %d has two refresh tokens", generation, s.number)
		}
		s.tokens[generation] = grant.RefreshToken
		if s.told == 0 {
			s.told = w.step
		}
		s.latest = max(s.latest, generation)
	}
	c, err := read(grant.AccessToken)
	if err != nil {
		w.violated("an access token that cannot be read: %v", err)
		return
	}
	ssq, err1 := events.ParsePosition(c.SessionAt)
	tsq, err2 := events.ParsePosition(c.MintedAt)
	if err1 != nil || err2 != nil || ssq != s.began || tsq.Sequence < ssq.Sequence || tsq.Sequence > w.log.Last() {
		w.violated("session %d began at %v; its token says %s and %s", s.number, s.began, c.SessionAt, c.MintedAt)
	}
	a := &access{session: s, text: grant.AccessToken, claims: c, ssq: ssq, tsq: tsq, denied: reasons{}}
	for _, r := range w.revoked {
		if deniesToken(r.Revocation, a) {
			a.denied.add(string(r.ID), r.told)
		}
	}
	s.access = append(s.access, a)
	w.access = append(w.access, a)
	w.checkRoles(t, a)
	w.checkToken(a)
}

// checkRoles: a token carries the roles that the user had when the command arrived, or
// got since.
func (w *world) checkRoles(t *task, a *access) {
	if a.session.person.rolesAt < t.began && !slices.Equal(a.claims.Roles, a.session.person.roles) {
		w.violated("a token of session %d says roles %v, %s has %v", a.session.number, a.claims.Roles, a.session.person.name, a.session.person.roles)
	}
}

// revoked is a revocation that was acknowledged and not lifted.
type revoked struct {
	events.Revocation

	told int // the step
}

// acknowledged takes a revocation that somebody was told is done.
func (w *world) acknowledged(r events.Revocation) {
	w.stats["revocations acknowledged: "+r.Kind.String()]++
	w.revoked = append(w.revoked, revoked{Revocation: r, told: w.step})
	for _, s := range w.sessions {
		if endsSession(r, s) {
			w.endedFor(s, string(r.ID))
		}
	}
	for _, a := range w.access {
		if deniesToken(r, a) {
			a.denied.add(string(r.ID), w.step)
			w.checkToken(a)
		}
	}
}

// withdrawn: from here on nothing is promised of a revocation, since it is about to
// be lifted.
func (w *world) withdrawn(id events.RevocationID) {
	w.revoked = slices.DeleteFunc(w.revoked, func(r revoked) bool { return r.ID == id })
	for _, s := range w.sessions {
		delete(s.over, string(id))
	}
	for _, a := range w.access {
		delete(a.denied, string(id))
	}
}

// endedFor marks a session whose end somebody was told of.
func (w *world) endedFor(s *known, why string) {
	s.over.add(why, w.step)
	for _, a := range s.access {
		w.checkToken(a)
	}
	w.foresee(s)
}

// checkToken asks what a sidecar says that has missed nothing: one with a clock
// that is late, and as lenient as any may be.
func (w *world) checkToken(a *access) {
	now := time.Now()
	late := now.Add(-min(w.faults.skew, events.MaxSkew))
	if !late.Before(time.Unix(a.claims.Expires, 0).Add(events.MaxLeeway)) {
		return // accepted nowhere
	}
	w.feed.expire(now)
	denied := false
	for _, r := range w.feed.denying(late) {
		if !deniesToken(r, a) {
			continue
		}
		denied = true
		if w.lifted[r.ID] {
			w.violated("INV-3: a token of session %d is denied by a revocation that was lifted", a.session.number)
		}
		if began := a.session.began; r.Kind.Wide() && !r.Cut.IsZero() && r.Scope == events.ScopeSessions && began.Sequence > r.Cut.Sequence {
			w.violated("INV-3: a token of session %d is denied by a cut before it", a.session.number)
		}
	}
	if dead := a.dead(); dead > 0 && !denied {
		w.violated("INV-1: a token of session %d passes a sidecar at %s before it expires; it was to be denied since step %d %v %v",
			a.session.number, time.Unix(a.claims.Expires, 0).Sub(now), dead, a.session.over, a.denied)
	}
}

func (w *world) judgeAuthenticate(t *task, a *access, current bool, err error) {
	switch dead := a.dead(); {
	case err == nil:
		if current && dead > 0 && dead <= t.began {
			w.violated("INV-9: a token of session %d that is denied since step %d passed", a.session.number, dead)
		}
	case errors.Is(err, issue.ErrToken):
		expired := !time.Now().Add(t.process.ahead).Before(time.Unix(a.claims.Expires, 0))
		if dead == 0 && !a.session.doomed(t.began) && !w.tokenDoomed(a) && !w.expired(a.session, time.Now()) && !expired && w.faults.skew <= events.MaxSkew {
			w.violated("INV-3: a token of session %d was refused for no reason: %v", a.session.number, err)
		}
	default:
		w.undecided(t, "authenticating", err)
	}
}

// tokenDoomed reports whether the journal has held what denies a token whose session
// goes on, acknowledged or not.
func (w *world) tokenDoomed(a *access) bool {
	for _, messages := range w.cuts {
		for _, m := range messages {
			if slices.ContainsFunc(m.cuts, func(c events.Revocation) bool { return deniesToken(c, a) }) {
				return true
			}
		}
	}
	return false
}

// expired reports whether a session has run out, as the log tells.
func (w *world) expired(s *known, at time.Time) bool {
	n := s.messages[len(s.messages)-1].session
	idle := n.IdleLimit > 0 && at.Sub(s.rotated) >= n.IdleLimit
	date := !n.AbsoluteExpires.IsZero() && at.Sub(n.AbsoluteExpires) >= -w.faults.skew
	return idle || date
}

// stale reports whether an attempt came, or may have been judged, after its
// generation could still be replayed.
func (w *world) stale(a *attempt, at time.Time) bool {
	since, superseded := a.session.superseded[a.generation]
	if !superseded {
		return false
	}
	return at.Sub(since.time) > a.policy.Grace || a.policy.OnReplay == session.ReplayRefuse && !a.session.bound()
}

// wasReused reports whether a token of the session was used when it was stale.
func (w *world) wasReused(s *known) bool {
	return slices.ContainsFunc(w.attempts, func(a *attempt) bool {
		at := a.over
		if at.IsZero() {
			at = time.Now()
		}
		return a.session == s && a.right && w.stale(a, at)
	})
}

// read takes the claims out of a token without judging them.
func read(token string) (c claims.Access, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("not three parts")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(body, &c)
}
