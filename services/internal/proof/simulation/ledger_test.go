package simulation

import (
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
)

// reasons say why something is over, each with the step in which somebody was told
// that it is done: until a revocation is lifted, or for good.
type reasons map[string]int

// since is the first of the steps; zero if there is no reason.
func (r reasons) since() (first int) {
	for _, step := range r {
		if first == 0 || step < first {
			first = step
		}
	}
	return first
}

func (r reasons) add(why string, step int) {
	if _, ok := r[why]; !ok {
		r[why] = step
	}
}

// forGood is the reason that nothing lifts.
const forGood = "for good"

// person is what is true of one user.
type person struct {
	name    string
	subject events.Subject
	// words are the passwords there ever were; the last one committed counts.
	words   []*word
	version uint64
	spared  events.SessionID
	roles   []string
	// rolesAt is the step at which they changed last, disabled what the log says.
	rolesAt  int
	disabled bool
}

// word is one password.
type word struct {
	text    string
	version uint64
	// gone is the step at which its replacement was acknowledged; 0 while it holds.
	gone int
}

// known is what is true of one session.
type known struct {
	number int
	id     events.SessionID
	person *person
	client *client
	secret string
	place  string
	began  events.Position
	// generation is the one committed last, at the time rotated.
	generation uint64
	rotated    time.Time
	// superseded says when a generation stopped being the current one.
	superseded map[uint64]moment
	version    uint64
	ended      bool // the journal says so
	// cut is whether a recorded cut ends it; uncut the step at which one last did not
	// any more.
	cut   bool
	uncut int
	// over says why it can never be refreshed again, as far as anybody was told.
	over reasons
	// messages are those of its subject, as far as the log still has them.
	messages []stored
	// tokens are the refresh tokens handed out, latest the newest generation of them,
	// told the step at which somebody got the first.
	tokens map[uint64]string
	latest uint64
	told   int
	access []*access
}

// moment is a time, by the broker, and the step in which it was.
type moment struct {
	time time.Time
	step int
}

// bound reports whether a refresh of it proves who is asking.
func (s *known) bound() bool { return s.secret != "" || s.client.confidential }

// doomed reports whether the journal has ended it at some time since a step, whether
// or not anyone was told: then a refusal needs no other reason.
func (s *known) doomed(since int) bool {
	return s.ended || s.cut || s.uncut > 0 && s.uncut >= since || s.person.disabled || s.client.disabled ||
		s.version < s.person.version && s.id != s.person.spared
}

// stored is one message of the journal, with what it would mean as the last one.
type stored struct {
	sequence uint64
	at       time.Time
	expires  time.Time // zero: never
	guarded  bool
	session  events.Session
	cuts     []events.Revocation
}

func (m stored) gone(at time.Time) bool { return !m.expires.IsZero() && !at.Before(m.expires) }

// lastOf gives what would be read at a moment if nothing were written until then.
func lastOf(messages []stored, at time.Time) (stored, bool) {
	for _, message := range slices.Backward(messages) {
		if !message.gone(at) {
			return message, true
		}
	}
	return stored{}, false
}

// access is one access token that was handed out.
type access struct {
	session *known
	text    string
	claims  claims.Access
	ssq     events.Position
	tsq     events.Position
	// denied says why, beside what has ended its session.
	denied reasons
}

// dead is the step in which somebody was first told that it is denied; 0 for never.
func (a *access) dead() int {
	own, whole := a.denied.since(), a.session.over.since()
	if own == 0 || whole > 0 && whole < own {
		return whole
	}
	return own
}

// committed is called for everything the log has accepted, with the task whose
// doing it is.
func (w *world) committed(t *task, a events.Append, at events.Position) {
	now := time.Now()
	m := stored{sequence: at.Sequence, at: now, guarded: a.Guard != ""}
	if a.TTL > 0 {
		m.expires = now.Add((a.TTL + time.Second - 1).Truncate(time.Second))
	}
	switch e := a.Envelope.Event.(type) {
	case events.SessionStarted:
		w.began(t, a, at, e.Session, m)
	case events.SessionRefreshed:
		w.rotated(t, a, e.Session, m)
	case events.SessionRevoked:
		w.ended(a, e.Session, m)
	case events.CutsRecorded:
		w.cut(a, e, m)
	case events.UserRegistered:
		w.credential(t, e.User)
	case events.PasswordChanged:
		w.credential(t, e.User)
		w.entailed(t, a, at)
	case events.UserUpdated:
		w.credential(t, e.User)
		w.entailed(t, a, at)
	case events.ClientUpdated:
		w.clientOf(e.Client.ID).disabled = e.Client.Disabled
		w.disturbed = w.step
		w.entailed(t, a, at)
	}
}

