package issue_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

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
