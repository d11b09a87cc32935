package jwks_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/jwks"
)

func TestDiscovery(t *testing.T) {
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	for name, c := range map[string]struct {
		path  string // of the issuer
		page  string
		meta  func(site string) object
		found bool
	}{
		"RFC 8414":            {"", oauth, func(s string) object { return object{"issuer": s, "jwks_uri": s + "/jwks"} }, true},
		"RFC 8414, tenant":    {"/t/1", oauth + "/t/1", func(s string) object { return object{"issuer": s + "/t/1", "jwks_uri": s + "/jwks"} }, true},
		"RFC 8414, slash":     {"/t/", oauth + "/t", func(s string) object { return object{"issuer": s + "/t/", "jwks_uri": s + "/jwks"} }, true},
		"OpenID":              {"", openid, func(s string) object { return object{"issuer": s, "jwks_uri": s + "/jwks"} }, true},
		"OpenID, tenant":      {"/t/1", "/t/1" + openid, func(s string) object { return object{"issuer": s + "/t/1", "jwks_uri": s + "/jwks"} }, true},
		"nothing there":       {"", "/elsewhere", func(s string) object { return object{"issuer": s, "jwks_uri": s + "/jwks"} }, false},
		"another issuer":      {"", oauth, func(s string) object { return object{"issuer": s + "/", "jwks_uri": s + "/jwks"} }, false},
		"issuer, other case":  {"/T", oauth + "/T", func(s string) object { return object{"issuer": s + "/t", "jwks_uri": s + "/jwks"} }, false},
		"no issuer":           {"", oauth, func(s string) object { return object{"jwks_uri": s + "/jwks"} }, false},
		"no jwks_uri":         {"", oauth, func(s string) object { return object{"issuer": s} }, false},
		"jwks_uri by http":    {"", oauth, func(s string) object { return object{"issuer": s, "jwks_uri": "http://id.example/jwks"} }, false},
		"jwks_uri to a file":  {"", oauth, func(s string) object { return object{"issuer": s, "jwks_uri": "file:///etc/passwd"} }, false},
		"jwks_uri, no string": {"", oauth, func(s string) object { return object{"issuer": s, "jwks_uri": []string{s + "/jwks"}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(t)
			site.text("/jwks", setOf(t, ecJWK(t, "k")))
			site.text(c.page, jsonOf(t, c.meta(site.URL)))
			s := start(t, jwks.Config{Issuer: events.Issuer(site.URL + c.path)})
			switch _, err := s.Find(t.Context(), "k"); {
			case c.found && err != nil:
				t.Error(err)
			case !c.found && !errors.Is(err, jwks.ErrUnavailable):
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
}

// Every host leads to the site here, so that what must not be followed would be
// found if it were.
func TestRedirects(t *testing.T) {
	site := newSite(t)
	secure := httptest.NewTLSServer(site.Config.Handler)
	t.Cleanup(secure.Close)
	trusting, ok := secure.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the test server's client has another transport")
	}
	trusting.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		to := site.Listener.Addr().String()
		if strings.HasSuffix(address, ":443") || address == secure.Listener.Addr().String() {
			to = secure.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
	text := setOf(t, ecJWK(t, "k"))
	site.text("/jwks", text)
	to := func(address string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, address, http.StatusFound) }
	}
	site.serve("/once", to("/jwks"))
	site.serve("/twice", to("/once"))
	site.serve("/3", to("/twice"))
	site.serve("/4", to("/3"))
	site.serve("/secure", to("https://example.com/jwks"))
	site.serve("/plain", to("http://example.com/jwks"))
	site.serve("/loopback", to(site.URL+"/jwks"))
	site.serve("/up-and-down", to("https://example.com/loopback"))
	site.serve("/credentials", to("https://user:pw@example.com/jwks"))
	site.serve("/created", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(text))
	})
	m, _ := newMetrics(t)
	for address, found := range map[string]bool{
		site.URL + "/jwks":             true,
		site.URL + "/3":                true,
		site.URL + "/4":                false, // too many
		site.URL + "/secure":           true,
		site.URL + "/plain":            false, // not https
		site.URL + "/loopback":         true,
		site.URL + "/up-and-down":      false, // from https down to http, later
		site.URL + "/credentials":      false,
		site.URL + "/created":          false, // not 200
		"https://example.com/jwks":     true,
		"https://example.com/once":     true,
		"https://example.com/plain":    false,
		"https://example.com/loopback": false, // from https down to http
	} {
		s, err := jwks.New(
			quick(jwks.Config{Issuer: "https://id.example", Source: address}),
			jwks.Deps{Log: zap.NewNop(), Metrics: m, Transport: trusting},
		)
		if err != nil {
			t.Fatal(err)
		}
		run(t, s)
		if _, err := s.Find(t.Context(), "k"); (err == nil) != found {
			t.Errorf("%s: %v", address, err)
		}
	}

	// The same rule for where metadata leads.
	for _, c := range []struct {
		issuer, address string
		found           bool
	}{
		{"https://example.com", "https://example.com/jwks", true},
		{"https://example.com", site.URL + "/jwks", false}, // from https down to http
		{site.URL, "https://example.com/jwks", true},
		{site.URL, site.URL + "/jwks", true},
		{site.URL, "http://example.com/jwks", false}, // not https
	} {
		site.text("/.well-known/oauth-authorization-server", jsonOf(t, object{"issuer": c.issuer, "jwks_uri": c.address}))
		s, err := jwks.New(quick(jwks.Config{Issuer: events.Issuer(c.issuer)}), jwks.Deps{Log: zap.NewNop(), Metrics: m, Transport: trusting})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, s)
		if _, err := s.Find(t.Context(), "k"); (err == nil) != c.found {
			t.Errorf("%s leads to %s: %v", c.issuer, c.address, err)
		}
		stop()
	}
}

