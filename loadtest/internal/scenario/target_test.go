package scenario

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
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
		_, err := NewTarget(TargetConfig{URL: c.url, Owned: c.owned, Connections: 1, Timeout: time.Second})
		if c.taken && err != nil || !c.taken && !errors.Is(err, ErrNotYours) {
			t.Errorf("%s owning %q: %v", c.url, c.owned, err)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:9470", "ftp://127.0.0.1/", "http:///auth", "http://a:secret@127.0.0.1/", "http://127.0.0.1/#x", "http://127.0.0.1/\x7f"} {
		target, err := NewTarget(TargetConfig{URL: url, Connections: 1, Timeout: time.Second})
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
	target.request.URL.Host, target.request.Host = "192.0.2.1:80", "192.0.2.1:80"
	if _, err := target.ask(t.Context(), "Bearer a"); !errors.Is(err, ErrNotYours) {
		t.Errorf("asked anyway: %v", err)
	}
}

func targetAt(t *testing.T, url string, timeout time.Duration) *Target {
	t.Helper()
	target, err := NewTarget(TargetConfig{URL: url, Connections: 4, Timeout: timeout})
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
		case "/status":
			if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer a.b.c" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/redirect":
			http.Redirect(w, r, elsewhere, http.StatusFound)
		case "/hang":
			<-r.Context().Done()
		case "/reset":
			panic(http.ErrAbortHandler)
		case "/flood":
			_, _ = io.WriteString(w, strings.Repeat("x", maxAnswer+1))
		}
	})
	for _, c := range []struct {
		path    string
		status  int
		failure measure.Failure
	}{
		{"/status", http.StatusOK, ""},
		{"/redirect", http.StatusFound, ""},
		{"/hang", 0, measure.Timeout},
		{"/reset", 0, measure.Connection},
		{"/flood", 0, measure.Connection},
	} {
		timeout := 20 * time.Second
		if c.failure == measure.Timeout {
			timeout = 10 * time.Millisecond
		}
		status, err := targetAt(t, url+c.path, timeout).ask(t.Context(), "Bearer a.b.c")
		switch {
		case c.failure == "" && (err != nil || status != c.status):
			t.Errorf("%s: %d, %v", c.path, status, err)
		case c.failure != "" && (err == nil || failure(err) != c.failure):
			t.Errorf("%s: %v, want %s", c.path, err, c.failure)
		}
	}
	if _, err := targetAt(t, "http://127.0.0.1:1/", time.Second).ask(t.Context(), "Bearer a"); err == nil || failure(err) != measure.Connection {
		t.Errorf("nobody listens, and: %v", err)
	}
	if n := astray.Load(); n != 0 {
		t.Errorf("%d requests followed the redirect", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := targetAt(t, url+"/status", time.Minute).ask(ctx, "Bearer a"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, and: %v", err)
	}
}
