package issue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/keeper"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

// keptIssuer is one more replica whose keys follow each other. ahead is how far its
// clock is by which it takes new keys into use.
func (r *realm) keptIssuer(t *testing.T, ahead time.Duration) (*issue.Service, *keeper.Keeper) {
	t.Helper()
	keys, err := signing.Open(signing.Config{
		Dir: r.keys, Issuer: issuer, Audiences: []string{audience}, Now: func() time.Time { return time.Now().Add(ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := r.server.Connect(t, topology.Issuer)
	journal, err1 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err2 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	notes, err3 := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	k, err := keeper.New(keeper.Config{
		Realm: eventstest.Realm, Issuer: issuer,
		AccessTTL: func() time.Duration { return 5 * time.Minute }, IdleLimit: func() time.Duration { return 0 },
	}, keeper.Deps{Journal: journal, Feed: feed, Keys: keys, Log: zap.NewNop(), Metrics: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range eventstest.Realm.LiveOfKeys() {
		if _, err := conn.Subscribe(place, func(m *nats.Msg) { k.Heard(m.Data) }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := k.Start(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }}, issue.Deps{
		Journal: journal, Feed: feed, Notes: notes, Passwords: hasher(t), Keys: k, Keyer: keys.Keyer(),
		Root: keys, Announced: feed, Survey: journal,
	}), k
}

// keyOf is the key id that a refresh token begins with.
func keyOf(token string) events.KeyID {
	id, _, _ := strings.Cut(token, ".")
	return events.KeyID(id)
}

// INV-4: refresh tokens from before a rotation of their keys work on every replica, and
// a replay across it gives the same successor, byte for byte, wherever it is asked for.
func TestRefreshTokensAcrossAKeyRotation(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	// The first takes a new key into use as soon as there is one, the second only when
	// it is time.
	a, keysOfA := r.keptIssuer(t, keyring.Propagation+2*time.Second)
	b, _ := r.keptIssuer(t, 0)
	first := login(t, a)
	second, err := b.Refresh(t.Context(), use(first.RefreshToken))
	if err != nil || keyOf(second.RefreshToken) != keyOf(first.RefreshToken) {
		t.Fatalf("%+v, %v", second, err)
	}
	made, err := keysOfA.Rotate(t.Context(), keeper.Rotation{Use: keyring.UseMAC})
	if err != nil {
		t.Fatal(err)
	}
	third, err := a.Refresh(t.Context(), use(second.RefreshToken))
	if err != nil || keyOf(third.RefreshToken) != made.ID {
		t.Fatalf("a refresh after the rotation gives a token of %s, %v; want %s", keyOf(third.RefreshToken), err, made.ID)
	}
	// Now the last three generations are of two keys.
	for name, s := range map[string]*issue.Service{"a": a, "b": b} {
		for i, replay := range []struct{ token, want string }{
			{first.RefreshToken, second.RefreshToken}, {second.RefreshToken, third.RefreshToken},
		} {
			got, err := s.Refresh(t.Context(), use(replay.token))
			if err != nil || !got.Replayed || got.RefreshToken != replay.want {
				t.Errorf("issuer %s, generation %d again: %v, replayed %v; the same successor: %v", name, i, err, got.Replayed, got.RefreshToken == replay.want)
			}
		}
	}
	// A key that is no longer in use is good for what was made with it: who has it and
	// a copy of the journal makes no current token with it.
	current, err := refresh.Parse(third.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	old, err := keysOfA.RefreshKeyByID(keyOf(first.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	records, err := journal(t, r).Load(t.Context(), events.Position{}, eventstest.Realm.Session(current.Fields().Subject, current.Fields().Session))
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	salt := session.Fold(records).Session.Salt
	forged, err := refresh.Derive(old, eventstest.Realm, salt, current.Fields())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*issue.Service{"a": a, "b": b} {
		if got, err := s.Refresh(t.Context(), use(forged)); !errors.Is(err, issue.ErrForged) || got.AccessToken != "" {
			t.Errorf("issuer %s takes the current generation under the old key: %v", name, err)
		}
	}
	if _, err := a.Refresh(t.Context(), use(third.RefreshToken)); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

func journal(t *testing.T, r *realm) *eventstore.Journal {
	t.Helper()
	j, err := eventstore.NewJournal(r.server.Connect(t, topology.Issuer), eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// Invariant 9, and the other half of revoking a key: old tokens are refused at the
// issuers' own endpoints, and everybody can log in and refresh again.
func TestRevokedSigningKeyAtTheIssuers(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	a, keys := r.keptIssuer(t, 0)
	b, _ := r.keptIssuer(t, 0)
	old := login(t, a)
	list, err := keys.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var stolen events.KeyID
	for _, k := range list {
		if k.Current && k.Use == keyring.UseSign && k.Algorithm == "ES256" {
			stolen = k.ID
		}
	}
	if _, err := b.Revoke(t.Context(), issue.Revocation{
		Kind: events.KindKey, Target: string(stolen), Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"},
	}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*issue.Service{a, b} {
		eventstest.Eventually(t, func(ctx context.Context) error {
			if _, err := s.Authenticate(ctx, old.AccessToken, true); !errors.Is(err, issue.ErrToken) {
				t.Errorf("a token of the stolen key: %v", err)
			}
			g, err := s.Login(ctx, issue.Login{
				Username: alice, Password: word, Client: client, Policy: policy(), Audience: []string{audience},
			})
			if err != nil {
				return err
			}
			_, err = s.Authenticate(ctx, g.AccessToken, true)
			return err
		})
		if s == a {
			next, err := s.Refresh(t.Context(), use(old.RefreshToken))
			if err != nil {
				t.Errorf("sessions outlive their access tokens' key: %v", err)
			}
			if _, err := b.Authenticate(t.Context(), next.AccessToken, true); err != nil {
				t.Error(err)
			}
		}
	}
}