// A key that is no longer published is withdrawn; one that stays keeps its
// identity; one that comes back is another.
func TestRotation(t *testing.T) {
	site := newSite(t)
	first, second := ecJWK(t, "1"), edJWK(t, "2")
	site.text("/jwks", setOf(t, first))
	s := start(t, jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks"})
	one := mustFind(t, s, "1")

	site.text("/jwks", setOf(t, second, first))
	two := mustFind(t, s, "2")
	if mustFind(t, s, "1") != one || !one.Usable(time.Now()) {
		t.Fatal("a key that stays has become another")
	}
	site.text("/jwks", setOf(t, second))
	eventually(t, "the first key is withdrawn", func() bool {
		answer(t, s, "3", jwks.ErrUnknownKey) // asks for an attempt
		return !one.Usable(time.Now())
	})
	answer(t, s, "1", jwks.ErrUnknownKey)
	if !two.Usable(time.Now()) {
		t.Fatal("the second key is withdrawn too")
	}
	site.text("/jwks", setOf(t, first, with(edJWK(t, "2"), object{"x": first["x"]})))
	if again := mustFind(t, s, "1"); again == one || one.Usable(time.Now()) || two.Usable(time.Now()) {
		t.Error("a withdrawn key lives again, or a kid with other key material is still the old key")
	}
	// An issuer that publishes no key has not said that a token is forged.
	site.text("/jwks", setOf(t))
	answer(t, s, "4", jwks.ErrUnavailable)
}

func TestOfflineStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "jwks")
	site := newSite(t)
	site.text("/jwks", setOf(t, ecJWK(t, "old")))
	cfg := quick(jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks", Dir: dir})
	m, _ := newMetrics(t)
	deps := jwks.Deps{Log: zap.NewNop(), Metrics: m}
	s, err := jwks.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	mustFind(t, s, "old")
	site.text("/jwks", setOf(t, ecJWK(t, "new")))
	mustFind(t, s, "new")
	stop()
	site.Close()

	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("saved: %v, %v", files, err)
	}
	path := filepath.Join(dir, files[0].Name())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// Without Run and without the site, what was last published counts, and only
	// that.
	cfg.Wait = time.Millisecond
	restart := func() *jwks.Set {
		t.Helper()
		s, err := jwks.New(cfg, deps)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s = restart()
	mustFind(t, s, "new")
	if _, err := s.Find(t.Context(), "old"); !errors.Is(err, jwks.ErrUnavailable) {
		t.Errorf("old key: %v, want ErrUnavailable", err)
	}

	other := cfg
	other.Issuer = "https://other.example"
	if s, err := jwks.New(other, deps); err != nil {
		t.Error(err)
	} else if _, err := s.Find(t.Context(), "new"); err == nil {
		t.Error("one issuer's saved keys serve another")
	}

	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"writable by others": func() error { return os.Chmod(path, 0o666) },
		"cut short":          func() error { return os.Truncate(path, int64(len(saved)/2)) },
		"private key in it": func() error {
			return os.WriteFile(path, []byte(strings.ReplaceAll(string(saved), `"kid"`, `"d":"AA","kid"`)), 0o600)
		},
	} {
		if err := errors.Join(os.WriteFile(path, saved, 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		mustFind(t, restart(), "new")
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if k, err := restart().Find(t.Context(), "new"); err == nil {
			t.Errorf("%s: still gives %v", name, k)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(setOf(t, ecJWK(t, "1"))), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, jwks.Config{Issuer: "https://id.example", Source: path})
	mustFind(t, s, "1")
	if err := os.WriteFile(path, []byte(setOf(t, ecJWK(t, "2"))), 0o600); err != nil {
		t.Fatal(err)
	}
	mustFind(t, s, "2")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	answer(t, s, "3", jwks.ErrUnavailable)
	mustFind(t, s, "2")
}

// However many unknown kids come, one fetch answers them, and until the throttle
// lets another through they are answered at once: with 503, not as forgeries, because
// a key may be younger than that fetch (INV-3).
func TestUnknownKidsAreThrottled(t *testing.T) {
	site := newSite(t)
	open := make(chan struct{})
	text := setOf(t, ecJWK(t, "k"))
	site.serve("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		<-open
		_, _ = w.Write([]byte(text))
	})
	s := start(t, jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks", Throttle: time.Hour})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			// Asked before the fetch began, or after.
			if _, err := s.Find(context.Background(), "unknown"); !errors.Is(err, jwks.ErrUnknownKey) && !errors.Is(err, jwks.ErrUnavailable) {
				t.Errorf("got %v, want one of this package's errors", err)
			}
		})
	}
	close(open)
	all.Wait()
	mustFind(t, s, "k")
	for range 1000 {
		answer(t, s, "younger", jwks.ErrUnavailable)
	}
	if n := site.hits.Load(); n != 1 {
		t.Errorf("%d fetches, want one", n)
	}
}

