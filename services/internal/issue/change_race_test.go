package issue_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/services/internal/issue"
)

// crowd are logins and refreshes that go on while something changes.
type crowd struct {
	mu     sync.Mutex
	grants []issue.Grant
	group  sync.WaitGroup
}

func (c *crowd) keep(g issue.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grants = append(c.grants, g)
}

// gather lets some log in and some refresh, on any of the issuers, until they have
// had enough or are refused.
func gather(t *testing.T, issuers []*issue.Service, username string, by events.ClientID) *crowd {
	t.Helper()
	c := &crowd{}
	for i := range 3 {
		c.group.Go(func() {
			g, err := signIn(t, issuers[i%len(issuers)], username, word, by)
			switch {
			case err == nil:
				c.keep(g)
			case !errors.Is(err, issue.ErrCredentials) && !errors.Is(err, issue.ErrClientDisabled):
				t.Errorf("logging in: %v", err)
			}
		})
	}
	for i := range 2 {
		g, err := signIn(t, issuers[i%len(issuers)], username, word, by)
		if err != nil {
			t.Fatal(err)
		}
		c.keep(g)
		c.group.Go(func() {
			for n := range 8 { // more in a grace window would be refused
				next, err := issuers[(i+n)%len(issuers)].Refresh(t.Context(), useOf(t, g))
				if err != nil {
					if !errors.Is(err, issue.ErrGrant) {
						t.Errorf("refreshing: %v", err)
					}
					return
				}
				superseded := g
				g = next
				c.keep(g)
				if n%3 > 0 { // every time would be suspicious
					continue
				}
				again, err := issuers[n%len(issuers)].Refresh(t.Context(), useOf(t, superseded))
				switch {
				case err == nil:
					c.keep(again)
				case errors.Is(err, events.ErrUnavailable):
					// Its clock is so far behind that the token would live too long.
				case !errors.Is(err, issue.ErrGrant):
					t.Errorf("repeating: %v", err)
				}
			}
		})
	}
	return c
}

// dismiss waits for all of them and gives what they got.
func (c *crowd) dismiss() []issue.Grant {
	c.group.Wait()
	return c.grants
}

