package replicas

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

// model is one random history: commands to several replicas on a real broker, beside
// an oracle that says what each must give.
type model struct {
	oracle

	rt       *rapid.T
	ctx      context.Context //nolint:containedctx // the test's
	house    house
	replicas []*issue.Service
	feed     *eventstore.Feed
	// from is where the feed stood when the history began.
	from  uint64
	lifts []events.RevocationID // that can still be lifted
	steps int
}

// Random commands from several replicas on one real broker give what the oracle says,
// and every token that is out is accepted, by issuers and by a sidecar that has seen
// the whole feed, exactly if the oracle says so.
func TestModel(t *testing.T) {
	seed, _ := strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for name, value := range map[string]string{
		"rapid.seed": strconv.FormatUint(seed, 10), "rapid.checks": strconv.Itoa(size(12, 150)),
		"rapid.steps": strconv.Itoa(size(40, 80)), "rapid.nofailfile": "true",
	} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	server := eventstest.RunServer(t)
	h := newHouse(t)
	var replicas []*issue.Service
	for range 3 {
		replicas = append(replicas, h.issuer(t, server.Connect(t, topology.Issuer)))
	}
	feed, err := eventstore.NewFeed(server.Connect(t, topology.Issuer), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	histories, steps := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		histories++
		m := &model{rt: rt, ctx: t.Context(), house: h, replicas: replicas, feed: feed}
		m.begin(histories)
		rt.Repeat(map[string]func(*rapid.T){
			"":      m.check,
			"login": m.login, "login at its limit": m.login, "refresh": m.refresh, "refresh again": m.refresh, "crowd": m.crowd,
			"log out": m.logOut, "revoke a token": m.revokeToken, "revoke": m.revoke, "lift": m.lift,
			"change password": m.changePassword, "change status": m.changeStatus, "change client": m.changeClient,
			"change roles": m.changeRoles, "authenticate": m.authenticate,
		})
		steps += m.steps
	})
	t.Logf("seed %d: %d histories, %d steps", seed, histories, steps)
}

// begin makes users and clients of its own.
func (m *model) begin(history int) {
	hash, err := m.house.hasher.Hash(m.ctx, word)
	m.must(err)
	for n := range 2 {
		u := &oUser{name: fmt.Sprintf("user-%d-%d", history, n), password: word, roles: "[customer]"}
		u.subject, err = m.any().Register(m.ctx, u.name, hash, []string{"customer"})
		m.must(err)
		m.users = append(m.users, u)
	}
	for n, confidential := range []bool{false, true} {
		m.clients = append(m.clients, &oClient{id: events.ClientID(fmt.Sprintf("client-%d-%d", history, n)), confidential: confidential})
	}
	for r, err := range m.feed.Entries(m.ctx, 0, time.Time{}, "") {
		m.must(err)
		m.from = r.Position.Sequence
	}
}

func (m *model) must(err error) {
	m.rt.Helper()
	if err != nil {
		m.rt.Fatal(err)
	}
}

func (m *model) any() *issue.Service { return draw(m, "replica", m.replicas) }

func draw[T any](m *model, what string, from []T) T { return rapid.SampledFrom(from).Draw(m.rt, what) }

func (m *model) chance(what string, percent int) bool {
	return rapid.IntRange(1, 100).Draw(m.rt, what) <= percent
}

func (m *model) session() *oSession {
	if len(m.sessions) == 0 {
		m.rt.Skip("nobody is logged in")
	}
	return draw(m, "session", m.sessions[max(0, len(m.sessions)-6):])
}

func (m *model) token() *oToken {
	if len(m.tokens) == 0 {
		m.rt.Skip("there is no token")
	}
	return draw(m, "token", m.tokens[max(0, len(m.tokens)-8):])
}

