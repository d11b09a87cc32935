package jwks_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/revocast/revocast/sidecar/internal/jwks"
)

// failed is how many attempts have failed so far.
func failed(t testing.TB, reg *prometheus.Registry) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "revocast_sidecar_jwks_refreshes_total" && l.GetValue() == "error" {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// Whatever the address starts to answer, the keys read before go on counting, unknown
// ones are no forgeries, and once it answers well again its new keys count.
func TestHostileAnswers(t *testing.T) {
	const jwksPath = "/jwks"
	set := setOf(t, ecJWK(t, "other"))
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.WriteString(z, set+strings.Repeat(" ", 10<<20))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, set)
		}
	}
	for name, page := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"hangs after the header": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"dribbles": func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
				}
			}
		},
		"ten megabytes": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, set)
			_, _ = w.Write(bytes.Repeat([]byte(" "), 10<<20))
		},
		"ten megabytes, zipped": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, set)
		},
		"hangs up":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"long header":     func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100<<10)) },
		"redirects round": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, jwksPath, http.StatusFound) },
		"leads away": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://id.example/jwks", http.StatusFound)
		},
		"500": status(http.StatusInternalServerError),
		"503": status(http.StatusServiceUnavailable),
		"401": status(http.StatusUnauthorized),
		"404": status(http.StatusNotFound),
		"204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"a login page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!doctype html><title>Log in</title>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(t)
			site.text(jwksPath, setOf(t, ecJWK(t, "k")))
			m, reg := newMetrics(t)
			s, err := jwks.New(
				quick(jwks.Config{Issuer: "https://id.example", Source: site.URL + jwksPath, Timeout: 300 * time.Millisecond}),
				jwks.Deps{Log: zap.NewNop(), Metrics: m},
			)
			if err != nil {
				t.Fatal(err)
			}
			run(t, s)
			k := mustFind(t, s, "k")
			site.serve(jwksPath, page)
			answer(t, s, "other", jwks.ErrUnavailable)
			before := failed(t, reg)
			eventually(t, "two attempts to fail", func() bool {
				_, err := s.Find(t.Context(), "other")
				if !errors.Is(err, jwks.ErrUnavailable) {
					t.Fatalf("another key: %v", err)
				}
				return failed(t, reg) >= before+2
			})
			if mustFind(t, s, "k") != k || !k.Usable(time.Now()) {
				t.Error("the key read before counts no longer")
			}
			site.text(jwksPath, set)
			mustFind(t, s, "other")
		})
	}
}

// A set is a set, whatever it is said to be.
func TestContentTypes(t *testing.T) {
	for _, contentType := range []string{"application/jwk-set+json", "application/json; charset=utf-8", "text/plain", "application/octet-stream", ""} {
		site := newSite(t)
		text := setOf(t, ecJWK(t, "k"))
		site.serve("/jwks", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			_, _ = io.WriteString(w, text)
		})
		mustFind(t, start(t, jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks"}), "k")
	}
}

// A file is read again without being asked; half of one, or none, or what is no file,
// leaves the keys of the last whole one, and the log says so.
func TestFileIsReloaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := setOf(t, ecJWK(t, "1")), setOf(t, ecJWK(t, "2"))
	write(first)
	core, logged := observer.New(zapcore.WarnLevel)
	m, reg := newMetrics(t)
	s, err := jwks.New(jwks.Config{Issuer: "https://id.example", Source: path, Refresh: 2 * time.Millisecond, Throttle: time.Millisecond}, jwks.Deps{Log: zap.New(core), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	one := mustFind(t, s, "1")
	for name, spoil := range map[string]func(){
		"half":      func() { write(second[:len(second)/2]) },
		"empty":     func() { write("") },
		"gone":      func() { _ = os.Remove(path) },
		"directory": func() { _ = errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		spoil()
		before := failed(t, reg)
		eventually(t, name+": two attempts to fail", func() bool { return failed(t, reg) >= before+2 })
		if !one.Usable(time.Now()) {
			t.Fatalf("%s: the last good key counts no longer", name)
		}
		_ = os.Remove(path)
		write(first)
		eventually(t, name+": read again", func() bool {
			_, err := s.Find(t.Context(), "stranger")
			return errors.Is(err, jwks.ErrUnknownKey)
		})
	}
	for _, part := range []string{"keys.json", "not one JSON object", "not a regular file", "those read before go on counting"} {
		if len(logged.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, part) }).All()) == 0 {
			t.Errorf("nothing in the log says %q: %v", part, logged.All())
		}
	}
	if n := logged.Len(); n > 20 {
		t.Errorf("%d lines in the log", n)
	}
	// The withdrawn key, too, counts until the file no longer has it, and nobody asks.
	write(second)
	eventually(t, "the file's change", func() bool { return !one.Usable(time.Now()) })
	mustFind(t, s, "2")
}

