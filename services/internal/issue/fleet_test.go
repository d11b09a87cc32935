package issue_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// signIn logs somebody in by way of a client.
func signIn(t *testing.T, s *issue.Service, username, password string, by events.ClientID) (issue.Grant, error) {
	t.Helper()
	return s.Login(t.Context(), issue.Login{
		Username: username, Password: password, Client: by, Policy: policy(), Scope: "read", Audience: []string{audience},
	})
}

// register makes one more user.
func register(t *testing.T, s *issue.Service, username string, roles ...string) events.Subject {
	t.Helper()
	hash, err := hasher(t).Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := s.Register(t.Context(), username, hash, roles)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// read gives what an access token says. Whether it holds is another question.
func read(t *testing.T, token string) claims.Access {
	t.Helper()
	var c claims.Access
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func facts(t *testing.T, token string) events.Facts {
	t.Helper()
	c := read(t, token)
	began, err1 := events.ParsePosition(c.SessionAt)
	minted, err2 := events.ParsePosition(c.MintedAt)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return events.Facts{
		Issuer: events.Issuer(c.Issuer), Token: events.TokenID(c.ID), Session: events.SessionID(c.Session), Subject: events.Subject(c.Subject),
		Client: events.ClientID(c.ClientID), SessionAt: began, MintedAt: minted, AuthTime: c.AuthTime, IssuedAt: c.IssuedAt,
	}
}

// fleet reads the broker's streams as a sidecar or a finisher does that has caught up.
type fleet struct{ js jetstream.JetStream }

func (r *realm) fleet(t *testing.T) fleet {
	t.Helper()
	js, err := jetstream.New(r.server.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	return fleet{js}
}

// each reads a stream from its beginning to its end as it is now.
func (f fleet) each(t *testing.T, stream string, do func(events.Record), subjects ...string) {
	t.Helper()
	consumer, err := f.js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: subjects})
	if err != nil {
		t.Fatal(err)
	}
	for pending := uint64(1); pending > 0; {
		m, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		e, err := codec.Decode(m.Data())
		if err != nil {
			t.Fatal(err)
		}
		pending = meta.NumPending
		do(events.Record{Subject: m.Subject(), Position: events.Position{Sequence: meta.Sequence.Stream}, Envelope: e})
	}
}

// announced is every revocation on the feed.
func (f fleet) announced(t *testing.T) []events.Revocation {
	t.Helper()
	var list []events.Revocation
	f.each(t, eventstest.Realm.FeedStream(), func(r events.Record) {
		if e, ok := r.Envelope.Event.(events.Revoked); ok {
			list = append(list, e.Revocation)
		}
	}, eventstest.Realm.Feed())
	return list
}

// denies reports whether sidecars reject the token.
func (f fleet) denies(t *testing.T, token string) bool {
	t.Helper()
	says := facts(t, token)
	return slices.ContainsFunc(f.announced(t), func(n events.Revocation) bool { return n.Denies(&says) })
}

// over wants a session to be over for good, for its own tokens and everywhere.
func (f fleet) over(t *testing.T, s *issue.Service, g issue.Grant) {
	t.Helper()
	if _, err := s.Refresh(t.Context(), useOf(t, g)); !errors.Is(err, session.ErrOver) || !errors.Is(err, issue.ErrGrant) {
		t.Errorf("it refreshes: %v", err)
	}
	if _, err := s.Authenticate(t.Context(), g.AccessToken, true); !errors.Is(err, issue.ErrToken) {
		t.Errorf("its access token holds: %v", err)
	}
	if !f.denies(t, g.AccessToken) {
		t.Error("no sidecar was told")
	}
}

// alive wants it to go on everywhere, and gives what it refreshes into.
func (f fleet) alive(t *testing.T, s *issue.Service, g issue.Grant) issue.Grant {
	t.Helper()
	if _, err := s.Authenticate(t.Context(), g.AccessToken, true); err != nil {
		t.Errorf("its access token does not hold: %v", err)
	}
	if f.denies(t, g.AccessToken) {
		t.Error("INV-3: sidecars deny its access token")
	}
	next, err := s.Refresh(t.Context(), useOf(t, g))
	if err != nil {
		t.Fatalf("it does not refresh: %v", err)
	}
	return next
}

// useOf refreshes as the client that the session belongs to.
func useOf(t *testing.T, g issue.Grant) issue.Refresh {
	t.Helper()
	u := use(g.RefreshToken)
	u.Proof.Client = events.ClientID(read(t, g.AccessToken).ClientID)
	return u
}

// issuerWith is one more replica, with a hasher of its own.
func (r *realm) issuerWith(t *testing.T, h *password.Hasher) *issue.Service {
	t.Helper()
	keys, err1 := signing.Open(signing.Config{Dir: r.keys, Issuer: issuer, Audiences: []string{audience}})
	conn := r.server.Connect(t, topology.Issuer)
	journal, err2 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err3 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	notes, err4 := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: journal, Feed: feed, Notes: notes, Passwords: h, Keys: keys, Keyer: keys.Keyer(), Root: keys})
}