func (s *oSession) policy() session.Policy {
	p := policy()
	p.OnSuspicion, p.OnDeviceChange, p.OnNetworkChange = session.Ignore, session.Ignore, session.Ignore
	if p.Grace = 0; s.patient {
		p.Grace = 5 * time.Hour
	}
	return p
}

func (m *model) login(*rapid.T) {
	u, c := draw(m, "user", m.users), draw(m, "client", m.clients)
	s := &oSession{user: u, client: c, patient: m.chance("patient", 50)}
	if !c.confidential && m.chance("secret", 30) {
		s.secret = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%032d", len(m.sessions)))
	}
	password := u.password
	if m.chance("another password", 10) {
		password = "none of theirs"
	}
	p := s.policy()
	if m.chance("limit", 40) {
		p.MaxSessions, p.OnLimit = rapid.IntRange(1, 3).Draw(m.rt, "limit"), session.EvictOldest
	}
	l := login(u.name, password, p)
	l.Client, l.DeviceSecret = c.id, s.secret
	g, err := m.any().Login(m.ctx, l)
	if want := m.oracle.login(u, c, password, p.MaxSessions); want != (err == nil) {
		m.rt.Fatalf("a login of %s at %s: %v, passes %t", u.name, c.id, err, want)
	}
	if err != nil {
		if !errors.Is(err, issue.ErrCredentials) && !errors.Is(err, issue.ErrClientDisabled) {
			m.rt.Fatal(err)
		}
		return
	}
	s.id, s.tokens = g.Session, []string{g.RefreshToken}
	m.sessions = append(m.sessions, s)
	m.issued(s, g)
}

func (m *model) issued(s *oSession, g issue.Grant) {
	c, _, err := m.house.keys.Verify(g.AccessToken, time.Now())
	m.must(err)
	if got := fmt.Sprint(c.Roles); got != s.user.roles || events.SessionID(c.Session) != s.id {
		m.rt.Fatalf("a token of session %s says %s and roles %s, want %s", s.id, c.Session, got, s.user.roles)
	}
	m.tokens = append(m.tokens, &oToken{session: s, text: g.AccessToken, id: c.ID, roles: s.user.roles})
}

func (m *model) refresh(*rapid.T) {
	s := m.session()
	generation := max(0, len(s.tokens)-1-rapid.IntRange(0, 3).Draw(m.rt, "behind")/2)
	r := use(s.tokens[generation], s.policy())
	r.Proof = session.Proof{Client: s.client.id, Authenticated: s.client.confidential, DeviceSecret: s.secret}
	proved := true
	if m.chance("another client", 5) {
		r.Proof.Client, proved = "another", false
	} else if s.secret != "" && m.chance("no secret", 10) {
		r.Proof.DeviceSecret, proved = "", false
	}
	g, err := m.any().Refresh(m.ctx, r)
	m.gave(s, generation, m.oracle.refresh(s, generation, proved), g, err)
}

// gave holds what a refresh gave against what it must give.
func (m *model) gave(s *oSession, generation int, want outcome, g issue.Grant, err error) {
	m.rt.Helper()
	got := refused
	switch {
	case err == nil && g.Replayed:
		got = replays
	case err == nil:
		got = rotates
	case errors.Is(err, issue.ErrSlowDown):
		got = tooFast
	case errors.Is(err, session.ErrReuse):
		got = reused
	case !errors.Is(err, issue.ErrGrant):
		m.rt.Fatal(err)
	}
	if got != want {
		m.rt.Fatalf("generation %d of %d of session %s gave %s, want %s (%v)", generation, len(s.tokens)-1, s.id, got, want, err)
	}
	if err != nil {
		return
	}
	if want == rotates {
		s.tokens = append(s.tokens, g.RefreshToken)
	}
	if g.RefreshToken != s.tokens[generation+1] { // INV-4
		m.rt.Fatalf("generation %d of session %s has two successors", generation, s.id)
	}
	m.issued(s, g)
}