// lastOn is where the last message of a subject is.
func (f fleet) lastOn(t *testing.T, subject string) uint64 {
	t.Helper()
	stream, err := f.js.Stream(t.Context(), eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return m.Sequence
}

// apart is three issuers whose clocks disagree.
func (r *realm) apart(t *testing.T) []*issue.Service {
	t.Helper()
	var issuers []*issue.Service
	for _, ahead := range []time.Duration{0, 10 * time.Second, -10 * time.Second} {
		s, _ := r.mortalIssuer(t, ahead)
		issuers = append(issuers, s)
	}
	return issuers
}

const rounds = 100

// However a change interleaves with logins and refreshes on three issuers, whose clocks
// disagree (R23): no session
// from before it gets a token minted after it, none lives on, sidecars deny every
// token they got, and whoever logs in afterwards is fine.
func TestChangesRacingLoginsAndRefreshes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *issue.Service, sub events.Subject, by events.ClientID) error
		// undo lets people in again; ofClient says whose change it is.
		undo     func(s *issue.Service, sub events.Subject, by events.ClientID) error
		ofClient bool
	}{
		"disabling a user": {
			change: func(s *issue.Service, sub events.Subject, _ events.ClientID) error {
				_, err := s.SetStatus(t.Context(), sub, issue.Status{By: olga})
				return err
			},
			undo: func(s *issue.Service, sub events.Subject, _ events.ClientID) error {
				_, err := s.SetStatus(t.Context(), sub, issue.Status{Enabled: true, By: olga})
				return err
			},
		},
		"disabling a client": {
			change: func(s *issue.Service, _ events.Subject, by events.ClientID) error {
				_, err := s.SetClientStatus(t.Context(), by, issue.Status{By: olga})
				return err
			},
			ofClient: true,
			undo: func(s *issue.Service, _ events.Subject, by events.ClientID) error {
				_, err := s.SetClientStatus(t.Context(), by, issue.Status{Enabled: true, By: olga})
				return err
			},
		},
		"resetting a password": {
			change: func(s *issue.Service, sub events.Subject, _ events.ClientID) error {
				_, err := s.SetPassword(t.Context(), sub, "looking-glass", olga)
				return err
			},
			undo: func(s *issue.Service, sub events.Subject, _ events.ClientID) error {
				_, err := s.SetPassword(t.Context(), sub, word, olga)
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRealm(t)
			f := r.fleet(t)
			issuers := r.apart(t)
			key := r.keyer(t)
			var grants []issue.Grant
			for round := range rounds {
				username, by := fmt.Sprintf("user %d", round), events.ClientID(fmt.Sprintf("client %d", round))
				sub := register(t, issuers[0], username)
				crowd := gather(t, issuers, username, by)
				if err := c.change(issuers[round%3], sub, by); err != nil {
					t.Fatal(err)
				}
				place := eventstest.Realm.User(key(events.KindSubject, string(sub)))
				if c.ofClient {
					place = eventstest.Realm.Client(key(events.KindClient, string(by)))
				}
				changed := f.lastOn(t, place)
				got := crowd.dismiss()
				living, err := issuers[1].Sessions(t.Context(), sub)
				if err != nil || len(living) > 0 {
					t.Fatalf("round %d: %d sessions live on, %v", round, len(living), err)
				}
				if err := c.undo(issuers[(round+1)%3], sub, by); err != nil {
					t.Fatal(err)
				}
				for _, g := range got {
					if at := facts(t, g.AccessToken).MintedAt.Sequence; at > changed {
						t.Errorf("round %d: a token minted at %d, after the change at %d", round, at, changed)
					}
					if _, err := issuers[2].Refresh(t.Context(), useOf(t, g)); !errors.Is(err, issue.ErrGrant) {
						t.Errorf("round %d: a session from before refreshes: %v", round, err)
					}
				}
				if _, err := signIn(t, issuers[2], username, word, by); err != nil {
					t.Errorf("round %d: logging in afterwards: %v", round, err)
				}
				grants = append(grants, got...)
			}
			denied := f.announced(t)
			for _, g := range grants {
				says := facts(t, g.AccessToken)
				if !slices.ContainsFunc(denied, func(n events.Revocation) bool { return n.Denies(&says) }) {
					t.Errorf("sidecars let a token pass: %+v", says)
				}
			}
			t.Logf("%d rounds, %d tokens minted meanwhile", rounds, len(grants))
		})
	}
}

// R27, with logins and refreshes going on: every token minted after the change has the
// new roles and passes, every one from before is denied, and no session ends.
func TestRolesChangeRacingLoginsAndRefreshes(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	f := r.fleet(t)
	issuers := r.apart(t)
	key := r.keyer(t)
	type minted struct {
		facts   events.Facts
		changed uint64
	}
	var tokens []minted
	for round := range rounds {
		username := fmt.Sprintf("user %d", round)
		sub := register(t, issuers[0], username, "old")
		crowd := gather(t, issuers, username, client)
		roles := []string{"new"}
		if _, err := issuers[round%3].SetRoles(t.Context(), sub, roles, olga); err != nil {
			t.Fatal(err)
		}
		changed := f.lastOn(t, eventstest.Realm.User(key(events.KindSubject, string(sub))))
		for _, g := range crowd.dismiss() {
			says := facts(t, g.AccessToken)
			if says.MintedAt.Sequence > changed && !slices.Equal(read(t, g.AccessToken).Roles, roles) {
				t.Errorf("round %d: minted %d after the change with roles %v", round, says.MintedAt.Sequence-changed, read(t, g.AccessToken).Roles)
			}
			tokens = append(tokens, minted{says, changed})
		}
		living, err := issuers[1].Sessions(t.Context(), sub)
		if err != nil || len(living) != 5 {
			t.Fatalf("round %d: %d sessions live, %v", round, len(living), err)
		}
	}
	announced := f.announced(t)
	before, after := 0, 0
	for _, m := range tokens {
		late := m.facts.MintedAt.Sequence > m.changed
		denied := slices.ContainsFunc(announced, func(n events.Revocation) bool { return n.Denies(&m.facts) })
		if denied == late {
			t.Errorf("minted at %d, changed at %d, denied: %v", m.facts.MintedAt.Sequence, m.changed, denied)
		}
		if late {
			after++
		} else {
			before++
		}
	}
	t.Logf("%d rounds, %d tokens minted before, %d after", rounds, before, after)
	if before == 0 || after == 0 {
		t.Error("nothing was raced")
	}
}
