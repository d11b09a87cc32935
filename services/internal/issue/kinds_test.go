package issue_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

// street is people with tokens, by name: of alice's phone two, since it refreshed.
type street struct {
	*clocked

	grants map[string]issue.Grant
	alice  events.Subject
	kid    string
}

var everyone = []string{"phone before", "phone", "laptop", "kiosk", "bob"}

func newStreet(t *testing.T) *street {
	t.Helper()
	r := newRealm(t)
	s := &street{clocked: r.clocked(t), grants: map[string]issue.Grant{}}
	hash, err := hasher(t).Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Register(t.Context(), "bob", hash, nil); err != nil {
		t.Fatal(err)
	}
	s.settle(t)
	return s
}

// settle logs everybody in.
func (s *street) settle(t *testing.T) {
	t.Helper()
	for name, l := range map[string]issue.Login{
		"phone before": {Username: alice, Client: client}, "laptop": {Username: alice, Client: client},
		"kiosk": {Username: alice, Client: "kiosk"}, "bob": {Username: "bob", Client: client},
	} {
		l.Password, l.Policy, l.Audience = word, policy(), []string{audience}
		g, err := s.Login(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		s.grants[name] = g
	}
	var err error
	if s.grants["phone"], err = s.Refresh(t.Context(), use(s.grants["phone before"].RefreshToken)); err != nil {
		t.Fatal(err)
	}
	me, err := s.Authenticate(t.Context(), s.grants["phone"].AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	s.alice, s.kid = me.Subject, partOf(t, s.grants["phone"].AccessToken, 0, "kid")
}

// denied lists whose token is refused, and over whose session is over.
func (s *street) denied(t *testing.T) (denied, over []string) {
	t.Helper()
	for _, name := range everyone {
		g := s.grants[name]
		_, err := s.Authenticate(t.Context(), g.AccessToken, true)
		if errors.Is(err, issue.ErrToken) {
			denied = append(denied, name)
		} else if err != nil {
			t.Fatal(err)
		}
		if name == "phone before" {
			continue // of the same session as phone
		}
		u := use(g.RefreshToken)
		if name == "kiosk" {
			u.Proof.Client = "kiosk"
		}
		next, err := s.Refresh(t.Context(), u)
		switch {
		case errors.Is(err, session.ErrOver):
			over = append(over, name)
		case err != nil:
			t.Fatalf("%s: %v", name, err)
		default:
			g.RefreshToken = next.RefreshToken
			s.grants[name] = g
		}
	}
	return denied, over
}

// R21, R27: each kind denies what it names, and nothing else, whatever its scope and
// exception; those who come later pass; and another issuer's tokens are another's.
func TestEveryKindDeniesWhatItNames(t *testing.T) {
	all := everyone
	alices := []string{"phone before", "phone", "laptop", "kiosk"}
	sessions := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "phone before" })
	}
	for name, c := range map[string]struct {
		r      func(s *street) issue.Revocation
		denied []string
		over   []string
		// forever: who comes later is denied too.
		forever bool
	}{
		"token": {
			r: func(s *street) issue.Revocation {
				return issue.Revocation{Kind: events.KindToken, Target: jtiOf(t, s.grants["phone"].AccessToken)}
			},
			denied: []string{"phone"},
		},
		"session": {
			r: func(s *street) issue.Revocation {
				return issue.Revocation{Kind: events.KindSession, Target: string(s.grants["phone"].Session)}
			},
			denied: []string{"phone before", "phone"}, over: []string{"phone"},
		},
		"subject": {
			r: func(s *street) issue.Revocation {
				return issue.Revocation{Kind: events.KindSubject, Target: string(s.alice)}
			},
			denied: alices, over: sessions(alices),
		},
		"subject, but one": {
			r: func(s *street) issue.Revocation {
				return issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Except: s.grants["phone"].Session}
			},
			denied: []string{"laptop", "kiosk"}, over: []string{"laptop", "kiosk"},
		},
		"subject, access tokens": {
			r: func(s *street) issue.Revocation {
				return issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Scope: events.ScopeAccessTokens}
			},
			denied: alices,
		},
		"subject, access tokens, but one": {
			r: func(s *street) issue.Revocation {
				return issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Scope: events.ScopeAccessTokens, Except: s.grants["phone"].Session}
			},
			denied: []string{"laptop", "kiosk"},
		},
		"client": {
			r:      func(*street) issue.Revocation { return issue.Revocation{Kind: events.KindClient, Target: "kiosk"} },
			denied: []string{"kiosk"}, over: []string{"kiosk"},
		},
		"client, access tokens": {
			r: func(*street) issue.Revocation {
				return issue.Revocation{Kind: events.KindClient, Target: "kiosk", Scope: events.ScopeAccessTokens}
			},
			denied: []string{"kiosk"},
		},
		"key": {
			r:      func(s *street) issue.Revocation { return issue.Revocation{Kind: events.KindKey, Target: s.kid} },
			denied: all, forever: true,
		},
		"all": {
			r:      func(*street) issue.Revocation { return issue.Revocation{Kind: events.KindAll} },
			denied: all, over: sessions(all),
		},
		"all, access tokens": {
			r: func(*street) issue.Revocation {
				return issue.Revocation{Kind: events.KindAll, Scope: events.ScopeAccessTokens}
			},
			denied: all,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStreet(t)
			r := c.r(s)
			r.Reason, r.By = "test", operator

			elsewhere := r
			elsewhere.Issuer = foreign
			if _, err := s.Revoke(t.Context(), elsewhere); err != nil {
				t.Fatal(err)
			}
			if denied, over := s.denied(t); denied != nil || over != nil {
				t.Errorf("another issuer's: denies %v and ends %v", denied, over)
			}
			done, err := s.Revoke(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if denied, over := s.denied(t); !slices.Equal(denied, c.denied) || !slices.Equal(over, c.over) {
				t.Errorf("denies %v and ends %v; want %v and %v", denied, over, c.denied, c.over)
			}
			late := login(t, s.Service)
			if _, err := s.Authenticate(t.Context(), late.AccessToken, true); (err != nil) != c.forever {
				t.Errorf("who logs in later: %v", err)
			}

			// And back, but for a session.
			err = s.lift(t, done.Revocation.ID)
			if r.Kind == events.KindSession {
				if !errors.Is(err, issue.ErrEnded) {
					t.Errorf("lifting the end of a session: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if denied, over := s.denied(t); denied != nil || over != nil {
				t.Errorf("lifted, it denies %v and ends %v", denied, over)
			}
			if err := s.lift(t, done.Revocation.ID); err != nil {
				t.Errorf("lifting it again: %v", err)
			}
			// Nothing that was on its way brings it back.
			if err := s.Record(t.Context(), done.Revocation); err != nil {
				t.Error(err)
			}
			if denied, over := s.denied(t); denied != nil || over != nil {
				t.Errorf("redelivered, it denies %v and ends %v", denied, over)
			}
		})
	}
}

