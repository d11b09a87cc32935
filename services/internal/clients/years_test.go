package clients_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/memlog"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// feed counts what is announced; nobody follows it here.
type feed struct{ announced uint64 }

// Publish implements [issue.Feed].
func (f *feed) Publish(context.Context, string, events.Envelope, time.Duration) (uint64, error) {
	f.announced++
	return f.announced, nil
}

// service is an issuer on a log in memory, where years pass at once.
func service(t *testing.T, longest func() time.Duration) *issue.Service {
	t.Helper()
	const issuer = "https://id.example"
	keys, err := signing.Open(signing.Config{Dir: filepath.Join(t.TempDir(), "keys"), Issuer: issuer, Audiences: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := password.New(password.Config{Memory: 64, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := issue.New(issue.Config{Realm: subject.Realm("test"), Issuer: issuer, MaxAccessTTL: longest}, issue.Deps{
		Journal: memlog.New(1, 16), Feed: &feed{}, Passwords: hasher, Keys: keys, Keyer: keys.Keyer(), Root: keys,
	})
	hash, err := hasher.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Register(t.Context(), "alice", hash, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// R10: how long somebody stays logged in, from the file to the refresh that is
// refused, with a clock that really goes on for years.
func TestYears(t *testing.T) {
	const week, year = 7 * 24 * time.Hour, 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		limits string
		every  time.Duration // between refreshes
		lasts  time.Duration // at least, and not longer than one refresh more; zero: for ever
	}{
		"five years":           {"refresh_absolute: 5y, refresh_idle: 60d", 4 * week, 5 * year},
		"for ever":             {"refresh_absolute: none, refresh_idle: none", 20 * week, 0},
		"while in use":         {"refresh_absolute: none, refresh_idle: 30d", 4 * week, 0},
		"idle for too long":    {"refresh_absolute: none, refresh_idle: 30d", 5 * week, 30 * 24 * time.Hour},
		"idle, then too old":   {"refresh_absolute: 30d, refresh_idle: 14d", week, 30 * 24 * time.Hour},
		"ten years, by policy": {"refresh_absolute: 10y, refresh_idle: none", 20 * week, 10 * year},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, err := clients.Open(write(t, "clients:\n  - {id: c, type: public, grants: [refresh_token], audiences: [a], "+c.limits+"}\n"), defaults())
				if err != nil {
					t.Fatal(err)
				}
				client, _ := l.Find("c")
				s := service(t, l.MaxAccessTTL)
				g, err := s.Login(t.Context(), issue.Login{
					Username: "alice", Password: "wonderland-42", Client: client.ID, Policy: client.Policy, Audience: client.Audiences,
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				for time.Since(began) < 12*year {
					time.Sleep(c.every) // the bubble's
					next, err := s.Refresh(t.Context(), issue.Refresh{
						Token: g.RefreshToken, Policy: client.Policy, Proof: session.Proof{Client: client.ID},
					})
					age := time.Since(began)
					if c.lasts > 0 && age > c.lasts {
						if !errors.Is(err, issue.ErrGrant) {
							t.Fatalf("after %s: %v", age, err)
						}
						return
					}
					if err != nil {
						t.Fatalf("after %s: %v", age, err)
					}
					g = next
				}
				if c.lasts > 0 {
					t.Fatal("it never ended")
				}
				// And yet revocable.
				caller, err := s.Authenticate(t.Context(), g.AccessToken, true)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.EndOwn(t.Context(), caller, g.Session); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Refresh(t.Context(), issue.Refresh{
					Token: g.RefreshToken, Policy: client.Policy, Proof: session.Proof{Client: client.ID},
				}); !errors.Is(err, session.ErrOver) {
					t.Errorf("after the end: %v", err)
				}
			})
		})
	}
}
