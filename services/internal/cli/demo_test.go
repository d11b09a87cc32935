package cli

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// sidecarThat passes a number of requests and then does something else.
func sidecarThat(t *testing.T, passes int64, then http.HandlerFunc) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > passes {
			then(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestPollUntilDenied(t *testing.T) {
	refuse := func(status int, challenge string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(status)
		}
	}
	for name, c := range map[string]struct {
		then   http.HandlerFunc
		denied bool
	}{
		"revoked":              {refuse(http.StatusUnauthorized, `Bearer realm="api", error="invalid_token"`), true},
		"no token seen":        {refuse(http.StatusUnauthorized, "Bearer"), false},
		"another reason":       {refuse(http.StatusUnauthorized, `Bearer error="insufficient_user_authentication"`), false},
		"not allowed":          {refuse(http.StatusForbidden, `Bearer error="insufficient_scope"`), false},
		"cannot tell":          {refuse(http.StatusServiceUnavailable, ""), false},
		"not a sidecar at all": {refuse(http.StatusNotFound, ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			d := pollUntilDenied(t.Context(), "sidecar-1", sidecarThat(t, 3, c.then), "token", func() { asked++ })
			if (d.err == nil) != c.denied {
				t.Errorf("got %v", d.err)
			}
			if d.passed != 3 || asked != 4 || d.at.IsZero() {
				t.Errorf("passed %d, asked %d, at %v", d.passed, asked, d.at)
			}
		})
	}
}

func TestPollUntilDeniedEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := sidecarThat(t, 5, func(http.ResponseWriter, *http.Request) { cancel() })
	if d := pollUntilDenied(ctx, "sidecar-1", url, "token", func() {}); !errors.Is(d.err, context.Canceled) {
		t.Errorf("got %v", d.err)
	}
}

// A sidecar that denies before the acknowledgement comes before it in the timeline,
// and one that never denies makes the step fail.
func TestRevokedTimeline(t *testing.T) {
	var out bytes.Buffer
	l := newTimeline(newTerminal(Streams{Out: &out}, false), "title")
	began := l.began
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	l.revoked(began, at(5), "r-1", []denial{{sidecar: "sidecar-1", at: at(7), passed: 9}, {sidecar: "sidecar-2", at: at(4), passed: 8}})
	l.revoked(began, at(5), "r-2", []denial{{sidecar: "sidecar-1", at: at(3)}, {sidecar: "sidecar-2", at: at(4), err: errors.New("still passes")}})
	text := out.String()
	last := -1
	for _, want := range []string{
		"sidecar-2 401 invalid_token, 1.0 ms before the acknowledgement; 8 times 200",
		"acknowledged, durable: revocation r-1",
		"sidecar-1 401 invalid_token, 2.0 ms after the acknowledgement; 9 times 200",
		"2.0 ms before", "NO", "sidecar-2: still passes", "acknowledged, durable: revocation r-2",
	} {
		i := strings.Index(text, want)
		if i <= last {
			t.Errorf("%q is at %d, behind %d, in\n%s", want, i, last, text)
		}
		last = i
	}
}
