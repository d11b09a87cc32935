package verify_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// open makes a verifier that follows s and trusts i, and lets it run until the test
// ends or stop is called.
func open(t *testing.T, s *eventstest.Server, i *tokentest.Issuer, more ...verify.Option) (v *verify.Verifier, stop func()) {
	t.Helper()
	v, err := verify.New(append([]verify.Option{
		verify.Feed(s.URL(), s.Credentials(topology.Sidecar)), verify.Realm(string(eventstest.Realm)), verify.Name("library"),
		verify.Trust("issuer=" + string(i.ID()) + ",audience=" + tokentest.Audience + ",jwks=" + string(i.ID())),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), i.Good(t, time.Now(), nil)); err == nil {
		t.Error("a token passes before anything runs")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-ended, v.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return v, stop
}

func becomes(t *testing.T, v *verify.Verifier, token string, want error) {
	t.Helper()
	eventstest.Eventually(t, func(ctx context.Context) error {
		if _, err := v.Verify(ctx, token); !errors.Is(err, want) {
			return errors.Join(errors.New("not yet"), err)
		}
		return nil
	})
}

func end(t *testing.T, s *eventstest.Server, i *tokentest.Issuer, session string) {
	t.Helper()
	s.Announce(t, 1, func(int) events.Revocation {
		return events.Revocation{
			ID: events.RevocationID(uuid.NewString()), Kind: events.KindSession, Issuer: i.ID(), Target: session,
			Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: time.Now().Add(time.Hour).Truncate(time.Second),
		}
	})
}

// A program without a sidecar learns of revocations as sidecars do.
func TestNewFollows(t *testing.T) {
	t.Parallel()
	s, i := eventstest.RunServer(t), tokentest.NewIssuer(t, "")
	v, _ := open(t, s, i)
	one, two := i.Good(t, time.Now(), nil), i.Good(t, time.Now(), tokentest.Object{"sid": "sid-2"})
	becomes(t, v, one, nil)
	if err := v.Ready(); err != nil {
		t.Errorf("it judges, but is not ready: %v", err)
	}
	c, err := v.Verify(t.Context(), two)
	if err != nil || c.Subject != "alice" || c.Session != "sid-2" {
		t.Errorf("%+v, %v", c, err)
	}
	end(t, s, i, "sid-2")
	becomes(t, v, two, verify.ErrRevoked)
	if _, err := v.Verify(t.Context(), one); err != nil {
		t.Errorf("another session: %v", err)
	}
}

// What is kept in a directory answers while nobody can be reached; what was in memory
// begins with nothing, and lets nobody pass.
func TestNewRemembers(t *testing.T) {
	t.Parallel()
	s, i := eventstest.RunServer(t), tokentest.NewIssuer(t, "")
	dir := filepath.Join(t.TempDir(), "data")
	onDisk, stopOnDisk := open(t, s, i, verify.DataDir(dir))
	inMemory, stopInMemory := open(t, s, i)
	one, two := i.Good(t, time.Now(), nil), i.Good(t, time.Now(), tokentest.Object{"sid": "sid-2"})
	end(t, s, i, "sid-2")
	for _, v := range []*verify.Verifier{onDisk, inMemory} {
		becomes(t, v, one, nil)
		becomes(t, v, two, verify.ErrRevoked)
	}
	stopOnDisk()
	stopInMemory()
	s.Stop()
	i.Vanish()

	if onDisk, err := verify.New(verify.DataDir(dir), verify.Feed("nats://127.0.0.1:1", "x"), verify.Realm(string(eventstest.Realm)),
		verify.Trust("issuer="+string(i.ID())+",audience="+tokentest.Audience+",jwks="+string(i.ID()))); err != nil {
		t.Error(err)
	} else {
		if _, err := onDisk.Verify(t.Context(), one); err != nil {
			t.Errorf("on disk: %v", err)
		}
		if _, err := onDisk.Verify(t.Context(), two); !errors.Is(err, verify.ErrRevoked) {
			t.Errorf("on disk, revoked: %v", err)
		}
		if err := onDisk.Close(); err != nil {
			t.Error(err)
		}
	}
	fresh, _ := open(t, s, i)
	if _, err := fresh.Verify(t.Context(), one); !errors.Is(err, verify.ErrStale) || fresh.Ready() == nil {
		t.Errorf("in memory: %v", err)
	}
}

// Every fault is told at once, and nothing is opened.
func TestNewRefuses(t *testing.T) {
	_, err := verify.New(
		verify.Realm("a.b"), verify.RealmRoot("/nowhere"), verify.Trust("issuer=x"), verify.Leeway(time.Hour), verify.StaleAfter(time.Second),
		verify.CacheBytes(-1), verify.MemoryBudget(-1), verify.Log(nil), verify.RequireScopes(`"`), verify.FeedTLS("/nowhere", "", ""),
	)
	if err == nil {
		t.Fatal("it passes")
	}
	for _, fault := range []string{"Feed: needed", "Realm: ", "RealmRoot: ", "Trust: ", "leeway", "stale-after", "CacheBytes -1", "Log, ", "required scope", "/nowhere"} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("%s is not among the faults:\n%v", fault, err)
		}
	}
	const trust = "issuer=https://id.example,audience=https://api.example"
	for name, options := range map[string][]verify.Option{
		"nobody trusted": {},
		"one twice":      {verify.Trust(trust), verify.Trust(trust)},
		"no such name":   {verify.Trust(trust), verify.Name("a b")},
		"budget":         {verify.Trust(trust), verify.MemoryBudget(64 << 20)},
	} {
		if _, err := verify.New(append(options, verify.Feed("nats://127.0.0.1:4222", "x"))...); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
}

// What was put together by hand is another's to run.
func TestAssembledDoesNotRun(t *testing.T) {
	v := verifytest.New(t, gate.DefaultPolicy()).Verifier
	if v.Run(t.Context()) == nil || v.Ready() == nil || v.Close() != nil {
		t.Error("it runs")
	}
}