func (w *world) began(t *task, a events.Append, at events.Position, n events.Session, m stored) {
	s := &known{
		number: len(w.sessions) + 1, id: n.ID, person: w.personOf(n.Subject), client: w.clientOf(n.Client), place: a.Subject,
		began: at, rotated: m.at, version: n.CredentialVersion, over: reasons{},
		superseded: map[uint64]moment{}, tokens: map[uint64]string{},
	}
	s.secret = t.login.secret
	w.note("session %d begins: %s at %s", s.number, s.person.name, s.client.id)
	if n.Generation != 0 || n.Ended != nil {
		w.violated("session %d begins with generation %d", s.number, n.Generation)
	}
	m.session = n
	s.messages = []stored{m}
	w.sessions = append(w.sessions, s)
	w.byID[n.ID] = s
	w.recut(s)
	w.countSessions(t, s, t.login.policy.MaxSessions)
	if old := w.byID[n.Replaces]; old != nil && !old.ended {
		w.violated("session %d begins in the place of %d, which lives on", s.number, old.number)
	}
}

// countSessions holds the device limit against the log as it is at this very moment. What
// a lift brings back while a login is under way takes no room from it.
func (w *world) countSessions(t *task, s *known, limit int) {
	living := 0
	for _, other := range w.sessions {
		if other.person == s.person && other.client == s.client && !other.doomed(t.began) && !w.expired(other, time.Now()) {
			living++
		}
	}
	if limit > 0 && living > limit {
		w.violated("session %d is number %d of %s at %s, where %d are allowed", s.number, living, s.person.name, s.client.id, limit)
	}
}

func (w *world) rotated(t *task, a events.Append, n events.Session, m stored) {
	s := w.byID[n.ID]
	if s == nil || s.place != a.Subject {
		w.violated("a session that never began is refreshed on %s", a.Subject)
		return
	}
	if s.ended {
		w.violated("INV-5: session %d is refreshed after its end", s.number)
	}
	kept := n.Generation == s.generation && s.client.confidential
	if n.Generation != s.generation+1 && !kept {
		w.violated("INV-4: session %d goes from generation %d to %d", s.number, s.generation, n.Generation)
	}
	if n.Began != s.began {
		w.violated("session %d began at %v and says %v", s.number, s.began, n.Began)
	}
	before := s.messages[len(s.messages)-1].session
	if idle := before.IdleLimit; idle > 0 && t.beganAt.Sub(s.rotated) > idle+w.faults.skew {
		w.violated("session %d is refreshed %s after its last refresh, limit %s", s.number, t.beganAt.Sub(s.rotated), idle)
	}
	if a := before.AbsoluteExpires; !a.IsZero() && t.beganAt.Sub(a) > 2*w.faults.skew {
		w.violated("session %d is refreshed %s after its end by date", s.number, t.beganAt.Sub(a))
	}
	if kept {
		w.stats["uses without rotation"]++
	} else {
		s.superseded[s.generation] = moment{m.at, w.step}
		w.stats["rotations"]++
	}
	s.generation, s.rotated = n.Generation, m.at
	m.session = n
	s.keep(m, a.Rollup)
	w.foresee(s)
}

