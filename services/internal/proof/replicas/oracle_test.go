package replicas

import (
	"slices"

	"github.com/revocast/revocast/events"
)

// oracle says what must be true after each command, one after the other. It knows
// nothing of positions, streams or clocks: what comes later in the list is later.
type oracle struct {
	users    []*oUser
	clients  []*oClient
	sessions []*oSession
	tokens   []*oToken
}

type oUser struct {
	name     string
	subject  events.Subject
	password string
	roles    string
	disabled bool
}

type oClient struct {
	id           events.ClientID
	confidential bool
	disabled     bool
}

// oSession is over for good, or for as long as some revocation is not lifted.
type oSession struct {
	id     events.SessionID
	user   *oUser
	client *oClient
	secret string
	// patient sessions have a grace window of hours, the others none.
	patient bool
	tokens  []string // by generation
	ended   bool
	cutBy   []events.RevocationID
}

type oToken struct {
	session *oSession
	text    string
	id      string
	roles   string
	denied  bool
	cutBy   []events.RevocationID
}

func (s *oSession) alive() bool { return !s.ended && len(s.cutBy) == 0 }

func (s *oSession) bound() bool { return s.secret != "" || s.client.confidential }

func (t *oToken) accepted() bool { return t.session.alive() && !t.denied && len(t.cutBy) == 0 }

// What a use of a refresh token gives.
type outcome string

const (
	rotates  outcome = "a successor"
	replays  outcome = "the successor again"
	reused   outcome = "the end of the session"
	tooFast  outcome = "a request to wait"
	refused  outcome = "nothing"
	rotation         = 8 // how many superseded generations are remembered
)

// refresh says what the use of a generation gives, and does it.
func (o *oracle) refresh(s *oSession, generation int, proved bool) outcome {
	current := len(s.tokens) - 1
	behind := current - generation
	switch {
	case !s.alive() || !proved:
		return refused
	case behind == 0 && s.patient && generation > rotation:
		return tooFast
	case behind == 0:
		return rotates
	case s.patient, s.bound() && behind == 1:
		return replays
	}
	s.ended = true
	return reused
}

// login says whether a login passes, and ends what there is no room for.
func (o *oracle) login(u *oUser, c *oClient, password string, limit int) bool {
	if password != u.password || u.disabled || c.disabled {
		return false
	}
	living := slices.DeleteFunc(slices.Clone(o.sessions), func(s *oSession) bool { return s.user != u || s.client != c || !s.alive() })
	for i := 0; limit > 0 && len(living)-i >= limit; i++ {
		living[i].ended = true
	}
	return true
}

// endAll ends the sessions of a user but one, for good.
func (o *oracle) endAll(u *oUser, but *oSession) {
	for _, s := range o.sessions {
		if s.user == u && s != but {
			s.ended = true
		}
	}
}

// revoke does what a revocation does that can be lifted.
func (o *oracle) revoke(r events.Revocation) {
	for _, s := range o.sessions {
		if o.names(r, s) && r.Scope == events.ScopeSessions && r.Kind.Wide() {
			s.cutBy = append(s.cutBy, r.ID)
		}
	}
	for _, t := range o.tokens {
		one := r.Kind == events.KindToken && r.Target == t.id
		if one || r.Kind.Wide() && r.Scope == events.ScopeAccessTokens && o.names(r, t.session) {
			t.cutBy = append(t.cutBy, r.ID)
		}
	}
}

func (o *oracle) names(r events.Revocation, s *oSession) bool {
	if r.Except == s.id {
		return false
	}
	return r.Kind == events.KindAll ||
		r.Kind == events.KindSubject && r.Target == string(s.user.subject) ||
		r.Kind == events.KindClient && r.Target == string(s.client.id)
}

// lift takes a revocation back.
func (o *oracle) lift(id events.RevocationID) {
	is := func(other events.RevocationID) bool { return other == id }
	for _, s := range o.sessions {
		s.cutBy = slices.DeleteFunc(s.cutBy, is)
	}
	for _, t := range o.tokens {
		t.cutBy = slices.DeleteFunc(t.cutBy, is)
	}
}
