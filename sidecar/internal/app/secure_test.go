package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/front/introspect"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// listening serves every listener of a sidecar that follows no feed, and gives their
// addresses by name.
func listening(t *testing.T, change func(*config.Config)) map[string]string {
	t.Helper()
	trust, err := token.ParseTrust("issuer=" + unreachable + ",audience=" + tokentest.Audience)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{
		Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		NATSURL: "nats://127.0.0.1:1", Realm: string(eventstest.Realm), ID: "secured", DataDir: t.TempDir(), Trusts: []token.Trust{trust},
		StaleAfter: 30 * time.Second, WhenStale: "deny", Enforce: true, OriginalHeaders: "x-forwarded", AnswerWithin: time.Second, MaxInFlight: 100,
	}
	cfg.MaxConnections = 100
	change(&cfg)
	a, err := New(cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	servers, err := a.servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.tls.followFiles(ctx, a.log) })
	addresses := map[string]string{}
	for _, s := range servers {
		addresses[s.name] = s.listener.Addr().String()
		group.Go(func() error { return s.serve(a.log) })
		group.Go(func() error {
			<-ctx.Done()
			return s.drain(context.WithoutCancel(ctx), a.log)
		})
	}
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		a.Close()
	})
	return addresses
}

// authority reads who issues, for a client.
func authority(t *testing.T, ca *eventstest.CA) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