// Unless told otherwise a set reads its file every ten seconds, unasked.
func TestFileIsReadOften(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	texts := []string{setOf(t, ecJWK(t, "1")), setOf(t, ecJWK(t, "2"))}
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMetrics(t)
		s, err := jwks.New(jwks.Config{Issuer: "https://id.example", Source: path}, jwks.Deps{Log: zap.NewNop(), Metrics: m})
		if err = errors.Join(err, os.WriteFile(path, []byte(texts[0]), 0o600)); err != nil {
			t.Fatal(err)
		}
		stop := run(t, s)
		one := mustFind(t, s, "1")
		if err := os.WriteFile(path, []byte(texts[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if one.Usable(time.Now()) {
			t.Error("eleven seconds after the change the old key still counts")
		}
		stop()
	})
}

// transport answers without a network, so that time can be a test's own.
type transport func(*http.Request) (string, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// Sets are read at once, and then each at times of its own, near what was asked for;
// one that fails is tried again with growing pauses, and never faster than the
// throttle.
func TestRefreshIsSpread(t *testing.T) {
	good := setOf(t, ecJWK(t, "k"))
	synctest.Test(t, func(t *testing.T) {
		const refresh, throttle = 5 * time.Minute, 5 * time.Second
		began := time.Now()
		follow := func(fails bool) func() []time.Duration {
			var at []time.Duration
			m, _ := newMetrics(t)
			s, err := jwks.New(jwks.Config{Issuer: "https://id.example", Source: "https://id.example/jwks"}, jwks.Deps{
				Log: zap.NewNop(), Metrics: m, Transport: transport(func(*http.Request) (string, error) {
					at = append(at, time.Since(began))
					if fails {
						return "", errors.New("no route")
					}
					return good, nil
				}),
			})
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, s)
			return func() []time.Duration { stop(); return at }
		}
		var sets []func() []time.Duration
		for range 20 {
			sets = append(sets, follow(false))
		}
		failing := follow(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		second := map[time.Duration]bool{}
		for _, times := range sets {
			at := times()
			if at[0] != 0 || len(at) < 10 || len(at) > 14 {
				t.Fatalf("read at %v", at)
			}
			for i := 1; i < len(at); i++ {
				if gap := at[i] - at[i-1]; gap < refresh*9/10 || gap > refresh*11/10 {
					t.Errorf("a pause of %s", gap)
				}
			}
			second[at[1]] = true
		}
		if len(second) < 15 {
			t.Errorf("twenty sets were read at %d different times", len(second))
		}
		at := failing()
		for i := 1; i < len(at); i++ {
			want := min(refresh, throttle<<(i-1))
			if gap := at[i] - at[i-1]; gap < want*9/10 || gap > want*11/10 {
				t.Errorf("after %d failures a pause of %s, want about %s", i, gap, want)
			}
		}
	})
}

// A place for metadata that hangs does not keep the other from being asked.
func TestDiscoveryPastWhatHangs(t *testing.T) {
	good := setOf(t, ecJWK(t, "k"))
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMetrics(t)
		s, err := jwks.New(jwks.Config{Issuer: "https://id.example", Wait: 4 * time.Second}, jwks.Deps{
			Log: zap.NewNop(), Metrics: m, Transport: transport(func(r *http.Request) (string, error) {
				switch r.URL.Path {
				case "/.well-known/openid-configuration":
					return `{"issuer":"https://id.example","jwks_uri":"https://id.example/jwks"}`, nil
				case "/jwks":
					return good, nil
				}
				<-r.Context().Done()
				return "", r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, s)
		if _, err := s.Find(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		stop()
	})
}

// What an address published that the operator no longer names counts no longer, also
// before the new one has answered.
func TestSavedKeysAreOfTheirSource(t *testing.T) {
	dir := t.TempDir()
	site := newSite(t)
	site.text("/old", setOf(t, ecJWK(t, "k")))
	m, _ := newMetrics(t)
	cfg := quick(jwks.Config{Issuer: "https://id.example", Source: site.URL + "/old", Dir: dir})
	restart := func() *jwks.Set {
		t.Helper()
		s, err := jwks.New(cfg, jwks.Deps{Log: zap.NewNop(), Metrics: m})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := restart()
	stop := run(t, s)
	mustFind(t, s, "k")
	stop()
	cfg.Wait = time.Millisecond
	mustFind(t, restart(), "k")
	cfg.Source = site.URL + "/new"
	if _, err := restart().Find(t.Context(), "k"); !errors.Is(err, jwks.ErrUnavailable) {
		t.Errorf("a key of the old address: %v", err)
	}
}