// A kid that was asked for before the set was read, and is not in it, is a stranger's
// from then on, also while the throttle holds.
func TestUnknownKidsStayUnknown(t *testing.T) {
	site := newSite(t)
	site.text("/jwks", setOf(t, ecJWK(t, "k")))
	s := start(t, jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks", Throttle: 200 * time.Millisecond})
	mustFind(t, s, "k")
	eventually(t, "a fetch after the question", func() bool {
		_, err := s.Find(t.Context(), "stranger")
		return errors.Is(err, jwks.ErrUnknownKey)
	})
	for range 100 {
		answer(t, s, "stranger", jwks.ErrUnknownKey)
	}
}

// An issuer that hangs holds no request longer than Wait or its own context, and
// no more requests than the bound.
func TestHangingIssuer(t *testing.T) {
	site := newSite(t)
	hang := make(chan struct{})
	defer close(hang)
	site.serve("/jwks", func(http.ResponseWriter, *http.Request) { <-hang })
	cfg := jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks", Timeout: time.Hour}

	cfg.Wait = time.Millisecond
	if _, err := start(t, cfg).Find(t.Context(), "k"); !errors.Is(err, jwks.ErrUnavailable) {
		t.Errorf("past Wait: %v", err)
	}
	cfg.Wait = time.Hour
	s := start(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var back atomic.Int64
	for range 300 {
		all.Go(func() {
			if _, err := s.Find(ctx, "k"); !errors.Is(err, jwks.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			back.Add(1)
		})
	}
	eventually(t, "those beyond 256 do not wait", func() bool { return back.Load() >= 300-256 })
	cancel()
	all.Wait()
}

func TestFailuresAreRetriedAndCounted(t *testing.T) {
	site := newSite(t)
	m, reg := newMetrics(t)
	s, err := jwks.New(quick(jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks"}), jwks.Deps{Log: zap.NewNop(), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	eventually(t, "three attempts without being asked", func() bool { return site.hits.Load() >= 3 })
	site.text("/jwks", setOf(t, ecJWK(t, "k"), object{"kid": "bad"}))
	eventually(t, "the key", func() bool { _, err := s.Find(t.Context(), "k"); return err == nil })
	want := `
		# HELP revocast_sidecar_jwks_keys Keys in an issuer's set, by state (usable, refused).
		# TYPE revocast_sidecar_jwks_keys gauge
		revocast_sidecar_jwks_keys{issuer="https://id.example",state="refused"} 1
		revocast_sidecar_jwks_keys{issuer="https://id.example",state="usable"} 1
	`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "revocast_sidecar_jwks_keys"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "revocast_sidecar_jwks_refreshes_total"); err != nil || n != 2 {
		t.Errorf("%d series of refreshes (%v), want ok and error", n, err)
	}
}
