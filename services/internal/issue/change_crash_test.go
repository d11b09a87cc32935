package issue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// mortal is an issuer's broker until its writes run out: then the process is as good
// as dead.
type mortal struct {
	*eventstore.Journal
	*eventstore.Feed

	left atomic.Int64
}

func (m *mortal) write() error {
	if m.left.Add(-1) < 0 {
		return fmt.Errorf("%w: dead", events.ErrUnavailable)
	}
	return nil
}

func (m *mortal) Append(ctx context.Context, a events.Append) (events.Position, error) {
	if err := m.write(); err != nil {
		return events.Position{}, err
	}
	return m.Journal.Append(ctx, a)
}

func (m *mortal) Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error) {
	if err := m.write(); err != nil {
		return 0, err
	}
	return m.Feed.Publish(ctx, subject, e, ttl)
}

// mortalIssuer is one more replica; [mortal.left] is how many writes it has, and ahead
// by how much its clock is fast.
func (r *realm) mortalIssuer(t *testing.T, ahead time.Duration) (*issue.Service, *mortal) {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	conn := r.server.Connect(t, topology.Issuer)
	journal, err2 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err3 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	notes, err4 := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	m := &mortal{Journal: journal, Feed: feed}
	m.left.Store(math.MaxInt64)
	now := func() time.Time { return time.Now().Add(ahead) }
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: m, Feed: m, Notes: notes, Now: now, Passwords: hasher(t), Keys: keys, Keyer: keys.Keyer(), Root: keys}), m
}

// victim is a user with two sessions, each of its own client.
type victim struct {
	sub         events.Subject
	name        string
	client      events.ClientID
	mine, other issue.Grant
}