func (w *world) ended(a events.Append, n events.Session, m stored) {
	s := w.byID[n.ID]
	if s == nil || n.Ended == nil {
		w.violated("the end of a session that never began, or no end, on %s", a.Subject)
		return
	}
	if n.Generation != s.generation {
		w.violated("INV-4: session %d ends at generation %d, it was at %d", s.number, n.Generation, s.generation)
	}
	if !s.ended {
		w.stats["ends: "+string(n.Ended.Reason)]++
		w.audit = append(w.audit, &work{session: &n, due: m.at.Add(settleAfter)})
	}
	if n.Ended.Reason == events.ReasonTokenReuse && !s.ended && !w.wasReused(s) {
		w.violated("INV-3: session %d is ended for reuse, and no token of it was used again", s.number)
	}
	w.note("session %d ends: %s", s.number, n.Ended.Reason)
	s.ended = true
	m.session = n
	s.keep(m, a.Rollup)
	w.foresee(s)
}

func (s *known) keep(m stored, rollup bool) {
	if rollup {
		s.messages = nil
	}
	s.messages = append(s.messages, m)
	if len(s.messages) > depth {
		s.messages = s.messages[len(s.messages)-depth:]
	}
}

// cut records what the journal now says about a token, a subject, a client or everyone.
func (w *world) cut(a events.Append, e events.CutsRecorded, m stored) {
	m.cuts = e.Cuts
	all := append(w.cuts[a.Subject], m)
	w.cuts[a.Subject] = all[max(0, len(all)-depth):]
	w.disturbed = w.step
	for _, s := range w.sessions {
		w.recut(s)
		w.foresee(s)
	}
}

// recut finds out whether any standing cut ends a session that was not lifted, as far
// as anybody was told.
func (w *world) recut(s *known) {
	before := s.cut
	s.cut = false
	for _, place := range w.cutPlaces() {
		if m, ok := lastOf(w.cuts[place], time.Now()); ok {
			for _, c := range m.cuts {
				s.cut = s.cut || endsSession(c, s) && !w.lifted[c.ID]
			}
		}
	}
	if before && !s.cut {
		s.uncut = w.step
	}
}

// credential records what has changed of a user.
func (w *world) credential(t *task, u events.User) {
	p := w.personOf(u.Subject)
	if p == nil {
		return // just being registered
	}
	if t.word != nil && u.Version > p.version {
		t.word.version = u.Version
		p.words = append(p.words, t.word)
	}
	if !slices.Equal(p.roles, u.Roles) {
		p.roles, p.rolesAt = u.Roles, w.step
	}
	p.version, p.spared, p.disabled = u.Version, u.Spared, u.Disabled
	w.disturbed = w.step
	for _, s := range w.sessions {
		w.foresee(s)
	}
}

// entailed puts a change from which a revocation follows on the finisher's desk.
func (w *world) entailed(t *task, a events.Append, at events.Position) {
	r := events.Record{Subject: a.Subject, Position: at, Time: time.Now(), Envelope: a.Envelope}
	if follows, ok := events.Entailed(r); ok {
		t.entailed = &follows
		w.audit = append(w.audit, &work{change: &r, due: time.Now().Add(settleAfter)})
	}
}

// endsSession is the rule for cuts of sessions, in the oracle's own words.
func endsSession(c events.Revocation, s *known) bool {
	if c.Scope != events.ScopeSessions || c.Issuer != issuer || c.Except == s.id {
		return false
	}
	named := c.Kind == events.KindAll ||
		c.Kind == events.KindSubject && c.Target == string(s.person.subject) ||
		c.Kind == events.KindClient && c.Target == string(s.client.id)
	return named && (c.Cut.IsZero() || s.began.Sequence <= c.Cut.Sequence)
}

// deniesToken is the rule for entries of the feed, in the oracle's own words.
func deniesToken(r events.Revocation, a *access) bool {
	c := a.claims
	switch r.Kind {
	case events.KindToken:
		return r.Target == c.ID
	case events.KindSession:
		return r.Target == c.Session
	case events.KindSubject:
		if r.Target != c.Subject || r.Except != "" && string(r.Except) == c.Session {
			return false
		}
	case events.KindClient:
		if r.Target != c.ClientID {
			return false
		}
	case events.KindAll:
	case events.KindKey, events.KindUnknown:
		return false
	}
	at := a.ssq
	if r.Scope == events.ScopeAccessTokens {
		at = a.tsq
	}
	return r.Cut.IsZero() || at.Sequence <= r.Cut.Sequence
}