// caller is a client of TLS with a certificate, or none.
func caller(t *testing.T, servers *x509.CertPool, own *eventstest.CA) *http.Client {
	t.Helper()
	cfg := &tls.Config{RootCAs: servers}
	if own != nil {
		pair, err := tls.LoadX509KeyPair(own.Client(t, 9))
		if err != nil {
			t.Fatal(err)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// status asks, and gives 0 where there is no connection, and the protocol.
func status(t *testing.T, client *http.Client, url string) (code int, protocol string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, ""
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode, answer.Proto
}

// Who has no certificate of the right authority is not spoken to, but for probes.
func TestSecuredListeners(t *testing.T) {
	t.Parallel()
	servers, clients, staff := eventstest.NewCA(t, "servers"), eventstest.NewCA(t, "clients"), eventstest.NewCA(t, "staff")
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	servers.Issue(t, cert, key, 1, x509.ExtKeyUsageServerAuth)
	at := listening(t, func(c *config.Config) {
		c.TLSCert, c.TLSKey, c.ClientCA, c.AdminClientCA = cert, key, clients.File, staff.File
	})
	pool := authority(t, servers)
	nobody, client, operator := caller(t, pool, nil), caller(t, pool, clients), caller(t, pool, staff)
	for _, c := range []struct {
		who    string
		client *http.Client
		url    string
		want   int
	}{
		{"nobody", nobody, "https://" + at["http"] + "/auth", 0},
		{"an operator", operator, "https://" + at["http"] + "/auth", 0},
		{"a client", client, "https://" + at["http"] + "/auth", http.StatusUnauthorized},
		{"a client, nobody may ask", client, "https://" + at["http"] + "/introspect", http.StatusNotFound},
		{"a client, in the clear", client, "http://" + at["http"] + "/auth", http.StatusBadRequest},
		{"nobody", nobody, "https://" + at["ext_authz"] + "/", 0},
		{"a client", client, "https://" + at["ext_authz"] + "/", http.StatusUnsupportedMediaType}, // which is gRPC's answer to GET
		{"a probe", nobody, "https://" + at["admin"] + "/healthz", http.StatusOK},
		{"a probe", nobody, "https://" + at["admin"] + "/readyz", http.StatusServiceUnavailable},
		{"nobody", nobody, "https://" + at["admin"] + "/v1/status", http.StatusForbidden},
		{"nobody", nobody, "https://" + at["admin"] + "/metrics", http.StatusForbidden},
		{"a client", client, "https://" + at["admin"] + "/v1/status", 0},
		{"an operator", operator, "https://" + at["admin"] + "/v1/status", http.StatusOK},
		{"nobody", nobody, "https://" + at["metrics"] + "/", http.StatusForbidden},
		{"an operator", operator, "https://" + at["metrics"] + "/", http.StatusOK},
	} {
		got, protocol := status(t, c.client, c.url)
		if got != c.want || got != 0 && got != http.StatusBadRequest && protocol != "HTTP/2.0" {
			t.Errorf("%s, %s: %d %s, want %d by HTTP/2", c.who, c.url, got, protocol, c.want)
		}
	}
}

// A new certificate is shown to whoever connects from then on; a connection that is open
// stays.
func TestCertificateChanges(t *testing.T) {
	t.Parallel()
	servers := eventstest.NewCA(t, "servers")
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	servers.Issue(t, cert, key, 1, x509.ExtKeyUsageServerAuth)
	at := listening(t, func(c *config.Config) { c.TLSCert, c.TLSKey = cert, key })
	cfg := &tls.Config{RootCAs: authority(t, servers)}
	dial := func(address string) (*tls.Conn, int64) {
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		secured := conn.(*tls.Conn)
		return secured, secured.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	open, serial := dial(at["http"])
	if serial != 1 {
		t.Fatalf("certificate %d", serial)
	}
	servers.Issue(t, cert, key, 2, x509.ExtKeyUsageServerAuth)
	for _, name := range []string{"http", "ext_authz", "admin", "metrics"} {
		eventstest.Eventually(t, func(context.Context) error {
			if _, serial := dial(at[name]); serial != 2 {
				return fmt.Errorf("%s shows certificate %d", name, serial)
			}
			return nil
		})
	}
	if _, err := io.WriteString(open, "GET /auth HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(open), nil)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Fatalf("the open connection: %+v, %v", answer, err)
	}
	_ = answer.Body.Close()
}

// Files that do not hold together are refused before anything listens.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	cfg := config.Config{DataDir: t.TempDir(), WhenStale: "deny"}
	cfg.TLSCert, cfg.TLSKey = "/nowhere/cert", "/nowhere/key"
	if a, err := New(cfg, "test", zap.NewNop()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%+v, %v", a, err)
	}
}

// Connections that nobody uses keep nobody from any listener.
func TestCrowd(t *testing.T) {
	t.Parallel()
	at := listening(t, func(c *config.Config) { c.MaxConnections = 4 })
	for _, name := range []string{"http", "admin", "metrics"} {
		for range 20 {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", at[name])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		if got, _ := status(t, client, "http://"+at[name]+"/healthz"); got == 0 {
			t.Errorf("%s answers nobody", name)
		}
	}
}

// A resource server proves itself by the certificate that the listener demands anyway.
func TestIntrospectionByCertificate(t *testing.T) {
	t.Parallel()
	ca := eventstest.NewCA(t, "ours")
	dir := t.TempDir()
	cert, key, file := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "clients.yaml")
	ca.Issue(t, cert, key, 1, x509.ExtKeyUsageServerAuth)
	for id, want := range map[string]int{"test": http.StatusOK, "another": http.StatusUnauthorized} { // test is whom the authority names
		if err := os.WriteFile(file, []byte("- {id: "+id+", certificate: true}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := listening(t, func(c *config.Config) {
			c.TLSCert, c.TLSKey, c.ClientCA = cert, key, ca.File
			var err error
			if c.Introspectors, err = introspect.ReadClients(file); err != nil {
				t.Fatal(err)
			}
		})
		answer, err := caller(t, authority(t, ca), ca).PostForm("https://"+at["http"]+"/introspect", url.Values{"token": {"x"}}) //nolint:noctx // bounded by the server
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != want || want == http.StatusOK && string(body) != `{"active":false}` {
			t.Errorf("%s: %d %s, %v", id, answer.StatusCode, body, err)
		}
	}
}