// A change is made by an issuer that dies before its n-th write, for every n, and
// somebody else goes on: by trying again, or as the finisher does. Whatever was
// changed is then enforced everywhere, and where nothing was changed, issuers and
// sidecars agree.
func TestChangesSurviveADeathAnywhere(t *testing.T) {
	r := newRealm(t)
	f, healthy := r.fleet(t), r.issuer(t)
	dying, m := r.mortalIssuer(t, 0)
	changes := map[string]struct {
		change func(t *testing.T, s *issue.Service, v victim) error
		// made tells whether it was, check wants what follows from it.
		made  func(t *testing.T, v victim) bool
		check func(t *testing.T, v victim)
	}{
		"disable a user": {
			change: func(t *testing.T, s *issue.Service, v victim) error {
				_, err := s.SetStatus(t.Context(), v.sub, issue.Status{By: olga})
				return err
			},
			made: func(t *testing.T, v victim) bool { return userOf(t, healthy, v).Disabled },
			check: func(t *testing.T, v victim) {
				f.over(t, healthy, v.mine)
				f.over(t, healthy, v.other)
			},
		},
		"disable a client": {
			change: func(t *testing.T, s *issue.Service, v victim) error {
				_, err := s.SetClientStatus(t.Context(), v.client, issue.Status{By: olga})
				return err
			},
			made: func(t *testing.T, v victim) bool {
				all, err := healthy.ClientChanges(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return all[v.client].Disabled
			},
			check: func(t *testing.T, v victim) {
				f.over(t, healthy, v.mine)
				// Not even if it is enabled again at once.
				if _, err := healthy.SetClientStatus(t.Context(), v.client, issue.Status{Enabled: true, By: olga}); err != nil {
					t.Fatal(err)
				}
				f.over(t, healthy, v.mine)
			},
		},
		"change roles": {
			change: func(t *testing.T, s *issue.Service, v victim) error {
				_, err := s.SetRoles(t.Context(), v.sub, []string{"editor"}, olga)
				return err
			},
			made: func(t *testing.T, v victim) bool {
				return slices.Equal(userOf(t, healthy, v).Roles, []string{"editor"})
			},
			check: func(t *testing.T, v victim) {
				if _, err := healthy.Authenticate(t.Context(), v.mine.AccessToken, true); !errors.Is(err, issue.ErrToken) || !f.denies(t, v.mine.AccessToken) {
					t.Errorf("a token with old roles holds: %v", err)
				}
				next, err := healthy.Refresh(t.Context(), useOf(t, v.mine))
				if err != nil || !slices.Equal(read(t, next.AccessToken).Roles, []string{"editor"}) || f.denies(t, next.AccessToken) {
					t.Errorf("the next token: %v", err)
				}
			},
		},
		"reset a password": {
			change: func(t *testing.T, s *issue.Service, v victim) error {
				_, err := s.SetPassword(t.Context(), v.sub, "looking-glass", olga)
				return err
			},
			made: func(t *testing.T, v victim) bool { return userOf(t, healthy, v).Version > 1 },
			check: func(t *testing.T, v victim) {
				f.over(t, healthy, v.mine)
				f.over(t, healthy, v.other)
			},
		},
		"change a password": {
			change: func(t *testing.T, s *issue.Service, v victim) error {
				me, err := healthy.Authenticate(t.Context(), v.mine.AccessToken, true)
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.ChangePassword(t.Context(), me, word, "looking-glass")
				if errors.Is(err, issue.ErrCredentials) && s == healthy {
					err = nil // it was changed the first time
				}
				return err
			},
			made: func(t *testing.T, v victim) bool { return userOf(t, healthy, v).Version > 1 },
			check: func(t *testing.T, v victim) {
				f.over(t, healthy, v.other)
				if _, err := healthy.Refresh(t.Context(), useOf(t, v.mine)); err != nil || f.denies(t, v.mine.AccessToken) {
					t.Errorf("the changer's own session: %v", err)
				}
			},
		},
	}
	for name, c := range changes {
		for _, how := range []string{"retry", "finisher"} {
			t.Run(name+", "+how, func(t *testing.T) {
				made := 0
				for n, done := 0, false; !done; n++ {
					if n > 20 {
						t.Fatal("it never gets done")
					}
					v := newVictim(t, healthy, fmt.Sprintf("%s, %s, %d", name, how, n))
					m.left.Store(int64(n))
					err := c.change(t, dying, v)
					done = err == nil
					if how == "retry" {
						if err := c.change(t, healthy, v); err != nil {
							t.Fatalf("trying again after %d writes: %v", n, err)
						}
					} else {
						f.finish(t, healthy, v)
					}
					switch {
					case c.made(t, v):
						made++
						c.check(t, v)
					case how == "retry" || done:
						t.Errorf("after %d writes and a retry it is not done (%v)", n, err)
					default:
						_, refused := healthy.Refresh(t.Context(), useOf(t, v.mine))
						if denied := f.denies(t, v.mine.AccessToken); denied != (refused != nil) {
							t.Errorf("after %d writes sidecars deny: %v, the issuer says %v", n, denied, refused)
						}
					}
					if t.Failed() {
						t.Fatalf("after %d writes", n)
					}
				}
				if made < 2 {
					t.Errorf("the change was made %d times: no death came after it", made)
				}
			})
		}
	}
}

func newVictim(t *testing.T, s *issue.Service, name string) victim {
	t.Helper()
	v := victim{name: name, client: events.ClientID("client of " + name), sub: register(t, s, name, "customer")}
	var err1, err2 error
	v.mine, err1 = signIn(t, s, name, word, v.client)
	v.other, err2 = signIn(t, s, name, word, client)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return v
}

func userOf(t *testing.T, s *issue.Service, v victim) events.User {
	t.Helper()
	u, err := s.User(t.Context(), v.sub)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// finish does for one user what the finisher does for all.
func (f fleet) finish(t *testing.T, s *issue.Service, v victim) {
	t.Helper()
	for _, n := range f.announced(t) {
		if n.Target == string(v.sub) || n.Target == string(v.client) {
			if err := s.Record(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.each(t, eventstest.Realm.JournalStream(), func(change events.Record) {
		if n, ok := events.Entailed(change); ok && (n.Target == string(v.sub) || n.Target == string(v.client)) {
			if err := s.Complete(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
	}, eventstest.Realm.Users(), eventstest.Realm.Clients())
}

// Every issuer dies right after somebody was disabled, and none is there for so long
// that the announcement would be of no use any more. Enabled again then, the old
// sessions stay over.
func TestDisablingOutlastsWhatItEntails(t *testing.T) {
	r := newRealm(t)
	dying, m := r.mortalIssuer(t, 0)
	later, _ := r.mortalIssuer(t, time.Hour)
	status := map[string]func(s *issue.Service, v victim, enabled bool) error{
		"a user": func(s *issue.Service, v victim, enabled bool) error {
			_, err := s.SetStatus(t.Context(), v.sub, issue.Status{Enabled: enabled, By: olga})
			return err
		},
		"a client": func(s *issue.Service, v victim, enabled bool) error {
			_, err := s.SetClientStatus(t.Context(), v.client, issue.Status{Enabled: enabled, By: olga})
			return err
		},
	}
	for name, set := range status {
		t.Run(name, func(t *testing.T) {
			healthy := r.issuer(t)
			v := newVictim(t, healthy, name)
			// What a change of password spared is not spared by this.
			me, err := healthy.Authenticate(t.Context(), v.mine.AccessToken, true)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := healthy.ChangePassword(t.Context(), me, word, "looking-glass"); err != nil {
				t.Fatal(err)
			}
			m.left.Store(2) // a barrier and the change
			if err := set(dying, v, false); !errors.Is(err, events.ErrUnavailable) {
				t.Fatal(err)
			}
			if _, err := later.Refresh(t.Context(), useOf(t, v.mine)); !errors.Is(err, session.ErrOver) {
				t.Errorf("while disabled: %v", err)
			}
			if err := set(later, v, true); err != nil {
				t.Fatal(err)
			}
			if _, err := later.Refresh(t.Context(), useOf(t, v.mine)); !errors.Is(err, session.ErrOver) {
				t.Errorf("enabled again: %v", err)
			}
		})
	}
}
