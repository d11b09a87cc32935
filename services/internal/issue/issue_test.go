package issue_test

import (
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	issuer   = events.Issuer("http://127.0.0.1:8080")
	audience = "https://api.revocast.test"
	client   = events.ClientID("demo-mobile")
	alice    = "alice"
	word     = "wonderland-42"
)

// realm is one broker with keys and a user, and any number of issuers on it.
type realm struct {
	server *eventstest.Server
	keys   string
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	r := &realm{server: eventstest.RunServer(t), keys: t.TempDir() + "/keys"}
	s := r.issuer(t)
	hash, err := hasher(t).Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Register(t.Context(), alice, hash, []string{"customer"}); err != nil {
		t.Fatal(err)
	}
	return r
}

func hasher(t *testing.T) *password.Hasher {
	t.Helper()
	h, err := password.New(password.Config{Memory: 64, Time: 1, Queue: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// issuer is one more replica, with a connection of its own.
func (r *realm) issuer(t *testing.T) *issue.Service {
	t.Helper()
	keys, err := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	conn := r.server.Connect(t, topology.Issuer)
	journal, err := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	feed, err := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	notes, err := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: journal, Feed: feed, Notes: notes, Passwords: hasher(t), Keys: keys, Keyer: keys.Keyer(), Root: keys, Announced: feed, Survey: journal})
}

func policy() session.Policy {
	return session.Policy{
		AccessTTL: 5 * time.Minute, Grace: 10 * time.Second, IdleLimit: 720 * time.Hour, OnReplay: session.ReplaySuccessor,
		RolesClaim: "roles",
	}
}

func login(t *testing.T, s *issue.Service) issue.Grant {
	t.Helper()
	g, err := s.Login(t.Context(), issue.Login{
		Username: alice, Password: word, Client: client, Policy: policy(), Scope: "orders.read orders.write", Audience: []string{audience},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func use(token string) issue.Refresh {
	return issue.Refresh{Token: token, Policy: policy(), Proof: session.Proof{Client: client}}
}

func TestLoginRefreshRevoke(t *testing.T) {
	r := newRealm(t)
	a, b := r.issuer(t), r.issuer(t)
	first := login(t, a)
	caller, err := b.Authenticate(t.Context(), first.AccessToken, true)
	if err != nil || caller.Session != first.Session || caller.Claims.Roles[0] != "customer" {
		t.Fatalf("%+v, %v", caller, err)
	}
	if caller.Claims.SessionAt == "" || caller.Claims.SessionAt != caller.Claims.MintedAt {
		t.Errorf("ssq %s, tsq %s", caller.Claims.SessionAt, caller.Claims.MintedAt)
	}
	second, err := b.Refresh(t.Context(), use(first.RefreshToken))
	if err != nil || second.Replayed || second.RefreshToken == first.RefreshToken {
		t.Fatalf("%+v, %v", second, err)
	}
	after, err := a.Authenticate(t.Context(), second.AccessToken, false)
	if err != nil || after.Claims.SessionAt != caller.Claims.SessionAt || after.Claims.MintedAt == caller.Claims.MintedAt {
		t.Errorf("after refresh: %+v, %v", after.Claims, err)
	}
	done, err := a.Revoke(t.Context(), issue.Revocation{
		Kind: events.KindSession, Target: string(first.Session), Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"},
	})
	if err != nil || done.FeedSequence == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if until := time.Until(done.Revocation.Until); until < 6*time.Minute {
		t.Errorf("entry lives %s, shorter than a token with leeway", until)
	}
	for _, s := range []*issue.Service{a, b} {
		if _, err := s.Authenticate(t.Context(), second.AccessToken, true); !errors.Is(err, issue.ErrToken) {
			t.Errorf("INV-9: own endpoint took a revoked token: %v", err)
		}
		if _, err := s.Refresh(t.Context(), use(second.RefreshToken)); !errors.Is(err, issue.ErrGrant) {
			t.Errorf("INV-5: refreshed after revocation: %v", err)
		}
	}
	again, err := b.Revoke(t.Context(), issue.Revocation{
		Kind: events.KindSession, Target: string(first.Session), Reason: "other", By: events.Initiator{Role: "operator"},
	})
	if err != nil || again.Revocation.ID != done.Revocation.ID {
		t.Errorf("revoking twice: %+v, %v", again, err)
	}
}

// INV-4: however many ask at once, on whatever replica, there is one successor.
func TestParallelRefreshesHaveOneLineage(t *testing.T) {
	r := newRealm(t)
	replicas := []*issue.Service{r.issuer(t), r.issuer(t)}
	token := login(t, replicas[0]).RefreshToken
	for round := range 3 {
		const callers = 50
		var rotated atomic.Int32
		var mu sync.Mutex
		successors := map[string]int{}
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				g, err := replicas[i%2].Refresh(t.Context(), use(token))
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				if !g.Replayed {
					rotated.Add(1)
				}
				if _, err := replicas[(i+1)%2].Authenticate(t.Context(), g.AccessToken, false); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
				mu.Lock()
				defer mu.Unlock()
				successors[g.RefreshToken]++
			})
		}
		group.Wait()
		if rotated.Load() != 1 || len(successors) != 1 {
			t.Fatalf("round %d: %d rotations, %d successors; want 1 and 1", round, rotated.Load(), len(successors))
		}
		for next := range successors {
			token = next
		}
	}
}

func TestReuseEndsTheSession(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	first := login(t, s)
	impatient := use(first.RefreshToken)
	impatient.Policy.Grace = 0
	second, err := s.Refresh(t.Context(), impatient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(t.Context(), impatient); !errors.Is(err, session.ErrReuse) || !errors.Is(err, issue.ErrGrant) {
		t.Fatalf("reuse gave %v", err)
	}
	if _, err := s.Refresh(t.Context(), use(second.RefreshToken)); !errors.Is(err, session.ErrOver) {
		t.Errorf("the successor still works: %v", err)
	}
	if _, err := s.Authenticate(t.Context(), second.AccessToken, true); !errors.Is(err, issue.ErrToken) {
		t.Errorf("the access token still works: %v", err)
	}
}

func TestDeviceSecretIsNeededAlways(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	secret := base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	g, err := s.Login(t.Context(), issue.Login{
		Username: alice, Password: word, Client: client, Policy: policy(), Audience: []string{audience}, DeviceSecret: secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	with := func(token, secret string) issue.Refresh {
		u := use(token)
		u.Proof.DeviceSecret = secret
		return u
	}
	next, err := s.Refresh(t.Context(), with(g.RefreshToken, secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{g.RefreshToken, next.RefreshToken} {
		for _, wrong := range []string{"", "x", secret + "A"} {
			if got, err := s.Refresh(t.Context(), with(token, wrong)); !errors.Is(err, session.ErrProof) || got.RefreshToken != "" {
				t.Errorf("without the secret: %+v, %v", got, err)
			}
		}
	}
	// The thief's tries have cost the owner nothing, and a lost answer comes again.
	late := with(g.RefreshToken, secret)
	late.Policy.Grace = 0
	again, err := s.Refresh(t.Context(), late)
	if err != nil || !again.Replayed || again.RefreshToken != next.RefreshToken {
		t.Errorf("lost answer: %+v, %v", again, err)
	}
}

func TestNoiseChangesNothing(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	g := login(t, s)
	damaged := []byte(g.RefreshToken)
	damaged[len(damaged)-3] ^= 1
	for _, token := range []string{"", "x", "a.b.c", string(damaged), g.AccessToken} {
		if _, err := s.Refresh(t.Context(), use(token)); !errors.Is(err, issue.ErrGrant) && err == nil {
			t.Errorf("%q: %v", token, err)
		}
	}
	other := use(g.RefreshToken)
	other.Proof.Client = "another"
	if _, err := s.Refresh(t.Context(), other); !errors.Is(err, session.ErrClient) {
		t.Errorf("another client: %v", err)
	}
	if _, err := s.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

func TestScopeNarrowsOneToken(t *testing.T) {
	r := newRealm(t)
	s := r.issuer(t)
	g := login(t, s)
	u := use(g.RefreshToken)
	u.Scope = "orders.read admin"
	if _, err := s.Refresh(t.Context(), u); !errors.Is(err, issue.ErrScope) {
		t.Fatalf("got %v", err)
	}
	u.Scope = "orders.read"
	narrow, err := s.Refresh(t.Context(), u)
	if err != nil || narrow.Scope != "orders.read" {
		t.Fatalf("%+v, %v", narrow, err)
	}
	full, err := s.Refresh(t.Context(), use(narrow.RefreshToken))
	if err != nil || full.Scope != "orders.read orders.write" {
		t.Errorf("%+v, %v", full, err)
	}
}
