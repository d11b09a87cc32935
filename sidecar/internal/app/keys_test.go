package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// Issuers that nobody can reach: one of the realm, one that is not.
const (
	unreachable = "http://127.0.0.1:1"
	foreign     = "http://127.0.0.1:2"
)

// issuance is a realm's issuer, as far as a sidecar knows of it.
type issuance struct {
	root ed25519.PrivateKey
	js   jetstream.JetStream
}

func newIssuance(t *testing.T, s *eventstest.Server) *issuance {
	t.Helper()
	_, root, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	return &issuance{root: root, js: js}
}

func (i *issuance) public() ed25519.PublicKey {
	public, _ := i.root.Public().(ed25519.PublicKey)
	return public
}

func (i *issuance) publish(t *testing.T, place string, e events.Event) {
	t.Helper()
	data, err := codec.Encode(events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: time.Now(), Event: e})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.js.PublishMsg(t.Context(), &nats.Msg{Subject: place, Data: data}); err != nil {
		t.Fatal(err)
	}
}

func (i *issuance) announce(t *testing.T, e events.Event) {
	t.Helper()
	i.publish(t, eventstest.Realm.FeedKeys(), e)
}

// newKey makes a signing key and what there is to announce of it, unsigned.
func newKey(t *testing.T, kid string, issuer events.Issuer) (tokentest.Signer, events.Key) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(tokentest.Object{
		"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
		"x": tokentest.Encode(point[1:33]), "y": tokentest.Encode(point[33:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tokentest.Signer{ID: kid, Method: jwt.SigningMethodES256, Key: private}, events.Key{
		ID: events.KeyID(kid), Issuer: issuer, Algorithm: "ES256", JWK: jwk,
		NotBefore: time.Now().Truncate(time.Second), Until: time.Now().Add(time.Hour).Truncate(time.Second),
	}
}

func tokenOf(t *testing.T, s tokentest.Signer, issuer events.Issuer) string {
	t.Helper()
	return signed(t, s, issuer, uuid.NewString())
}

// tokenWith makes one of a session.
func tokenWith(t *testing.T, s tokentest.Signer, session string) string {
	t.Helper()
	return signed(t, s, unreachable, session)
}

func signed(t *testing.T, s tokentest.Signer, issuer events.Issuer, session string) string {
	t.Helper()
	now := time.Now()
	return s.Sign(t, s.Header(), tokentest.Object{
		"iss": issuer, "sub": "alice", "aud": tokentest.Audience, "client_id": "demo", "jti": uuid.NewString(), "sid": session,
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "ssq": "0:41", "tsq": "0:42",
	})
}

// sidecar is one at work.
type running struct {
	*App
	logged *observer.ObservedLogs
	stop   func()
}

// startSidecar waits until it is ready.
func startSidecar(t *testing.T, s *eventstest.Server, root ed25519.PublicKey, dir string, change ...func(*config.Config)) *running {
	t.Helper()
	r := launchSidecar(t, s, root, dir, change...)
	eventstest.Eventually(t, func(context.Context) error { return r.unready() })
	return r
}

func launchSidecar(t *testing.T, s *eventstest.Server, root ed25519.PublicKey, dir string, change ...func(*config.Config)) *running {
	t.Helper()
	var trusts []token.Trust
	for _, rule := range []string{
		"issuer=" + unreachable + ",audience=" + tokentest.Audience,
		"issuer=" + foreign + ",foreign=true,audience=" + tokentest.Audience,
	} {
		trust, err := token.ParseTrust(rule)
		if err != nil {
			t.Fatal(err)
		}
		trusts = append(trusts, trust)
	}
	core, logged := observer.New(zapcore.WarnLevel)
	cfg := config.Config{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", NATSURL: s.URL(), NATSCreds: s.Credentials(topology.Sidecar),
		Realm: string(eventstest.Realm), ID: "keys", DataDir: filepath.Join(dir, "data"), Trusts: trusts, Root: root,
		Leeway: 5 * time.Second, StaleAfter: 30 * time.Second, WhenStale: "allow", StaleLimit: 15 * time.Minute, Enforce: true,
		OriginalHeaders: "x-forwarded", AnswerWithin: 5 * time.Second, MaxInFlight: 100,
	}
	for _, f := range change {
		f(&cfg)
	}
	a, err := New(cfg, "test", zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	r := &running{App: a, logged: logged, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		a.Close()
	}}
	t.Cleanup(r.stop)
	return r
}

// judge asks for the verdict on a token.
func (r *running) judge(t *testing.T, token string) int {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth", http.NoBody)
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	r.auth.ServeHTTP(w, req)
	return w.Code
}

func (r *running) becomes(t *testing.T, token string, want int) {
	t.Helper()
	eventstest.Eventually(t, func(context.Context) error {
		if got := r.judge(t, token); got != want {
			return fmt.Errorf("%d, want %d", got, want)
		}
		return nil
	})
}

// Keys come by the feed, with the root's signature, for the realm's own issuers; and
// no other way, for no others.
func TestKeysFromTheFeed(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	dir := t.TempDir()
	r := startSidecar(t, s, i.public(), dir)

	// What the root has not signed, or not for this, changes nothing and raises an alarm.
	stolen, key := newKey(t, "k-1", unreachable)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	realm := eventstest.Realm
	tampered := codec.SignKey(i.root, realm, key)
	tampered.Until = tampered.Until.Add(time.Hour)
	for _, e := range []events.Event{
		events.KeyAdded{Key: key},
		events.KeyAdded{Key: codec.SignKey(stranger, realm, key)},
		events.KeyAdded{Key: codec.SignKey(i.root, subject.Realm("other"), key)},
		events.KeyAdded{Key: codec.SignRetirement(i.root, realm, key)},
		events.KeyAdded{Key: tampered},
	} {
		i.announce(t, e)
	}
	eventstest.Eventually(t, func(context.Context) error {
		if st := r.syncer.State(); st.Unsigned != 5 {
			return fmt.Errorf("%d forgeries counted", st.Unsigned)
		}
		if r.logged.FilterMessage("feed events would allow and are not signed by the realm's root key").Len() == 0 {
			return errors.New("no alarm in the log")
		}
		return nil
	})
	if got := r.judge(t, tokenOf(t, stolen, unreachable)); got != http.StatusServiceUnavailable {
		t.Errorf("a token of a forged key: %d", got)
	}

	// With its signature a key counts at once, though its issuer cannot be reached.
	good, key := newKey(t, "k-2", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, realm, key)})
	raw := tokenOf(t, good, unreachable)
	r.becomes(t, raw, http.StatusOK)
	if got := r.judge(t, tokenOf(t, good, foreign)); got == http.StatusOK {
		t.Error("one issuer's key is good for another")
	}
	// A foreign issuer's keys are not the realm's to announce.
	alien, key := newKey(t, "k-3", foreign)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, realm, key)})
	another, key := newKey(t, "k-4", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, realm, key)})
	r.becomes(t, tokenOf(t, another, unreachable), http.StatusOK)
	if got := r.judge(t, tokenOf(t, alien, foreign)); got == http.StatusOK {
		t.Error("the realm announces keys of a foreign issuer")
	}
	if st := r.syncer.State(); st.Unsigned != 5 {
		t.Errorf("%d alarms, want 5", st.Unsigned)
	}

	// After a restart, without its issuer or the broker, it is known still.
	r.stop()
	s.Stop()
	r = startSidecar(t, s, i.public(), dir)
	if got := r.judge(t, raw); got != http.StatusOK {
		t.Errorf("after a restart: %d", got)
	}
	s.Start(t)

	// Retired, it counts until its last token is over, whatever the cache holds.
	soon := key
	soon.Until = time.Now().Add(2 * time.Second).Truncate(time.Second)
	i.announce(t, events.KeyRetired{Key: codec.SignRetirement(i.root, realm, soon)})
	eventstest.Eventually(t, func(context.Context) error {
		if got := r.judge(t, tokenOf(t, another, unreachable)); got == http.StatusOK {
			return errors.New("the retired key counts")
		}
		return nil
	})
	if got := r.judge(t, raw); got != http.StatusOK {
		t.Errorf("the other key: %d", got)
	}
}

