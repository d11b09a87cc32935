package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/front/proxy"
)

// A sidecar stands before an application on a Unix socket. What the feed revokes ends a
// WebSocket that is open, and every path is the application's but for those reserved.
func TestBeforeAnApplication(t *testing.T) {
	t.Parallel()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "application "+r.URL.Path+" for "+r.Header.Get("X-Auth-Subject"))
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, conn)
	}))
	t.Cleanup(application.Close)
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	path := filepath.Join(t.TempDir(), "s")
	startSidecar(t, s, i.public(), t.TempDir(), func(c *config.Config) {
		upstream, err := proxy.ParseUpstream(application.URL)
		if err != nil {
			t.Fatal(err)
		}
		c.Listen, c.Mode, c.Application, c.UpstreamWithin = "unix:"+path, 0o600, upstream, time.Minute
	})
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(target, token string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example"+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || len(answer.Header["X-Revocast-Fresh-As-Of"]) != 1 {
			t.Errorf("%s: %v, %v", target, answer.Header, err)
		}
		return answer.StatusCode, string(body)
	}
	token := tokenWith(t, signer, "gone")
	eventstest.Eventually(t, func(context.Context) error {
		if status, body := ask("/auth", token); status != http.StatusOK || body != "application /auth for alice" {
			return fmt.Errorf("%d %q", status, body)
		}
		return nil
	})
	for target, want := range map[string]string{
		"/.revocast/auth": "", "/.revocast/auth/": "application /.revocast/auth/ for alice", "/.revocast/%61uth": "application /.revocast/auth for alice",
		"/.revocast": "application /.revocast for alice", "/a/../auth": "application /a/../auth for alice",
	} {
		if status, body := ask(target, token); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", target, status, body)
		}
	}
	conn, err := dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", token)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", answer, err)
	}
	_ = answer.Body.Close() // there is none
	i.revoke(t, revocation(events.KindSession, "gone"))
	if rest, err := io.ReadAll(in); err != nil || len(rest) < 4 || string(rest[4:]) != "The access token was revoked" {
		t.Errorf("%q, %v", rest, err)
	}
	if status, _ := ask("/", token); status != http.StatusUnauthorized {
		t.Errorf("after the revocation: %d", status)
	}
}