// crowd lets several use one token at the same moment, on all replicas.
func (m *model) crowd(*rapid.T) {
	s := m.session()
	generation := len(s.tokens) - 1
	if !s.patient || generation > rotation {
		m.rt.Skip("only those with a grace window")
	}
	r := use(s.tokens[generation], s.policy())
	r.Proof = session.Proof{Client: s.client.id, Authenticated: s.client.confidential, DeviceSecret: s.secret}
	grants, errs := make([]issue.Grant, 6), make([]error, 6)
	var group sync.WaitGroup
	for i := range grants {
		group.Go(func() { grants[i], errs[i] = m.replicas[i%len(m.replicas)].Refresh(m.ctx, r) })
	}
	group.Wait()
	rotated := 0
	for i, g := range grants {
		if errs[i] == nil && !g.Replayed {
			rotated++
			m.gave(s, generation, m.oracle.refresh(s, generation, true), g, nil)
		}
	}
	if alive := s.alive(); alive != (rotated == 1) {
		m.rt.Fatalf("of a crowd, %d rotated session %s, which is alive: %t", rotated, s.id, alive)
	}
	for i, g := range grants {
		if errs[i] != nil || g.Replayed {
			m.gave(s, generation, m.oracle.refresh(s, generation, true), g, errs[i])
		}
	}
}

// caller authenticates, which passes exactly if the oracle says so.
func (m *model) caller(t *oToken) (issue.Caller, bool) {
	c, err := m.any().Authenticate(m.ctx, t.text, true)
	if err != nil && !errors.Is(err, issue.ErrToken) {
		m.rt.Fatal(err)
	}
	if (err == nil) != t.accepted() {
		m.rt.Fatalf("INV-9: a token of session %s: %v, accepted %t", t.session.id, err, t.accepted())
	}
	return c, err == nil
}

func (m *model) authenticate(*rapid.T) { m.caller(m.token()) }

func (m *model) logOut(*rapid.T) {
	t, other := m.token(), m.session()
	c, ok := m.caller(t)
	if !ok {
		return
	}
	switch which := draw(m, "which", []string{"here", "there", "others", "all"}); which {
	case "here":
		m.must(m.any().EndOwn(m.ctx, c, c.Session))
		t.session.ended = true
	case "there":
		m.must(m.any().EndOwn(m.ctx, c, other.id))
		other.ended = other.ended || other.user == t.session.user
	case "others":
		m.must(m.any().EndAll(m.ctx, c, true))
		m.endAll(t.session.user, t.session)
	case "all":
		m.must(m.any().EndAll(m.ctx, c, false))
		m.endAll(t.session.user, nil)
	}
}

func (m *model) revokeToken(*rapid.T) {
	t := m.token()
	if m.chance("the refresh token", 40) {
		m.must(m.any().RevokeToken(m.ctx, t.session.tokens[len(t.session.tokens)-1], t.session.client.id))
		t.session.ended = true
		return
	}
	m.must(m.any().RevokeToken(m.ctx, t.text, t.session.client.id))
	t.denied = true
}