// A stolen key is denied at once, while every key set still holds it.
func TestRevokedKeyDeniesAtOnce(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	r := startSidecar(t, s, i.public(), t.TempDir())
	stolen, key := newKey(t, "stolen", unreachable)
	other, otherKey := newKey(t, "other", unreachable)
	for _, k := range []events.Key{key, otherKey} {
		i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, k)})
	}
	old, spared := tokenOf(t, stolen, unreachable), tokenOf(t, other, unreachable)
	r.becomes(t, old, http.StatusOK)
	r.becomes(t, spared, http.StatusOK)
	n := events.Revocation{
		ID: events.RevocationID(uuid.NewString()), Kind: events.KindKey, Issuer: unreachable, Target: "stolen",
		Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: time.Now().Add(time.Hour),
	}
	i.publish(t, eventstest.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), events.Revoked{Revocation: n})
	r.becomes(t, old, http.StatusUnauthorized)
	if got := r.judge(t, tokenOf(t, stolen, unreachable)); got != http.StatusUnauthorized {
		t.Errorf("a token that the thief has just made: %d", got)
	}
	if _, err := r.ours[0].Find(t.Context(), "stolen"); err != nil {
		t.Errorf("the key set no longer holds the key, so this shows nothing: %v", err)
	}
	if got := r.judge(t, spared); got != http.StatusOK {
		t.Errorf("a token of another key: %d", got)
	}
	// Announced once more, by whoever repeats it, it stays denied.
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	if got := r.judge(t, old); got != http.StatusUnauthorized {
		t.Errorf("after its announcement was repeated: %d", got)
	}
}

// Without a pinned root nothing is believed that would allow.
func TestNoRootNoKeys(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	r := startSidecar(t, s, nil, t.TempDir())
	signer, key := newKey(t, "k", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	eventstest.Eventually(t, func(context.Context) error {
		if r.syncer.State().Unsigned != 1 {
			return errors.New("not seen yet")
		}
		return nil
	})
	if got := r.judge(t, tokenOf(t, signer, unreachable)); got != http.StatusServiceUnavailable {
		t.Errorf("got %d", got)
	}
}