func (s *street) lift(t *testing.T, id events.RevocationID) error {
	t.Helper()
	_, err := s.Lift(t.Context(), id)
	return err
}

// INV-5: lifting one revocation brings back nothing that another has ended, whichever
// came first and however much of the other's work it would have done.
func TestALiftIsOfOneRevocation(t *testing.T) {
	s := newStreet(t)
	me, err := s.Authenticate(t.Context(), s.grants["phone"].AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndAll(t.Context(), me, false); err != nil { // she logs out everywhere
		t.Fatal(err)
	}
	by := func(kind events.Kind, target string) events.RevocationID {
		t.Helper()
		done, err := s.Revoke(t.Context(), issue.Revocation{Kind: kind, Target: target, Reason: "test", By: operator})
		if err != nil {
			t.Fatal(err)
		}
		return done.Revocation.ID
	}
	first, second := by(events.KindSubject, string(s.alice)), by(events.KindSubject, string(s.alice))
	third := by(events.KindAll, "")
	for _, id := range []events.RevocationID{second, third, first} {
		if err := s.lift(t, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, over := s.denied(t); !slices.Equal(over, []string{"phone", "laptop", "kiosk"}) {
		t.Errorf("over are %v", over)
	}
}

// One that was only announced is recorded though a later one denies the same: that may
// be lifted.
func TestALiftUncoversNothing(t *testing.T) {
	s := newStreet(t)
	barrier, err := s.Journal.Append(t.Context(), events.Append{
		Subject: "revocast.test.journal.barrier", Unguarded: true,
		Envelope: events.Envelope{ID: events.EventID(freshID()), At: time.Now(), Event: events.BarrierPassed{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindSubject, Issuer: issuer, Target: string(s.alice), Reason: "test", By: operator,
		Cut: barrier, CutTime: time.Now(), Until: time.Now().Add(time.Minute),
	}
	s.announce(t, n)
	later, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Record(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := s.lift(t, later.Revocation.ID); err != nil {
		t.Fatal(err)
	}
	if _, over := s.denied(t); !slices.Equal(over, []string{"phone", "laptop", "kiosk"}) {
		t.Errorf("over are %v", over)
	}
}

func TestWhatCannotBeLifted(t *testing.T) {
	s := newStreet(t)
	for _, id := range []events.RevocationID{events.RevocationID(freshID()), "9f0c2f0e-55ea-4a7e-9d0c-0d7a3a1c0b11"} {
		if err := s.lift(t, id); !errors.Is(err, issue.ErrNoRevocation) {
			t.Errorf("what nobody revoked: %v", err)
		}
	}
	done, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindToken, Target: "j", Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	s.ahead = time.Hour // the feed still holds it, the broker's clock being what it is
	if err := s.lift(t, done.Revocation.ID); !errors.Is(err, issue.ErrNoRevocation) {
		t.Errorf("what has expired: %v", err)
	}
}

// An issuer that dies while it lifts leaves things denied, and trying again completes
// it. While the journal does not say so, nothing is allowed.
func TestALiftHalfDone(t *testing.T) {
	s := newStreet(t)
	done, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindClient, Target: "kiosk", Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	dead := errors.New("dead")
	s.refuses = func(a events.Append) error {
		if _, ok := a.Envelope.Event.(events.CutsRecorded); ok {
			return dead
		}
		return nil
	}
	if err := s.lift(t, done.Revocation.ID); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 0 {
		t.Errorf("%d lifts are announced that are not recorded", n)
	}
	if _, over := s.denied(t); !slices.Equal(over, []string{"kiosk"}) {
		t.Errorf("over are %v", over)
	}
	s.refuses = nil
	s.publishes = func() error { return dead }
	if err := s.lift(t, done.Revocation.ID); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	s.publishes = nil
	if err := s.Record(t.Context(), done.Revocation); err != nil {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 0 {
		t.Errorf("%d lifts are announced", n)
	}
	if err := s.lift(t, done.Revocation.ID); err != nil {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 1 {
		t.Errorf("%d lifts are announced, want 1", n)
	}
	if _, over := s.denied(t); over != nil {
		t.Errorf("over are %v", over)
	}
}

func (s *street) lifts(t *testing.T) (n int) {
	t.Helper()
	for r, err := range s.Feed.Entries(t.Context(), 0, time.Time{}, "revocast.test.feed.lift.*") {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Envelope.Event.(events.Lifted); ok {
			n++
		}
	}
	return n
}

// announce publishes past every issuer, as an operator does.
func (s *street) announce(t *testing.T, r events.Revocation) {
	t.Helper()
	r.Issuer, r.Reason, r.By = issuer, "stolen", events.Initiator{Role: "operator", Name: "nats"}
	e := events.Envelope{ID: events.EventID(freshID()), At: time.Now(), Event: events.Revoked{Revocation: r}}
	if _, err := s.Feed.Publish(t.Context(), place(r), e, time.Hour); err != nil {
		t.Fatal(err)
	}
}

func place(r events.Revocation) string {
	return fmt.Sprintf("revocast.test.feed.%s.0", r.Kind)
}

// An operator's entry has no cut and denies every login. It is given one, under an id
// of its own, and then lifted; lifting either lifts both.
func TestAnEntryWithoutACutIsRefined(t *testing.T) {
	for _, lift := range []string{"the operator's", "the refined one", "before anyone has refined it"} {
		t.Run(lift, func(t *testing.T) {
			t.Parallel()
			s := newStreet(t)
			whole := events.Revocation{
				ID: events.RevocationID(freshID()), Kind: events.KindSubject, Issuer: issuer, Target: string(s.alice), Reason: "stolen",
				By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
			}
			s.announce(t, whole)
			if lift == "before anyone has refined it" {
				if err := s.lift(t, whole.ID); err != nil {
					t.Fatal(err)
				}
				if err := s.Record(t.Context(), whole); err != nil {
					t.Fatal(err)
				}
				if denied, over := s.denied(t); denied != nil || over != nil {
					t.Errorf("denies %v and ends %v", denied, over)
				}
				return
			}
			for range 2 {
				if err := s.Record(t.Context(), whole); err != nil {
					t.Fatal(err)
				}
			}
			page, err := s.Revocations(t.Context(), issue.Query{Limit: 10})
			if err != nil || len(page.Revocations) != 2 {
				t.Fatalf("%+v, %v", page, err)
			}
			refined := page.Revocations[1]
			if !page.Revocations[0].Lifted || refined.Lifted || refined.Cut.IsZero() || refined.Until.Before(whole.Until.Truncate(time.Second)) {
				t.Errorf("%+v", page.Revocations)
			}
			if _, over := s.denied(t); !slices.Equal(over, []string{"phone", "laptop", "kiosk"}) {
				t.Errorf("over are %v", over)
			}
			if _, err := s.Authenticate(t.Context(), login(t, s.Service).AccessToken, true); err != nil {
				t.Errorf("who logs in later: %v", err)
			}
			id := whole.ID
			if lift == "the refined one" {
				id = refined.ID
			}
			if err := s.lift(t, id); err != nil {
				t.Fatal(err)
			}
			if err := s.Record(t.Context(), whole); err != nil {
				t.Fatal(err)
			}
			if denied, over := s.denied(t); denied != nil || over != nil {
				t.Errorf("lifted, it denies %v and ends %v", denied, over)
			}
			page, err = s.Revocations(t.Context(), issue.Query{Limit: 10})
			if err != nil || len(page.Revocations) != 2 || !page.Revocations[0].Lifted || !page.Revocations[1].Lifted {
				t.Errorf("%+v, %v", page, err)
			}
		})
	}
}

// A crash while an entry is refined leaves it denying, and is completed.
func TestRefiningHalfDone(t *testing.T) {
	s := newStreet(t)
	whole := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindAll, Issuer: issuer, Reason: "stolen",
		By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
	}
	s.announce(t, whole)
	dead := errors.New("dead")
	published := 0
	s.publishes = func() error {
		if published++; published == 2 { // the lift
			return dead
		}
		return nil
	}
	if err := s.Record(t.Context(), whole); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 0 {
		t.Errorf("%d lifts", n)
	}
	if err := s.Record(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 1 || published != 3 {
		t.Errorf("%d lifts, %d announcements", n, published)
	}
}

// A session that an operator denied past every issuer lives on if that is lifted
// before it is recorded.
func TestLiftingASessionsEntryInTime(t *testing.T) {
	s := newStreet(t)
	n := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindSession, Issuer: issuer, Target: string(s.grants["bob"].Session), Reason: "stolen",
		By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
	}
	s.announce(t, n)
	if err := s.lift(t, n.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Record(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if denied, over := s.denied(t); denied != nil || over != nil {
		t.Errorf("denies %v and ends %v", denied, over)
	}
}

func jtiOf(t *testing.T, token string) string { return partOf(t, token, 1, "jti") }

// partOf reads one member of a token's header or claims.
func partOf(t *testing.T, token string, part int, name string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v[name].(string)
}