func (m *model) revoke(*rapid.T) {
	s, t := m.session(), m.token()
	r := issue.Revocation{Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator", Name: "olga"}}
	switch r.Kind = draw(m, "kind", []events.Kind{events.KindToken, events.KindSession, events.KindSubject, events.KindSubject, events.KindClient, events.KindAll}); r.Kind {
	case events.KindToken:
		r.Target = t.id
	case events.KindSession:
		r.Target = string(s.id)
	case events.KindSubject:
		r.Target = string(s.user.subject)
		if m.chance("except", 30) {
			r.Except = s.id
		}
	case events.KindClient:
		r.Target = string(s.client.id)
	}
	if r.Kind.Wide() && m.chance("access tokens only", 40) {
		r.Scope = events.ScopeAccessTokens
	}
	done, err := m.any().Revoke(m.ctx, r)
	m.must(err)
	if r.Kind == events.KindSession {
		s.ended = true
		return
	}
	m.oracle.revoke(done.Revocation)
	m.lifts = append(m.lifts, done.Revocation.ID)
}

func (m *model) lift(*rapid.T) {
	if len(m.lifts) == 0 {
		m.rt.Skip("nothing to lift")
	}
	id := draw(m, "revocation", m.lifts)
	_, err := m.any().Lift(m.ctx, id)
	m.must(err)
	m.oracle.lift(id)
}

func (m *model) changePassword(*rapid.T) {
	u := draw(m, "user", m.users)
	next := fmt.Sprintf("word-%d", m.steps)
	if m.chance("by an operator", 40) {
		_, err := m.any().SetPassword(m.ctx, u.subject, next, events.Initiator{Role: "operator"})
		m.must(err)
		u.password = next
		m.endAll(u, nil)
		return
	}
	t := m.token()
	c, ok := m.caller(t)
	if !ok {
		return
	}
	u = t.session.user
	if m.chance("wrong", 20) {
		if _, err := m.any().ChangePassword(m.ctx, c, "none of theirs", next); !errors.Is(err, issue.ErrCredentials) {
			m.rt.Fatalf("with the wrong password: %v", err)
		}
		return
	}
	_, err := m.any().ChangePassword(m.ctx, c, u.password, next)
	m.must(err)
	u.password = next
	m.endAll(u, t.session)
}

func (m *model) changeStatus(*rapid.T) {
	u := draw(m, "user", m.users)
	if !u.disabled && m.chance("stays", 50) {
		return
	}
	u.disabled = !u.disabled
	_, err := m.any().SetStatus(m.ctx, u.subject, issue.Status{Enabled: !u.disabled, By: events.Initiator{Role: "operator"}})
	m.must(err)
	if u.disabled {
		m.endAll(u, nil)
	}
}

func (m *model) changeClient(*rapid.T) {
	c := draw(m, "client", m.clients)
	if !c.disabled && m.chance("stays", 70) {
		return
	}
	c.disabled = !c.disabled
	_, err := m.any().SetClientStatus(m.ctx, c.id, issue.Status{Enabled: !c.disabled, By: events.Initiator{Role: "operator"}})
	m.must(err)
	for _, s := range m.sessions {
		s.ended = s.ended || c.disabled && s.client == c
	}
}

func (m *model) changeRoles(*rapid.T) {
	u := draw(m, "user", m.users)
	role := draw(m, "role", []string{"customer", "clerk"})
	_, err := m.any().SetRoles(m.ctx, u.subject, []string{role}, events.Initiator{Role: "operator"})
	m.must(err)
	if now := fmt.Sprint([]string{role}); now != u.roles {
		u.roles = now
		for _, t := range m.tokens {
			t.denied = t.denied || t.session.user == u
		}
	}
}

// check asks a sidecar that has read the whole feed about every token that is out.
func (m *model) check(*rapid.T) {
	m.steps++
	root := m.house.keys.Root().Public().(ed25519.PublicKey)
	denying, lifted := []events.Revocation{}, map[events.RevocationID]bool{}
	for r, err := range m.feed.Entries(m.ctx, m.from, time.Time{}, "") {
		m.must(err)
		switch e := r.Envelope.Event.(type) {
		case events.Revoked:
			denying = append(denying, e.Revocation)
		case events.Lifted:
			if !codec.VerifyLift(root, realm, e.Lift) {
				m.rt.Fatalf("a lift whose signature does not verify")
			}
			lifted[e.Lift.RevocationID] = true
		}
	}
	for _, t := range m.tokens[max(0, len(m.tokens)-12):] {
		facts := m.facts(t)
		denied := false
		for _, r := range denying {
			denied = denied || !lifted[r.ID] && r.Denies(&facts)
		}
		if denied == t.accepted() {
			m.rt.Fatalf("a token of session %s: a sidecar denies it %t, accepted %t", t.session.id, denied, t.accepted())
		}
	}
}
