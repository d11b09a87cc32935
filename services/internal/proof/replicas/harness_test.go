package replicas

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	realm    = eventstest.Realm
	issuer   = events.Issuer("http://127.0.0.1:8080")
	audience = "https://api.revocast.test"
	client   = events.ClientID("demo-mobile")
	alice    = "alice"
	word     = "wonderland-42"
)

// size is how much of something a test does: few in passing, all with PROOF=full.
func size(few, all int) int {
	if os.Getenv("PROOF") == "full" {
		return all
	}
	return few
}

// house is the keys that issuers share.
type house struct {
	keys   *signing.Keys
	hasher *password.Hasher
}

func newHouse(t *testing.T) house {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: t.TempDir() + "/keys", Issuer: issuer, Audiences: []string{audience}})
	hasher, err2 := password.New(password.Config{Memory: 64, Time: 1, Queue: 1000})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return house{keys, hasher}
}

// issuer is one more replica, on a connection of its own.
func (h house) issuer(t *testing.T, conn *nats.Conn) *issue.Service {
	t.Helper()
	journal, err1 := eventstore.NewJournal(conn, realm.JournalStream())
	feed, err2 := eventstore.NewFeed(conn, realm.FeedStream())
	notes, err3 := eventstore.NewNotes(conn, realm.AuditStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return issue.New(
		issue.Config{Realm: realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{
			Journal: journal, Feed: feed, Notes: notes, Passwords: h.hasher, Keys: h.keys, Keyer: h.keys.Keyer(),
			Root: h.keys, Announced: feed, Survey: journal,
		},
	)
}

func (h house) register(t *testing.T, s *issue.Service, name string) events.Subject {
	t.Helper()
	hash, err := h.hasher.Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := s.Register(t.Context(), name, hash, []string{"customer"})
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func policy() session.Policy {
	return session.Policy{
		AccessTTL: 5 * time.Minute, Grace: 10 * time.Second, IdleLimit: 720 * time.Hour,
		OnReplay: session.ReplaySuccessor, RolesClaim: "roles",
	}
}

func login(name, password string, p session.Policy) issue.Login {
	return issue.Login{Username: name, Password: password, Client: client, Policy: p, Scope: "read write", Audience: []string{audience}}
}

func use(token string, p session.Policy) issue.Refresh {
	return issue.Refresh{Token: token, Policy: p, Proof: session.Proof{Client: client}}
}
