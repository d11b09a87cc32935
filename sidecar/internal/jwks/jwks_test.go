package jwks_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/jwks"
)

type object = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func ecJWK(t testing.TB, kid string) object {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return object{"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:])}
}

func edJWK(t testing.TB, kid string) object {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return object{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(public)}
}

func rsaJWK(kid string, n *big.Int, e int64) object {
	return object{"kty": "RSA", "kid": kid, "n": b64(n.Bytes()), "e": b64(big.NewInt(e).Bytes())}
}

func rsaModulus(t testing.TB) *big.Int {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key.N
}

func with(o object, more object) object {
	all := maps.Clone(o)
	maps.Copy(all, more)
	return all
}

func setOf(t testing.TB, keys ...object) string {
	t.Helper()
	if keys == nil {
		keys = []object{}
	}
	b, err := json.Marshal(object{"keys": keys, "unknown": object{"member": 1}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// site is a real issuer's web site on loopback whose answers can be changed.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]func(http.ResponseWriter, *http.Request)
	hits  atomic.Int64
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{pages: map[string]func(http.ResponseWriter, *http.Request){}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.mu.Lock()
		page := s.pages[r.URL.Path]
		s.mu.Unlock()
		if page == nil {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) serve(path string, page func(http.ResponseWriter, *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = page
}

func (s *site) text(path, text string) {
	s.serve(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

// quick keeps the tests short: the throttle stays long unless a test says so,
// so that a look-up that should not wait fails the test instead of passing late.
func quick(cfg jwks.Config) jwks.Config {
	if cfg.Throttle == 0 {
		cfg.Throttle = time.Nanosecond
	}
	if cfg.Wait == 0 {
		cfg.Wait = 10 * time.Second
	}
	return cfg
}

func newMetrics(t testing.TB) (*jwks.Metrics, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m, err := jwks.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	return m, reg
}

// start makes a set and runs it until the test ends.
func start(t testing.TB, cfg jwks.Config) *jwks.Set {
	t.Helper()
	m, _ := newMetrics(t)
	s, err := jwks.New(quick(cfg), jwks.Deps{Log: zap.NewNop(), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *jwks.Set) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// mustFind polls, as answer does.
func mustFind(t testing.TB, s *jwks.Set, id events.KeyID) (k *jwks.Key) {
	t.Helper()
	eventually(t, "finding key "+string(id), func() (ok bool) {
		var err error
		k, err = s.Find(context.Background(), id)
		return err == nil
	})
	return k
}

// answer waits until looking for id gives want: an attempt may be under way that
// read the site before the test changed it.
func answer(t testing.TB, s *jwks.Set, id events.KeyID, want error) {
	t.Helper()
	eventually(t, "key "+string(id)+": "+want.Error(), func() bool {
		_, err := s.Find(context.Background(), id)
		return errors.Is(err, want)
	})
}

// eventually polls, because what it waits for happens in another goroutine.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
