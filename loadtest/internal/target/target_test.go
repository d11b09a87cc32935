package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnlyOwnTargets(t *testing.T) {
	for _, c := range []struct {
		url, owned string
		taken      bool
	}{
		{"http://127.0.0.1:9470/auth", "", true},
		{"http://127.9.9.9/auth", "", true},
		{"http://[::1]:9470/auth", "", true},
		{"http://[::ffff:127.0.0.1]/auth", "", true},
		{"http://localhost/auth", "", true},
		{"https://127.0.0.1/auth?scope=read", "", true},
		{"http://10.0.0.1/auth", "", false},
		{"http://0.0.0.0:9470/auth", "", false},
		{"http://sidecar.example/auth", "", false},
		{"http://127.0.0.1.example/auth", "", false},
		{"http://localhost.example/auth", "", false},
		{"http://2130706433/auth", "", false},
		{"http://sidecar.example/auth", "sidecar.example", true},
		{"https://Sidecar.Example:8443/auth", "sidecar.example", true},
		{"http://sidecar.example/auth", "example", false},
		{"http://other.example/auth", "sidecar.example", false},
		{"http://sidecar.example/auth", "sidecar.example:80", false},
	} {
		_, err := New(Config{URL: c.url, Owned: c.owned, Connections: 1, Timeout: time.Second})
		if c.taken && err != nil || !c.taken && !errors.Is(err, ErrNotYours) {
			t.Errorf("%s owning %q: %v", c.url, c.owned, err)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:9470", "ftp://127.0.0.1/", "http:///auth", "http://a:secret@127.0.0.1/", "http://127.0.0.1/#x", "http://127.0.0.1/\x7f"} {
		target, err := New(Config{URL: url, Connections: 1, Timeout: time.Second})
		if target != nil || err == nil {
			t.Errorf("%q was taken", url)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A name may resolve to anything; what counts is the address connected to.
func TestTheAddressDecides(t *testing.T) {
	for address, fine := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"192.0.2.1:80": false, "[2001:db8::1]:80": false, "0.0.0.0:80": false, "nonsense": false,
	} {
		if err := onlyLoopback("tcp", address, nil); (err == nil) != fine {
			t.Errorf("%s: %v", address, err)
		}
	}
	// As a target that lets itself be called by a name of this machine would.
	target := targetAt(t, "http://127.0.0.1:1/", time.Second)
	target.url.Host = "192.0.2.1:80"
	if _, err := target.Status(t.Context(), Request{}); !errors.Is(err, ErrNotYours) {
		t.Errorf("asked anyway: %v", err)
	}
}

func targetAt(t *testing.T, url string, timeout time.Duration) *Target {
	t.Helper()
	target, err := New(Config{URL: url, Connections: 4, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestAsk(t *testing.T) {
	var astray atomic.Int32
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { astray.Add(1) })
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/below/echo":
			_, _ = fmt.Fprintf(w, "%s %s %s ", r.Method, r.Header.Get("Content-Type"), r.Header.Get("Authorization"))
			_, _ = io.Copy(w, r.Body)
		case "/below/redirect":
			http.Redirect(w, r, elsewhere, http.StatusFound)
		case "/below/reset":
			panic(http.ErrAbortHandler)
		case "/below/flood":
			_, _ = io.WriteString(w, strings.Repeat("x", maxAnswer+1))
		}
	})
	target := targetAt(t, url+"/below", 20*time.Second)
	a, err := target.Ask(t.Context(), Request{Method: http.MethodPost, Path: "/echo", Authorization: "Bearer a", Type: "text/plain", Body: []byte("all")})
	if err != nil || a.Status != http.StatusOK || string(a.Body) != "POST text/plain Bearer a all" {
		t.Errorf("%d %q, %v", a.Status, a.Body, err)
	}
	if a, err = target.Ask(t.Context(), Request{Path: "/echo"}); err != nil || string(a.Body) != "GET   " {
		t.Errorf("%d %q, %v", a.Status, a.Body, err)
	}
	if status, err := target.Status(t.Context(), Request{Path: "/redirect"}); err != nil || status != http.StatusFound || astray.Load() != 0 {
		t.Errorf("%d, %v, and %d requests followed the redirect", status, err, astray.Load())
	}
	for _, path := range []string{"/reset", "/flood"} {
		if status, err := target.Status(t.Context(), Request{Path: path}); err == nil {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestAskInTime(t *testing.T) {
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if _, err := targetAt(t, url, 10*time.Millisecond).Status(t.Context(), Request{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it hangs, and: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := targetAt(t, url, time.Minute).Status(ctx, Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, and: %v", err)
	}
}
